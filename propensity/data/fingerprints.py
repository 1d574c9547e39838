"""Fingerprint of a configuration: the same whatever its file is called, and in whichever units it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from propensity.structure import Structure

#: Wave vectors in units of the reciprocal cell: the longest waves, which rounded positions move least.
WAVES = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, -1, 0], [2, 1, 0]])
#: Difference of two amplitudes that positions rounded to 0.001 σ may make; independent ones differ by 0.1.
TOLERANCE = 2e-3
#: Decimals that are kept.
DECIMALS = 5


def fingerprint(structure: Structure) -> tuple[float, ...]:
    """Number of particles, and amplitudes |Σ exp(i k·r)|/√N of the longest waves, shape (1 + 8,).

    Neither the order of the particles, nor a shift, nor periodic images, nor the unit of length change it.
    """
    positions, n = structure.positions, len(structure)
    if structure.cell.any() and abs(np.linalg.det(structure.cell)) > 0:
        fractional = positions @ np.linalg.inv(structure.cell)
    else:
        span = np.ptp(positions, axis=0)
        fractional = positions / np.where(span > 0, span, 1.0)
    phases = 2 * np.pi * fractional @ WAVES.T
    amplitudes = np.hypot(np.cos(phases).sum(axis=0), np.sin(phases).sum(axis=0)) / np.sqrt(n)
    return (float(n), *np.round(amplitudes, DECIMALS).tolist())


def same_as(found: tuple[float, ...], known: np.ndarray) -> int | None:
    """Index of the fingerprint in ``known``, shape (n, 9), that is of the same configuration; None."""
    if not len(known):
        return None
    away = np.abs(known[:, 1:] - found[1:]).max(axis=1)
    away[known[:, 0] != found[0]] = np.inf
    best = int(away.argmin())
    return best if away[best] <= TOLERANCE else None


def fingerprints(structures: Iterable[Structure]) -> list[list[float]]:
    """Those of several structures, for JSON."""
    return [list(fingerprint(structure)) for structure in structures]
