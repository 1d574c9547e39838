"""The same correlation in reciprocal space: the structure factor of a field and its limit at small q."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from propensity.analysis.fields import fluctuation
from propensity.analysis.pairs import as_structure
from propensity.errors import InputError


@dataclass(frozen=True, eq=False)
class FieldStructureFactor:
    """S(q) of a field at the wave vectors that fit the cell, averaged over vectors of nearly the same length.

    Parameters
    ----------
    q, s
        Mean length of the vectors of each shell and S(q), shape (B,).
    n_vectors
        Pairs ±q in each shell, shape (B,).
    """

    q: np.ndarray
    s: np.ndarray
    n_vectors: np.ndarray


def field_structure_factor(
    values: Any,
    positions: Any,
    cell: Any,
    pbc: Any = True,
    *,
    types: Any = None,
    q_max: float = 3.0,
    n_shells: int = 24,
) -> FieldStructureFactor:
    """Structure factor of the fluctuations of a field.

    ``S(q) = |Σ_j δf_j exp(i q·r_j)|² / N``, with δf in units of its standard deviation within each species:
    1 without correlation.  With f the overlap this is S₄(q, t) up to its normalisation; its limit q → 0 is
    the susceptibility χ, the number of particles that move together.
    Source: Lačević et al., J. Chem. Phys. 119, 7372 (2003), eq. 20; Flenner, Zhang and Szamel,
    Phys. Rev. E 83, 051501 (2011).

    Parameters
    ----------
    values
        One value a particle, shape (N,); particles with NaN are left out.
    positions, cell, pbc, types
        See :func:`propensity.analysis.spatial_correlation`; every direction must be periodic.
    q_max
        Longest wave vector.
    n_shells
        Shells of equal width between 0 and ``q_max``; empty ones are dropped.

    Raises
    ------
    InputError
        For open directions, or a cell without a wave vector up to ``q_max``.
    """
    delta = fluctuation(values, types)
    structure, d = as_structure(positions, cell, pbc)
    if len(delta) != len(structure):
        raise InputError(f"there are {len(delta)} values for {len(structure)} particles: give one for each.")
    if not structure.is_periodic:
        raise InputError("wave vectors need a box that is periodic in every direction.")
    if not (np.isfinite(q_max) and q_max > 0) or n_shells < 1:
        raise InputError(f"q_max is {q_max} and n_shells {n_shells}: give positive numbers.")
    vectors = _half_space(structure.cell[:d, :d], q_max)
    if not len(vectors):
        raise InputError(f"the cell has no wave vector up to q_max = {q_max:g}: give a larger one.")
    known = np.isfinite(delta)
    points, delta = structure.positions[known, :d], delta[known]
    # Blocks keep the phase matrix (vectors × particles) small.
    block = max(1, 4_000_000 // len(points))
    power = np.concatenate(
        [
            np.abs(np.exp(1j * (vectors[k : k + block] @ points.T)) @ delta) ** 2
            for k in range(0, len(vectors), block)
        ]
    ) / len(points)
    length = np.linalg.norm(vectors, axis=1)
    shell = np.minimum((length / q_max * n_shells).astype(int), n_shells - 1)
    n = np.bincount(shell, minlength=n_shells)
    filled = n > 0
    q, s = (np.bincount(shell, x, n_shells)[filled] / n[filled] for x in (length, power))
    return FieldStructureFactor(q, s, n[filled])


def ornstein_zernike(factor: FieldStructureFactor, *, q_fit: float = 1.5) -> tuple[float, float]:
    """Susceptibility and correlation length from the small wave vectors, by S(q) = χ / (1 + (q ξ)²).

    Parameters
    ----------
    factor
        From :func:`field_structure_factor`.
    q_fit
        Largest wave vector of the fit.

    Returns
    -------
    chi, xi
        χ = S(q → 0) and ξ; NaN where fewer than four shells are left or the fit does not settle.

    Notes
    -----
    Source: Flenner, Zhang and Szamel, Phys. Rev. E 83, 051501 (2011), eq. 8.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    usable = factor.q <= q_fit
    if usable.sum() < 4:
        return np.nan, np.nan
    q, s = factor.q[usable], factor.s[usable]
    weight = np.maximum(s, 1e-9) / np.sqrt(
        factor.n_vectors[usable]
    )  # a power of Gaussian noise spreads like itself
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            found, _ = curve_fit(
                lambda q, log_chi, xi: np.exp(log_chi) / (1 + (q * xi) ** 2),
                q,
                s,
                p0=(np.log(max(s[0], 1e-3)), 1.0),
                sigma=weight,
            )
    except (RuntimeError, OptimizeWarning):
        return np.nan, np.nan
    return float(np.exp(found[0])), float(abs(found[1]))


def _half_space(cell: np.ndarray, q_max: float) -> np.ndarray:
    """Wave vectors of the reciprocal lattice up to ``q_max``, one of each pair ±q, without 0, (Q, d)."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    # |n_k| ≤ q L_k / 2π for the edge of length L_k, since n_k = q·a_k / 2π.
    reach = np.floor(q_max * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    n = np.array(list(product(*(range(-m, m + 1) for m in reach))))
    first = np.array([row[np.flatnonzero(row)[0]] if row.any() else 0 for row in n])
    vectors = n[first > 0] @ reciprocal
    return np.asarray(vectors[np.linalg.norm(vectors, axis=1) <= q_max])
