"""Rounding numbers to the precision that matters, so that they compress."""

from __future__ import annotations

import numpy as np

from propensity.errors import DataError

#: Positions are multiples of 2⁻¹⁵ σ: error ≤ 1.6e-5 σ, far under thermal motion (≈ 0.1 σ).
POSITION_BITS = 15
#: Mantissa bits of propensities: relative error ≤ 2⁻¹¹ ≈ 5e-4; the noise of 30 runs is about 8 %.
LABEL_BITS = 10
#: Mantissa bits of half-ensemble means and squared displacements: relative error ≤ 2⁻⁸ ≈ 4e-3; the noise of
#: 15 runs is about 11 %.
AUXILIARY_BITS = 7


#: Offsets of cage states are multiples of 2⁻¹² σ; the error of their mean is ten times as large.
CAGE_BITS = 12


def round_absolute(values: np.ndarray, bits: int = POSITION_BITS) -> np.ndarray:
    """Nearest multiples of 2^−bits, as float32 where that is exact, else float64."""
    values = np.asarray(values, dtype=np.float64)
    rounded = np.rint(values * 2.0**bits) / 2.0**bits
    exact = values.size == 0 or np.abs(values).max() < 2.0 ** (24 - bits)
    return rounded.astype(np.float32) if exact else rounded


def round_mantissa(values: np.ndarray, bits: int) -> np.ndarray:
    """float32 with ``bits`` mantissa bits, rounded to nearest; relative error ≤ 2^−(bits+1), NaN stays
    NaN.
    """
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(values, dtype=np.float32)
    if np.isinf(single).any():
        raise DataError("a label is infinite or above 3e38: correct or drop it.")
    shift = np.uint32(23 - bits)
    raw = single.view(np.uint32)
    half = np.uint32(1) << (shift - np.uint32(1))
    rounded = ((raw + half) >> shift << shift).view(np.float32)
    return np.where(np.isnan(single), np.float32(np.nan), rounded)
