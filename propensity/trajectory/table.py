"""Tables as text: what C's ``%.9g`` writes, an order faster, while other threads run.

Numbers of a frame are most of the work of writing one, and the interpreter formats them one by one under its
lock.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from propensity.compiling import njit

#: Longest float and integer, after a space: sign, digit, point, 16 digits and e+308; sign and 19 digits.
_FLOAT, _INTEGER = 25, 21
#: 10^k at k + 200, and as integers.
_POWERS, _WHOLE_POWERS = np.array([10.0**k for k in range(-200, 201)]), 10 ** np.arange(19)
#: The two digits of each number below a hundred.
_PAIRS = np.frombuffer("".join(f"{k:02d}" for k in range(100)).encode(), dtype=np.uint8).reshape(100, 2)
_TEN, _HUNDRED = np.uint64(10), np.uint64(100)
_ZERO, _SPACE, _NEWLINE = ord("0"), ord(" "), ord("\n")


class Fields(NamedTuple):
    """Columns of a table by their kind."""

    floats: np.ndarray  # (N, ·), float64
    integers: np.ndarray  # (N, ·), int64
    words: np.ndarray  # (N, ·), bytes of all words of a row, each of these padded with zeros to its width
    kinds: np.ndarray  # (fields,), of each in order: -2 a float, -1 an integer, else the width of a word


def format_rows(columns: Sequence[np.ndarray], digits: int = 9, rows: str | None = None) -> str:
    """One line a row, fields separated by a space.

    Parameters
    ----------
    columns
        Strings, integers, booleans (T and F) or floats, each of shape (N,) or (N, k).
    digits
        Significant digits of floats, at most 15; trailing zeros are left out.  The last may differ by one
        from that of C where the number lies half-way between two.
    rows
        N lines without the last one's end, which the columns follow.
    """
    n = len(columns[0])
    stacks: dict[str, list[np.ndarray]] = {"f": [], "i": [], "S": []}
    kinds: list[int] = []
    for column in columns:
        field = np.asarray(column).reshape(n, -1)
        kind = field.dtype.kind if field.dtype.kind in "fi" else "S"
        field = field if kind in "fi" else _bytes(field)
        stacks[kind].append(field.reshape(n, -1))
        kinds += [{"f": -2, "i": -1}.get(kind, field.shape[-1])] * field.shape[1]
    text = np.frombuffer(b"" if rows is None else rows.encode(), dtype=np.uint8)
    ends = np.append(np.flatnonzero(text == _NEWLINE), len(text)) if rows is not None else np.zeros(0, int)
    fields = Fields(
        _joined(stacks["f"], n, np.float64),
        _joined(stacks["i"], n, np.int64),
        _joined(stacks["S"], n, np.uint8),
        np.array(kinds),
    )
    each = _FLOAT * fields.floats.shape[1] + _INTEGER * fields.integers.shape[1]
    lines = np.empty(len(text) + n * (each + fields.words.shape[1] + len(kinds) + 1), dtype=np.uint8)
    return lines[: _lines(text, ends, fields, digits, lines)].tobytes().decode()


def _joined(fields: list[np.ndarray], n: int, dtype: type) -> np.ndarray:
    """Fields side by side, shape (n, ·)."""
    return np.concatenate([*fields, np.empty((n, 0), dtype)], axis=1, dtype=dtype)


def _bytes(field: np.ndarray) -> np.ndarray:
    """Bytes of (N, k) words, padded with zeros, shape (N, k, width)."""
    if field.dtype.kind == "b":
        field = np.where(field, b"T", b"F")
    elif field.dtype.kind in "UO":
        field = np.char.encode(field.astype(str), "utf-8")
    text = np.ascontiguousarray(field.astype("S"))
    return text.view(np.uint8).reshape(*text.shape, text.dtype.itemsize)


def integers_only(rows: str, column: int) -> bool:
    """Whether a column of a table as text holds nothing else; rows that end before it don't count."""
    if not rows.isascii():
        fields = [row.split(None, column + 1) for row in rows.split("\n")]
        return all(row[column].lstrip("-").isdecimal() for row in fields if len(row) > column)
    return bool(_integers(np.frombuffer(rows.encode(), dtype=np.uint8), column))


@njit(nogil=True)
def _integers(text, column):
    """Whether a field of every line is digits after any number of signs."""
    field, inside, sign, digits = -1, False, False, 1
    for c in text:
        if c == _SPACE or 9 <= c <= 13 or 28 <= c <= 31:
            if inside and digits == 0:
                return False
            inside = False
            if c == _NEWLINE:
                field = -1
            continue
        if not inside:
            inside, field = True, field + 1
            sign, digits = True, 0 if field == column else 1
        if field == column:
            if sign and c == ord("-"):
                continue
            if not _ZERO <= c <= _ZERO + 9:
                return False
            sign, digits = False, digits + 1
    return digits > 0


@njit(nogil=True, error_model="numpy")
def _lines(text, ends, fields, digits, lines):
    """Write a table line by line; where it ends.

    Reads   text and where its lines end, which the fields follow, less what is blank at their ends; fields.
    Writes  lines.
    One call is all rows.
    """
    floats, integers, words, kinds = fields
    bits = floats.view(np.int64)
    at, begin = 0, 0
    for i in range(len(floats)):
        if i < len(ends):
            last = ends[i]
            while last > begin and (text[last - 1] == _SPACE or 9 <= text[last - 1] <= 13):
                last -= 1
            lines[at : at + last - begin] = text[begin:last]
            at, begin = at + last - begin, ends[i] + 1
        number, whole, letter = 0, 0, 0
        for field in range(len(kinds)):
            lines[at] = _SPACE
            at += field > 0 or i < len(ends)
            if kinds[field] == -2:
                at = _write_float(lines, at, floats[i, number], bits[i, number], digits)
                number += 1
            elif kinds[field] == -1:
                at = _write_integer(lines, at, integers[i, whole])
                whole += 1
            else:
                for k in range(letter, letter + kinds[field]):
                    if words[i, k] == 0:
                        break
                    lines[at] = words[i, k]
                    at += 1
                letter += kinds[field]
        lines[at] = _NEWLINE
        at += 1
    return at


@njit(error_model="numpy")
def _write_integer(line, at, value):
    """Write an integer from ``at`` on; where it ends."""
    if value < 0:
        line[at] = ord("-")
        at += 1
    left, n = np.uint64(abs(value)), 1
    while n < len(_WHOLE_POWERS) and left >= np.uint64(_WHOLE_POWERS[n]):
        n += 1
    for k in range(at + n - 1, at - 1, -1):
        shorter = left // _TEN
        line[k] = _ZERO + (left - shorter * _TEN)
        left = shorter
    return at + n


@njit(error_model="numpy")
def _write_float(line, at, x, bits, digits):
    """Write a number, of which the bits are given too, from ``at`` on; where it ends."""
    if x < 0:
        line[at] = ord("-")
        at += 1
    x = abs(x)
    if x == 0:
        line[at] = _ZERO
        return at + 1
    if not math.isfinite(x):
        word = b"inf" if x > 0 else b"nan"
        for k in range(3):
            line[at + k] = word[k]
        return at + 3
    whole, exponent = _decimal(x, bits, digits)
    scientific = exponent < -4 or exponent >= digits
    before = 1 if scientific else exponent + 1  # digits before the point
    if before <= 0:
        line[at], line[at + 1] = _ZERO, ord(".")
        for k in range(at + 2, at + 2 - before):
            line[k] = _ZERO
        at += 2 - before
        end = at + _write_digits(line, at, whole, digits)
    else:
        n = _write_digits(line, at + 1, whole, digits)
        for k in range(at, at + before):  # behind the last that counts are zeros
            line[k] = line[k + 1]
        line[at + before] = ord(".")
        end = at + (n + 1 if n > before else before)
    return _write_exponent(line, end, exponent) if scientific else end


@njit(error_model="numpy")
def _write_digits(line, at, whole, digits):
    """Write an integer of so many digits from ``at`` on; their number without zeros at the end."""
    left, k = np.uint64(whole), at + digits  # of which the division by a constant is a multiplication
    while k > at + 1:
        shorter = left // _HUNDRED
        pair = left - shorter * _HUNDRED
        line[k - 2], line[k - 1] = _PAIRS[pair, 0], _PAIRS[pair, 1]
        left, k = shorter, k - 2
    if k > at:
        line[at] = _ZERO + left
    while digits > 1 and line[at + digits - 1] == _ZERO:
        digits -= 1
    return digits


@njit(error_model="numpy")
def _decimal(x, bits, digits):
    """Integer of so many digits and exponent of ten of a positive number: 0.0123 → 12300..., −2."""
    full = _WHOLE_POWERS[digits - 1]
    # ⌊n log₁₀ 2⌋ with n of 2^n ≤ x, for all n of normal numbers: right, or one too small.
    exponent = ((bits >> 52 & 0x7FF) - 1023) * 78913 >> 18
    if -200 <= exponent < 200:
        exponent += x >= _POWERS[exponent + 201]
    else:
        exponent = int(np.floor(math.log10(x)))
    whole = _scaled(x, digits - 1 - exponent)
    if whole < full:  # log10 was rounded up
        exponent -= 1
        whole = _scaled(x, digits - 1 - exponent)
    if whole >= 10 * full:
        exponent += 1
        whole //= 10
    return whole, exponent


@njit(error_model="numpy")
def _write_exponent(cell, at, exponent):
    """Write ``e+05`` from ``at`` on; where it ends."""
    cell[at], cell[at + 1] = ord("e"), ord("-") if exponent < 0 else ord("+")
    at += 2
    exponent = abs(exponent)
    if exponent >= 100:
        cell[at] = _ZERO + exponent // 100
        at += 1
    cell[at], cell[at + 1] = _ZERO + exponent // 10 % 10, _ZERO + exponent % 10
    return at + 2


@njit
def _scaled(x, power):
    """Nearest integer to x · 10^power, in two steps so that neither overflows."""
    half = power // 2
    return np.int64(np.rint(x * _POWERS[half + 200] * _POWERS[power - half + 200]))
