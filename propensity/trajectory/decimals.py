"""Tables of plain numbers read from text as C reads them, an order faster, while other threads run."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from propensity.compiling import njit

#: Largest integer up to which all are numbers in double precision, and powers of ten that are.
_EXACT, _POWERS = 2**53, np.array([10.0**k for k in range(23)])
_ZERO, _SPACE, _TAB, _NEWLINE = ord("0"), ord(" "), ord("\t"), ord("\n")
_PLUS, _MINUS, _POINT = ord("+"), ord("-"), ord(".")


def plain_numbers(rows: str, n: int, whole: Sequence[bool]) -> np.ndarray | None:
    """Columns of a table of ``n`` rows, float64, shape (n_columns, n): what ``float`` makes of each word.

    Parameters
    ----------
    rows
        Lines with fields between spaces, without the last one's end.
    n
        Number of lines.
    whole
        Of each column whether it holds integers.

    Returns
    -------
    numpy.ndarray or None
        None where something is no plain number (or no integer, where one is wanted), has more digits than are
        exact, or where rows or fields are missing or too many: read it in another way, which tells what.
    """
    found = np.empty((len(whole), n))
    text = np.frombuffer(rows.encode(), dtype=np.uint8)
    return found if _read(text, np.array(whole, dtype=np.bool_), found) else None


@njit(nogil=True)
def _read(text, whole, found):
    """Write the fields of a text into found (columns, rows); whether all are there and plain."""
    columns, n = found.shape
    row, column, at = 0, 0, 0
    while at < len(text):
        c = text[at]
        if c == _SPACE or c == _TAB:
            at += 1
        elif c == _NEWLINE:
            if column != columns:
                return False
            row, column, at = row + 1, 0, at + 1
        else:
            if row == n or column == columns:
                return False
            at, value = _number(text, at, whole[column])
            if at < 0:
                return False
            found[column, row] = value
            column += 1
    return column == columns and row == n - 1


@njit(nogil=True)
def _number(text, at, whole):
    """Where a number that begins at ``at`` ends, −1 if it is not plain; and the number.

    An integer and a power of ten that are both exact have a quotient or product that is rounded once, as in
    ``strtod`` (W. D. Clinger, PLDI 1990).
    """
    end = len(text)
    negative = text[at] == _MINUS
    if negative or (text[at] == _PLUS and not whole):
        at += 1
    integer, digits, power, point = 0, 0, 0, False
    while at < end and (text[at] == _POINT or _ZERO <= text[at] <= _ZERO + 9):
        if text[at] == _POINT:
            if point:
                return -1, 0.0
            point = True
        else:
            integer = 10 * integer + (text[at] - _ZERO)
            digits, power = digits + 1, power - point
            if integer > _EXACT:
                return -1, 0.0
        at += 1
    if digits == 0 or (whole and point):
        return -1, 0.0
    if at < end and not whole and (text[at] == ord("e") or text[at] == ord("E")):
        at += 1
        down = at < end and text[at] == _MINUS
        at += at < end and (down or text[at] == _PLUS)
        first, exponent = at, 0
        while at < end and _ZERO <= text[at] <= _ZERO + 9 and at < first + 4:
            exponent = 10 * exponent + (text[at] - _ZERO)
            at += 1
        if at == first:
            return -1, 0.0
        power += -exponent if down else exponent
    if not -len(_POWERS) < power < len(_POWERS):
        return -1, 0.0
    if at < end and text[at] != _SPACE and text[at] != _TAB and text[at] != _NEWLINE:
        return -1, 0.0
    value = integer / _POWERS[-power] if power < 0 else integer * _POWERS[power]
    return at, -value if negative else value
