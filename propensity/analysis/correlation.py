"""Spatial correlation of a per-particle field, and the length over which it decays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from propensity.analysis.fields import fluctuation
from propensity.analysis.pairs import as_structure, longest_distance, pairs_of
from propensity.errors import InputError
from propensity.numeric import positive

Form = Literal["exponential", "ornstein-zernike"]


@dataclass(frozen=True, eq=False)
class SpatialCorrelation:
    """Correlation of a field between particles at a distance.

    Parameters
    ----------
    r
        Middle of the bins, shape (B,), in units of the positions.
    c
        C(r), shape (B,); NaN where no pair has that distance.
    n_pairs
        Pairs in each bin, shape (B,).
    dimension
        2 or 3.
    """

    r: np.ndarray
    c: np.ndarray
    n_pairs: np.ndarray
    dimension: int

    @property
    def error(self) -> np.ndarray:
        """Standard error of C(r) were all pairs independent, 1/√pairs, shape (B,); a lower bound."""
        with np.errstate(divide="ignore"):
            return np.where(self.n_pairs > 0, 1 / np.sqrt(self.n_pairs), np.nan)


@dataclass(frozen=True)
class CorrelationLength:
    """Fit of the decay of C(r): length ξ with its standard error, amplitude A, and the range of the fit."""

    xi: float
    error: float
    amplitude: float
    r_range: tuple[float, float]
    form: Form


def spatial_correlation(
    values: Any,
    positions: Any,
    cell: Any,
    pbc: Any = True,
    *,
    types: Any = None,
    r_max: float | None = None,
    bin_width: float = 0.1,
) -> SpatialCorrelation:
    """Correlation of a field between particles at distance r.

    C(r) = Σ_{i≠j} δf_i δf_j δ(r − r_ij) / Σ_{i≠j} δ(r − r_ij), with δf in units of its standard deviation
    within each species (:func:`propensity.analysis.fluctuation`), so that C = 1 at r = 0 and 0 without
    correlation.  The pair distribution divides out: layers of neighbours leave no peaks of their own.
    Source: Doliwa and Heuer, Phys. Rev. E 61, 6898 (2000); with f the overlap this is the normalised g₄(r, t)
    of Lačević et al., J. Chem. Phys. 119, 7372 (2003).

    Parameters
    ----------
    values
        One value a particle, shape (N,); particles with NaN are left out.
    positions, cell, pbc
        See :func:`propensity.analysis.find_pairs`.
    types
        Species, shape (N,); None for one.
    r_max
        Largest distance; None: half the smallest width of the cell, at most 6.
    bin_width
        Width of the bins.

    Returns
    -------
    SpatialCorrelation
        With r and C(r), shape (B,).

    Notes
    -----
    Within one configuration δf sums to zero, which lowers C(r) by about ξ³/V at every distance.
    """
    columns = np.asarray(values, dtype=np.float64)
    if columns.ndim != 1:
        raise InputError(f"values have shape {columns.shape}: give one a particle, shape (N,).")
    found = spatial_correlations(
        columns[:, None], positions, cell, pbc, types=types, r_max=r_max, bin_width=bin_width
    )
    return found[0]


def spatial_correlations(
    values: Any,
    positions: Any,
    cell: Any,
    pbc: Any = True,
    *,
    types: Any = None,
    r_max: float | None = None,
    bin_width: float = 0.1,
) -> list[SpatialCorrelation]:
    """Spatial correlation of each column of ``values``, shape (N, K), from one search for pairs.

    See :func:`spatial_correlation`.
    """
    columns = np.asarray(values, dtype=np.float64)
    structure, dimension = as_structure(positions, cell, pbc)
    if columns.ndim != 2 or len(columns) != len(structure):
        raise InputError(
            f"there are {len(columns)} values for {len(structure)} particles: give one for each particle."
        )
    if r_max is not None:
        r_max = positive(r_max, "r_max", "the largest distance")
    bin_width = positive(bin_width, "bin_width", "the width of a bin")
    deltas = [fluctuation(column, types) for column in columns.T]
    r_max = min(longest_distance(structure), 6.0) if r_max is None else r_max
    n_bins = max(1, round(r_max / bin_width))
    i, j, r = pairs_of(structure, r_max)
    where = np.minimum((r / r_max * n_bins).astype(np.int64), n_bins - 1)
    middle = (np.arange(n_bins) + 0.5) * r_max / n_bins
    found = []
    for delta in deltas:
        product = delta[i] * delta[j]
        known = np.isfinite(product)
        count = np.bincount(where, known, n_bins)
        total = np.bincount(where, np.where(known, product, 0.0), n_bins)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(SpatialCorrelation(middle, total / count, count.astype(np.int64), dimension))
    return found


def average_correlation(parts: Sequence[SpatialCorrelation]) -> SpatialCorrelation:
    """Correlation over several configurations with the same bins, each weighted by its pairs.

    Raises
    ------
    InputError
        When there are none, or their bins differ (give the same ``r_max`` to each).
    """
    if not parts:
        raise InputError("there are no correlations to average: give at least one.")
    first = parts[0]
    for other in parts[1:]:
        if other.r.shape != first.r.shape or not np.allclose(other.r, first.r):
            raise InputError(
                "the correlations have different bins: give the same r_max and bin_width to each."
            )
    n = np.sum([part.n_pairs for part in parts], axis=0)
    total = np.sum([np.nan_to_num(part.c) * part.n_pairs for part in parts], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return SpatialCorrelation(first.r, total / n, n, first.dimension)


def correlation_length(
    correlation: SpatialCorrelation, *, form: Form = "exponential", r_min: float = 0.8
) -> CorrelationLength:
    """Length over which a correlation decays, by a least-squares fit.

    ``"exponential"``: C(r) = A exp(−r/ξ).  ``"ornstein-zernike"``: C(r) = A exp(−r/ξ)/r^((d−1)/2), the
    asymptotic form of a critical correlation in d dimensions, which gives a longer ξ from the same data.
    The fit begins at ``r_min`` and ends where C(r) first falls below twice its statistical error.

    Parameters
    ----------
    correlation
        From :func:`spatial_correlation`.
    form
        What to fit; always say which one a quoted length comes from.
    r_min
        Smallest distance, below which there are no pairs or only overlapping ones.

    Returns
    -------
    CorrelationLength
        ξ is NaN where fewer than four bins stand above the noise or the fit does not settle.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    shapes = {
        "exponential": lambda r: np.ones_like(r),
        "ornstein-zernike": lambda r: r ** (-(correlation.dimension - 1) / 2),
    }
    if form not in shapes:
        raise InputError(f"form is {form!r}: choose from {list(shapes)}.")
    c, error = correlation.c, correlation.error
    usable = (correlation.r >= r_min) & np.isfinite(c)
    low = np.flatnonzero(usable & (c < 2 * error))
    usable &= np.arange(len(c)) < (low[0] if len(low) else len(c))
    r, c, error = correlation.r[usable], c[usable], error[usable]
    nothing = CorrelationLength(np.nan, np.nan, np.nan, (np.nan, np.nan), form)
    if len(r) < 4:
        return nothing
    prefactor = shapes[form](r)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            # log ξ keeps the length positive.
            found, covariance = curve_fit(
                lambda r, a, log_xi: a * np.exp(-r / np.exp(log_xi)) * prefactor,
                r,
                c,
                p0=(c[0], 0.5),
                sigma=error,
            )
    except (RuntimeError, OptimizeWarning):
        return nothing
    xi = float(np.exp(found[1]))
    if xi > 10 * correlation.r[-1]:
        return nothing  # flat within the data: no decay was seen
    return CorrelationLength(
        xi, float(xi * np.sqrt(covariance[1, 1])), float(found[0]), (float(r[0]), float(r[-1])), form
    )
