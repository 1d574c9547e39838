"""Arrays of a scene as one block of bytes, and where in it each of them lies."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from propensity.plotting import fractions_of
from propensity.structure import Structure

_CODES = {"float32": "f4", "float64": "f8", "int32": "i4", "uint8": "u1", "uint16": "u2"}
#: Largest value of a quantised coordinate.
STEPS = 65535


class Block:
    """Bytes that grow by arrays; equal arrays are stored once."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self._known: dict[str, list[Any]] = {}

    def add(self, array: np.ndarray) -> list[Any]:
        """Store an array; returns [kind, offset in bytes, number of items] for the page."""
        array = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        code, raw = _CODES[array.dtype.name], array.tobytes()
        digest = code + hashlib.sha256(raw).hexdigest()
        if digest not in self._known:
            padding = -self._length % 8
            self._parts += [b"\0" * padding, raw]
            self._known[digest] = [code, self._length + padding, array.size]
            self._length += padding + len(raw)
        return self._known[digest]

    def bytes(self) -> bytes:
        """Everything that was added."""
        return b"".join(self._parts)


def quantised(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Positions as fractions of a cell in 16 bits, uint16 (N, 3), and that cell, (3, 3).

    Periodic directions are wrapped; open ones get an edge that just holds the particles.  The rounding is
    at most 1/131070 of the cell, 10⁻⁴ σ in a box of 4096 particles.
    """
    fractions, cell = fractions_of(structure)
    return np.round(np.clip(fractions, 0, 1) * STEPS).astype(np.uint16), cell


def face_distances(cell: np.ndarray) -> list[float]:
    """Distance between opposite faces along each cell vector."""
    return [float(x) for x in 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)]
