"""Pairs of times, of a model and of data, as an option has them; torch is not wanted for it."""

from __future__ import annotations

from propensity.errors import InputError


def pairs_from_text(text: str | None) -> list[tuple[int, int]] | None:
    """Read ``"0:0,1:2"``, indices of times of a model and of data; None stays None.

    Parameters
    ----------
    text
        Pairs, comma-separated.

    Returns
    -------
    list[tuple[int, int]] or None
        In their order.

    Raises
    ------
    InputError
        For anything else.
    """
    if text is None:
        return None
    try:
        pairs = [(int(m), int(d)) for m, d in (pair.split(":") for pair in text.split(","))]
        if min(min(pair) for pair in pairs) < 0:
            raise ValueError("counted from 0")
    except ValueError:
        raise InputError(
            f"--match is {text!r}: write pairs of indices counted from 0, e.g. 0:0,1:2."
        ) from None
    return pairs
