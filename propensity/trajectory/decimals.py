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
    text = np.frombuffer(rows.encode() + b"\n", dtype=np.uint8)
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
    return column == 0 and row == n


@njit
def _number(text, at, whole):
    """Where a number that begins at ``at`` ends, −1 if it is not plain; and the number.

    An integer and a power of ten that are both exact have a quotient or product that is rounded once, as in
    ``strtod`` (W. D. Clinger, PLDI 1990).
    """
    negative = text[at] == _MINUS
    if negative or (text[at] == _PLUS and not whole):
        at += 1
    at, integer, digits = _digits(text, at, 0)
    power = 0
    if text[at] == _POINT and not whole:
        at, integer, power = _digits(text, at + 1, integer)
        digits, power = digits + power, -power
    if digits == 0 or integer > _EXACT:
        return -1, 0.0
    if not whole and (text[at] == ord("e") or text[at] == ord("E")):
        at += 1
        down = text[at] == _MINUS
        at += down or text[at] == _PLUS
        at, exponent, digits = _digits(text, at, 0)
        if not 0 < digits < 5:
            return -1, 0.0
        power += -exponent if down else exponent
    if not -len(_POWERS) < power < len(_POWERS):
        return -1, 0.0
    if text[at] != _SPACE and text[at] != _TAB and text[at] != _NEWLINE:
        return -1, 0.0
    value = integer / _POWERS[-power] if power < 0 else integer * _POWERS[power]
    return at, -value if negative else value


@njit
def _digits(text, at, integer):
    """Where digits from ``at`` on end, or are too many; the integer that they continue; how many they are.

    Behind the last of a text is a line end.
    """
    begin = at
    while _ZERO <= text[at] <= _ZERO + 9 and integer <= _EXACT:
        integer = 10 * integer + (text[at] - _ZERO)
        at += 1
    return at, integer, at - begin
