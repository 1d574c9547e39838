"""Tables as text: what C's ``%.9g`` writes, an order faster, while other threads run.

Numbers of a frame are most of the work of writing one, and the interpreter formats them one by one under its
lock.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

#: Longest number: a space, sign, digit, point, 16 digits and e+308.
_WIDTH = 25
#: 10^k at k + 200.
_POWERS = np.array([10.0**k for k in range(-200, 201)])
_ZERO, _SPACE, _NEWLINE = ord("0"), ord(" "), ord("\n")


def table(columns: Sequence[np.ndarray], digits: int = 9) -> str:
    """One line a row, fields separated by a space.

    Parameters
    ----------
    columns
        Strings, integers, booleans (T and F) or floats, each of shape (N,) or (N, k).
    digits
        Significant digits of floats, at most 15; trailing zeros are left out.  The last may differ by one
        from that of C where the number lies half-way between two.
    """
    n = len(columns[0])
    cells = [_cells(np.asarray(column).reshape(n, -1), digits).reshape(n, -1) for column in columns]
    cells.append(np.full((n, 1), _NEWLINE, dtype=np.uint8))
    matrix: np.ndarray = np.concatenate(cells, axis=1)[:, 1:]
    return str(matrix[matrix != 0].tobytes(), "utf-8")


def _cells(column: np.ndarray, digits: int) -> np.ndarray:
    """Bytes of (N, k) fields, each after a space and padded with zeros, shape (N, k, width)."""
    if column.dtype.kind == "f":
        cells = np.zeros((*column.shape, _WIDTH), dtype=np.uint8)
        _write(np.ascontiguousarray(column, dtype=np.float64), digits, cells)
        return cells
    if column.dtype.kind == "b":
        column = np.where(column, b"T", b"F")
    elif column.dtype.kind in "UO":
        column = np.char.encode(column.astype(str), "utf-8")
    text = np.ascontiguousarray(column.astype("S"))
    plain = text.view(np.uint8).reshape(*text.shape, text.dtype.itemsize)
    return np.pad(plain, ((0, 0), (0, 0), (1, 0)), constant_values=_SPACE)


@njit(cache=True, nogil=True)
def _write(values, digits, cells):
    """Write values (N, k) into cells (N, k, width)."""
    full = 10 ** (digits - 1)
    buffer = np.empty(20, dtype=np.uint8)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            x, cell = values[i, j], cells[i, j]
            cell[0] = _SPACE
            at = 1
            if x < 0:
                cell[at] = ord("-")
                at += 1
            x = abs(x)
            if x == 0 or not math.isfinite(x):
                word = b"0\0\0" if x == 0 else (b"inf" if x > 0 else b"nan")
                for k in range(3):
                    cell[at + k] = word[k]
                continue
            exponent = int(np.floor(math.log10(x)))
            whole = _scaled(x, digits - 1 - exponent)
            if whole < full:  # log10 was rounded up
                exponent -= 1
                whole = _scaled(x, digits - 1 - exponent)
            if whole >= 10 * full:
                exponent += 1
                whole //= 10
            n = digits
            while whole % 10 == 0 and n > 1:
                whole //= 10
                n -= 1
            for k in range(n - 1, -1, -1):
                buffer[k] = _ZERO + whole % 10
                whole //= 10
            scientific = exponent < -4 or exponent >= digits
            before = 1 if scientific else exponent + 1  # digits before the point
            if before <= 0:
                cell[at], cell[at + 1] = _ZERO, ord(".")
                at += 2
                for _ in range(-before):
                    cell[at] = _ZERO
                    at += 1
            for k in range(max(n, before)):
                if k == before and before > 0:
                    cell[at] = ord(".")
                    at += 1
                cell[at] = buffer[k] if k < n else _ZERO
                at += 1
            if scientific:
                cell[at], cell[at + 1] = ord("e"), ord("-") if exponent < 0 else ord("+")
                at += 2
                exponent = abs(exponent)
                if exponent >= 100:
                    cell[at] = _ZERO + exponent // 100
                    at += 1
                cell[at], cell[at + 1] = _ZERO + exponent // 10 % 10, _ZERO + exponent % 10


@njit(cache=True, nogil=True)
def _scaled(x, power):
    """Nearest integer to x · 10^power, in two steps so that neither overflows."""
    half = power // 2
    return np.int64(np.rint(x * _POWERS[half + 200] * _POWERS[power - half + 200]))
