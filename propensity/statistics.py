"""Pearson correlation from sums, so that pooling and bootstrapping never need the particles again; numpy
only.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from propensity.errors import InputError
from propensity.numeric import as_numbers

#: Last axis of an array of moments: number of particles and the sums that Pearson's ρ needs.
MOMENTS = ("n", "Σx", "Σy", "Σx²", "Σy²", "Σxy")


def moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums over the first axis that determine ρ: from two (N, ...) arrays to (..., 6); moments add up.

    The order is that of :data:`MOMENTS`.

    Parameters
    ----------
    x, y
        Arrays of equal shape (N, ...).

    Returns
    -------
    numpy.ndarray
        Float64, shape (..., 6).

    Raises
    ------
    InputError
        For arrays of unequal shape.
    """
    x, y = _pairs(x, y)
    n = np.full(x.shape[1:], float(len(x)))
    return np.stack(
        [n, x.sum(0), y.sum(0), np.square(x).sum(0), np.square(y).sum(0), (x * y).sum(0)], axis=-1
    )


def pearson_of_moments(sums: np.ndarray) -> np.ndarray:
    """ρ = cov(x, y) / √(var x · var y), from moments (..., 6) to (...); NaN where x or y is constant.

    Parameters
    ----------
    sums
        From :func:`moments`, or a sum of several.

    Returns
    -------
    numpy.ndarray
        Between −1 and 1.
    """
    n, sx, sy, sxx, syy, sxy = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        var_x, var_y = sxx / n - (sx / n) ** 2, syy / n - (sy / n) ** 2
        rho = (sxy / n - sx * sy / n**2) / np.sqrt(var_x * var_y)
        # Variance below the rounding of its two terms is that of a constant.
        constant = (var_x <= 1e-12 * sxx / n) | (var_y <= 1e-12 * syy / n)
    return np.where(constant | (n < 2), np.nan, np.clip(rho, -1.0, 1.0))


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson correlation along the first axis, from two (N, ...) arrays to (...).

    Parameters
    ----------
    x, y
        Arrays of equal shape (N, ...).

    Returns
    -------
    numpy.ndarray
        Between −1 and 1; NaN where x or y is constant.

    Raises
    ------
    InputError
        For arrays of unequal shape.
    """
    x, y = _pairs(x, y)
    # What all have in common would take the digits of what differs.
    return pearson_of_moments(moments(x - x[:1], y - y[:1]))


def _pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = as_numbers(x, "x", "an array"), as_numbers(y, "y", "an array")
    if x.shape != y.shape or not x.ndim:
        raise InputError(f"x has shape {x.shape} and y {y.shape}: give arrays of equal shape.")
    return x, y


#: Particles below which the correlation of two halves is itself noise (± 0.2), and so would be a ceiling.
ENOUGH = 30


def noise_ceiling(r: np.ndarray, n: np.ndarray | None = None) -> np.ndarray:
    """Largest ρ that a perfect model can reach against noisy labels: √(2r/(1+r)).

    ``r`` is the correlation of the labels from each half of the runs (Spearman–Brown: the
    full ensemble has reliability 2r/(1+r), and ρ with the truth is its root).  NaN for r ≤ 0, where the
    halves know nothing of each other, and with ``n``, the number of particles behind each r, where they are
    fewer than 30.

    Parameters
    ----------
    r
        Correlation of the two halves, any shape.
    n
        Number of particles behind each; None: enough.

    Returns
    -------
    numpy.ndarray
        In the shape of ``r``.

    Raises
    ------
    InputError
        For what is no correlation.
    """
    r = as_numbers(r, "r", "correlations")
    if (np.abs(r) > 1 + 1e-9).any():
        raise InputError(f"r reaches {np.nanmax(np.abs(r)):.3g}: a correlation lies between -1 and 1.")
    known = r > 0 if n is None else (r > 0) & (np.asarray(n) >= ENOUGH)
    r = np.where(known, r, np.nan)
    return cast("np.ndarray", np.sqrt(2 * r / (1 + r)))


def mean_over_structures(rho: np.ndarray) -> np.ndarray:
    """Mean over the first axis that leaves out NaN (a structure without that species); NaN where all are.

    Parameters
    ----------
    rho
        Shape (n_structures, ...).

    Returns
    -------
    numpy.ndarray
        Shape (...).
    """
    valid = ~np.isnan(rho)
    count = valid.sum(axis=0)
    total = np.where(valid, rho, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def score_text(value: float, ends: np.ndarray | None = None) -> str:
    """A correlation to three decimals, with half the width of its interval.

    Parameters
    ----------
    value
        The correlation.
    ends
        Ends of its confidence interval, shape (2,).

    Returns
    -------
    str
        Such as ``0.712 ± 0.004``; a dash where the value is NaN.
    """
    if np.isnan(value):
        return "–"
    spread = "" if ends is None or np.isnan(ends).any() else f" ± {(ends[1] - ends[0]) / 2:.3f}"
    return f"{value:.3f}{spread}"


#: Bootstrap samples below which their percentiles are no interval.
FEWEST = 20


def bootstrap(
    sums: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile confidence intervals of the pooled ρ and of the mean ρ per structure.

    Whole structures are drawn with replacement, because particles of one structure are correlated;
    structures of one group (one parent) are drawn together.  This is the spread over test
    structures of arXiv:2211.03226, Appendix B; the spread over trainings is not in it.

    Parameters
    ----------
    sums
        Moments of each structure, shape (C, ..., 6).
    groups
        Label of each structure's group, shape (C,); None: each is its own.
    n_resamples
        Bootstrap samples.
    level
        Confidence level.
    seed
        Seed of the resampling.

    Returns
    -------
    Intervals of the pooled and of the mean per-structure ρ, each of shape (2, ...); NaN where there
    are fewer than two groups, or fewer than 20 samples.
    """
    sums = np.asarray(sums, dtype=np.float64)
    shape = sums.shape[1:-1]
    if groups is None:
        groups = np.arange(len(sums))
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = member.max() + 1 if len(sums) else 0
    if n_groups < 2 or n_resamples < FEWEST:
        empty = np.full((2, *shape), np.nan)
        return empty, empty.copy()
    rho = pearson_of_moments(sums)
    valid = ~np.isnan(rho)
    by_group = np.zeros((n_groups, *sums.shape[1:]))
    total = np.zeros((n_groups, *shape))
    count = np.zeros((n_groups, *shape))
    np.add.at(by_group, member, sums)
    np.add.at(total, member, np.where(valid, rho, 0.0))
    np.add.at(count, member, valid)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_resamples).astype(np.float64)
    pooled = pearson_of_moments(np.tensordot(drawn, by_group, axes=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        single = np.tensordot(drawn, total, axes=1) / np.tensordot(drawn, count, axes=1)
    ends = [(1 - level) / 2, (1 + level) / 2]
    return _quantile(pooled, ends), _quantile(single, ends)


def _quantile(values: np.ndarray, ends: list[float]) -> np.ndarray:
    known = ~np.isnan(values)
    filled = np.where(known.any(axis=0), values, 0.0)
    return np.where(known.any(axis=0), np.nanquantile(filled, ends, axis=0), np.nan)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of independent values of any shape.

    Parameters
    ----------
    values
        At least two.

    Returns
    -------
    mean, error
        In the units of the values.
    """
    flat = values.ravel()
    return float(flat.mean()), float(flat.std(ddof=1) / np.sqrt(len(flat)))
