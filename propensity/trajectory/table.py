"""Tables as text: what C's ``%.9g`` writes, an order faster, while other threads run.

Numbers of a frame are most of the work of writing one, and the interpreter formats them one by one under its
lock.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from propensity.compiling import njit

#: Longest number: a space, sign, digit, point, 16 digits and e+308.
_WIDTH = 25
#: 10^k at k + 200.
_POWERS = np.array([10.0**k for k in range(-200, 201)])
#: log₁₀ 2.
LOG2 = math.log10(2.0)
_TEN = np.uint64(10)
_ZERO, _SPACE, _NEWLINE = ord("0"), ord(" "), ord("\n")


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
    fields = [np.asarray(column).reshape(n, -1) for column in columns]
    if rows is None:
        text, ends = np.zeros(0, dtype=np.uint8), np.zeros(n, dtype=np.int64)
    else:
        text, ends = _given(np.frombuffer(rows.encode(), dtype=np.uint8), n)
    for is_float, run in groupby(fields, lambda field: field.dtype.kind == "f"):
        if is_float:
            values = np.concatenate(list(run), axis=1).astype(np.float64, copy=False)
            text, ends = _woven(text, ends, *_numbers(values, digits))
        else:
            for field in run:
                words = _whole(field.astype(np.int64)) if field.dtype.kind == "i" else _words(_bytes(field))
                text, ends = _woven(text, ends, *words)
    return str(_lines(text, ends), "utf-8")


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


# Text of N rows is one array of bytes, and where each row of it ends, shape (N,).


@njit(nogil=True)
def _words(words):
    """Text of words (N, k, width), each after a space."""
    n, k, width = words.shape
    text, ends = np.empty(n * k * (width + 1), dtype=np.uint8), np.empty(n, dtype=np.int64)
    at = 0
    for i in range(n):
        for j in range(k):
            text[at] = _SPACE
            at += 1
            for c in range(width):
                if words[i, j, c] == 0:
                    break
                text[at] = words[i, j, c]
                at += 1
        ends[i] = at
    return text[:at], ends


@njit(nogil=True)
def _whole(values):
    """Text of integers (N, k), each after a space."""
    buffer = np.empty(20, dtype=np.uint8)
    text, ends = np.empty(values.size * 21, dtype=np.uint8), np.empty(len(values), dtype=np.int64)
    at = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            text[at] = _SPACE
            at += 1
            if values[i, j] < 0:
                text[at] = ord("-")
                at += 1
            left, n = np.uint64(abs(values[i, j])), 0
            while n == 0 or left > 0:
                shorter = left // _TEN
                buffer[n] = _ZERO + (left - shorter * _TEN)
                left, n = shorter, n + 1
            for k in range(n - 1, -1, -1):
                text[at] = buffer[k]
                at += 1
        ends[i] = at
    return text[:at], ends


@njit(nogil=True)
def _given(rows, n):
    """Text of lines, each after a space and without what is blank at its end."""
    text, ends = np.empty(len(rows) + n, dtype=np.uint8), np.empty(n, dtype=np.int64)
    at, begin = 0, 0
    for i in range(n):
        end = begin
        while end < len(rows) and rows[end] != _NEWLINE:
            end += 1
        last = end
        while last > begin and (rows[last - 1] == _SPACE or 9 <= rows[last - 1] <= 13):
            last -= 1
        text[at] = _SPACE
        text[at + 1 : at + 1 + last - begin] = rows[begin:last]
        at += 1 + last - begin
        ends[i], begin = at, end + 1
    return text[:at], ends


@njit(nogil=True)
def _woven(left, left_ends, right, right_ends):
    """Text of rows of which each is that of the left and then that of the right."""
    text, ends = np.empty(len(left) + len(right), dtype=np.uint8), left_ends + right_ends
    a, b, at = 0, 0, 0
    for i in range(len(ends)):
        middle = at + left_ends[i] - a
        text[at:middle] = left[a : left_ends[i]]
        text[middle : ends[i]] = right[b : right_ends[i]]
        a, b, at = left_ends[i], right_ends[i], ends[i]
    return text, ends


@njit(nogil=True)
def _lines(text, ends):
    """Rows without the space that they begin with, each with an end of line."""
    lines = np.empty(len(text), dtype=np.uint8)
    begin = 0
    for i in range(len(ends)):
        lines[begin : ends[i] - 1] = text[begin + 1 : ends[i]]
        lines[ends[i] - 1] = _NEWLINE
        begin = ends[i]
    return lines


@njit(nogil=True, error_model="numpy")
def _decimal(x, digits):
    """Integer of so many digits and exponent of ten of a positive number: 0.0123 → 12300..., −2."""
    full = 10 ** (digits - 1)
    exponent = int(np.floor((math.frexp(x)[1] - 1) * LOG2))  # right, or one too small
    if -200 <= exponent < 200 and x >= _POWERS[exponent + 201]:
        exponent += 1
    elif not -200 <= exponent < 200:
        exponent = int(np.floor(math.log10(x)))
    whole = _scaled(x, digits - 1 - exponent)
    if whole < full:  # log10 was rounded up
        exponent -= 1
        whole = _scaled(x, digits - 1 - exponent)
    if whole >= 10 * full:
        exponent += 1
        whole //= 10
    return whole, exponent


@njit(nogil=True, error_model="numpy")
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


@njit(nogil=True, error_model="numpy")
def _numbers(values, digits):
    """Text of numbers (N, k), each after a space."""
    buffer = np.empty(20, dtype=np.uint8)
    cell, ends = np.empty(values.size * _WIDTH, dtype=np.uint8), np.empty(len(values), dtype=np.int64)
    at = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            x = values[i, j]
            cell[at] = _SPACE
            at += 1
            if x < 0:
                cell[at] = ord("-")
                at += 1
            x = abs(x)
            if x == 0 or not math.isfinite(x):
                word = b"0\0\0" if x == 0 else (b"inf" if x > 0 else b"nan")
                for k in range(1 if x == 0 else 3):
                    cell[at] = word[k]
                    at += 1
                continue
            whole, exponent = _decimal(x, digits)
            left = np.uint64(whole)  # whose division by a constant is a multiplication
            for k in range(digits - 1, -1, -1):
                shorter = left // _TEN
                buffer[k] = _ZERO + (left - shorter * _TEN)
                left = shorter
            n = digits
            while n > 1 and buffer[n - 1] == _ZERO:
                n -= 1
            scientific = exponent < -4 or exponent >= digits
            before = 1 if scientific else exponent + 1  # digits before the point
            if before <= 0:
                cell[at], cell[at + 1] = _ZERO, ord(".")
                at += 2
                for _ in range(-before):
                    cell[at] = _ZERO
                    at += 1
            whole_digits = max(before, 0)
            for k in range(whole_digits):  # behind the last that counts are zeros
                cell[at] = buffer[k]
                at += 1
            if n > before > 0:
                cell[at] = ord(".")
                at += 1
            for k in range(whole_digits, n):
                cell[at] = buffer[k]
                at += 1
            if scientific:
                at = _write_exponent(cell, at, exponent)
        ends[i] = at
    return cell[:at], ends


@njit(nogil=True)
def _scaled(x, power):
    """Nearest integer to x · 10^power, in two steps so that neither overflows."""
    half = power // 2
    return np.int64(np.rint(x * _POWERS[half + 200] * _POWERS[power - half + 200]))
