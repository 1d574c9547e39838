"""One value a particle, made comparable between species."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.errors import InputError


def fluctuation(values: Any, types: Any = None, *, standardise: bool = True) -> np.ndarray:
    """Deviation of a value from the mean over the particles of its species.

    δf_i = (f_i − ⟨f⟩_α) / s_α, with α the species of i; small particles move more than large ones, and
    without this the composition of a neighbourhood would pass for heterogeneity.

    Parameters
    ----------
    values
        One value a particle, shape (N,); NaN where unknown (a species that a model does not know).
    types
        Species as integers, shape (N,); None for one species.
    standardise
        Divide by the standard deviation s_α of the species; a species without spread gives 0.

    Returns
    -------
    float64, (N,)
        NaN stays NaN.

    Raises
    ------
    InputError
        For infinite values, arrays that do not fit, or no value at all.
    """
    values = np.asarray(values, dtype=np.float64)
    types = np.zeros(len(values), dtype=np.int64) if types is None else np.asarray(types)
    if values.ndim != 1 or types.shape != values.shape:
        raise InputError(f"values have shape {values.shape} and types {types.shape}: give both, shape (N,).")
    if np.isinf(values).any() or not np.isfinite(values).any():
        raise InputError("values are infinite or all unknown: give finite values, or NaN for some particles.")
    deviation = np.full(len(values), np.nan)
    for kind in np.unique(types):
        mine = (types == kind) & np.isfinite(values)
        if mine.any():
            centred = values[mine] - values[mine].mean()
            spread = centred.std() if standardise else 1.0
            # Spread below the rounding of the mean is that of a constant.
            constant = standardise and spread <= 1e-12 * max(abs(values[mine]).max(), 1e-300)
            deviation[mine] = 0.0 if constant else centred / spread
    return deviation
