"""Sizes of the particles of a polydisperse liquid, as files call them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from propensity.errors import InputError

#: Name of a column, in small letters → factor that makes it a diameter.
COLUMNS = {"diameter": 1.0, "diameters": 1.0, "radius": 2.0, "radii": 2.0}


def diameters_of(columns: Mapping[str, np.ndarray], rows: np.ndarray | None = None) -> np.ndarray | None:
    """Diameters from the columns of a file, shape (N,); None where it has none or all are alike.

    Equal ones say nothing that a species doesn't, and some formats write 1 for want of a size.
    """
    for name, column in columns.items():
        factor = COLUMNS.get(str(name).lower())
        array = np.asarray(column)
        if factor is None or array.ndim != 1 or array.dtype.kind not in "iuf":
            continue
        array = factor * array.astype(np.float64)
        array = array if rows is None or len(array) == len(rows) else array[rows]
        return None if not len(array) or np.ptp(array) == 0 else array
    return None


def checked_diameters(diameters: Any, n: int) -> np.ndarray:
    """Diameters as float64, shape (n,).

    Raises
    ------
    InputError
        For another shape, or values that are not positive and finite.
    """
    try:
        array = np.array(diameters, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"diameters can't be read as numbers ({error}): give one a particle.") from None
    if array.shape != (n,):
        raise InputError(f"diameters have shape {array.shape} for {n} particles: give one a particle.")
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if len(bad):
        raise InputError(
            f"the diameter of particle {bad[0]} is {array[bad[0]]} ({len(bad)} such): give positive numbers."
        )
    return array
