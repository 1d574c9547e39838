"""Numbers as users give them: text, complex numbers and yes or no are none, and digits may be too few."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from propensity.errors import InputError

#: Share of the mean distance of particles to which positions are known at least.
DIGITS = 1e-3


def as_numbers(values: Any, what: str, form: str) -> np.ndarray:
    """Float64 array of what is given.

    Parameters
    ----------
    values
        Anything that numpy takes for an array of real numbers.
    what, form
        What it is and how to give it, for the error.

    Returns
    -------
    numpy.ndarray
        A copy, of any shape.

    Raises
    ------
    InputError
        For text, complex numbers, masked places, and what is no array of numbers.
    """
    refuse_masked(values, what)
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biufO":
            raise ValueError(f"dtype {array.dtype}")
        return np.array(array, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} can't be read as numbers ({error}): give {form}.") from None


def refuse_masked(values: Any, what: str) -> None:
    """Raise for masked places, which numpy would fill with whatever lies beneath.

    Parameters
    ----------
    values
        Any array.
    what
        What it is, in the plural, for the error.

    Raises
    ------
    InputError
        Where some are masked.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        raise InputError(f"{what} are masked in places: fill or drop them.")


def positive(value: Any, what: str, form: str) -> float:
    """The number that is given.

    Parameters
    ----------
    value
        One real number.
    what, form
        What it is and how to give it, for the error.

    Returns
    -------
    float
        Finite, above zero.

    Raises
    ------
    InputError
        For anything else.
    """
    number = value.item() if isinstance(value, (np.ndarray, np.generic)) and value.size == 1 else value
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or not 0 < float(number) < np.inf:
        raise InputError(f"{what} is {value!r}: give {form}, a positive number.")
    return float(number)


def whole(value: Any, what: str, least: int = 0) -> int:
    """The integer that is given.

    Parameters
    ----------
    value
        One integer; a truth value is none.
    what
        What it is, for the error.
    least
        Smallest that is allowed.

    Returns
    -------
    int
        At least ``least``.

    Raises
    ------
    InputError
        For anything else.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral) or value < least:
        raise InputError(f"{what} is {value!r}: give an integer, {least} or more.")
    return int(value)


def refuse_few_digits(given: Any, positions: np.ndarray, volume: float | None, dimension: int) -> None:
    """Raise where numbers are too large for their digits to tell where a particle is.

    Parameters
    ----------
    given
        Positions in the precision in which they came.
    positions
        The same, shape (N, 3).
    volume
        Of the cell; None where it is open.
    dimension
        Of the system.

    Raises
    ------
    InputError
        When the last digit is more than a thousandth of the mean distance of particles.
    """
    if len(positions) < 2:
        return
    kind = getattr(given, "dtype", None)
    step = np.finfo(kind).eps if isinstance(kind, np.dtype) and kind.kind == "f" else np.finfo(float).eps
    if volume is None:
        volume = float(np.prod(np.sort(np.ptp(positions, axis=0))[-dimension:]))
    distance = (volume / len(positions)) ** (1 / dimension)
    last = float(step) * float(np.abs(positions).max())
    if last > DIGITS * distance > 0:
        raise InputError(
            f"positions reach {np.abs(positions).max():.3g}, where the last digit of a {kind or 'number'} is"
            f" {last:.1g}, too much for particles {distance:.3g} apart: wrap them before they are stored so."
        )
