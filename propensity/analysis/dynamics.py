"""What a trajectory does: displacement, self-intermediate scattering, overlap and its fluctuations χ₄."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from propensity.errors import InputError


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Decay of a trajectory by time difference, each of shape (K,), averaged over ``n_origins`` start times.

    Parameters
    ----------
    times
        Time differences.
    msd
        Mean squared displacement.
    fs
        Self-intermediate scattering function F_s(q, t).
    overlap
        Q(t), share of the particles within ``a`` of where they were.
    chi4
        N · var Q over the start times; NaN with one of them.
    n_origins
        Start times.
    """

    times: np.ndarray
    msd: np.ndarray
    fs: np.ndarray
    overlap: np.ndarray
    chi4: np.ndarray
    n_origins: np.ndarray


def unwrap(positions: Any, cells: Any, pbc: Any = True) -> np.ndarray:
    """Undo the wrapping at periodic boundaries, from frame to frame.

    Each step is the nearest image of the last position, so that no particle may move by half the cell between
    two frames.  Steps are taken in fractions of the cell, which may change its shape.

    Parameters
    ----------
    positions
        Shape (F, N, d).
    cells
        Cell vectors as rows, (F, d, d) or (d, d).
    pbc
        Periodic directions, shape (d,) or one value.

    Returns
    -------
    float64, (F, N, d)
    """
    positions = _trajectory(positions)
    n_frames, _, d = positions.shape
    cells = np.asarray(cells, dtype=np.float64)
    if cells.shape not in ((d, d), (n_frames, d, d)):
        raise InputError(f"cells have shape {cells.shape}: give ({d}, {d}) or ({n_frames}, {d}, {d}).")
    cells = np.broadcast_to(cells, (n_frames, d, d))
    fractions = np.einsum("fnd,fde->fne", positions, np.linalg.inv(cells))
    steps = np.diff(fractions, axis=0)
    steps -= np.round(steps) * np.broadcast_to(np.asarray(pbc, dtype=bool), (d,))
    whole = np.concatenate([fractions[:1], fractions[:1] + np.cumsum(steps, axis=0)])
    unwrapped: np.ndarray = np.einsum("fnd,fde->fne", whole, cells)
    return unwrapped


def self_intermediate_scattering(distances: Any, q: float, dimension: int) -> np.ndarray:
    """Self-intermediate scattering function averaged over the directions of q.

    F_s(q, t) = ⟨sin(q Δr)/(q Δr)⟩ in three dimensions and ⟨J₀(q Δr)⟩ in two.

    Parameters
    ----------
    distances
        Lengths of the displacements, shape (..., N); the mean is over the last axis.
    q
        Wave number; 7.2/σ_AA, the first peak of S(q), is usual in the Kob–Andersen liquid.
    dimension
        2 or 3.
    """
    distances = np.asarray(distances, dtype=np.float64)
    if not (np.isfinite(q) and q > 0):
        raise InputError(f"q is {q}: give a positive number.")
    if dimension == 3:
        return np.asarray(np.sinc(q * distances / np.pi).mean(axis=-1))
    if dimension == 2:
        from scipy.special import j0

        return np.asarray(j0(q * distances).mean(axis=-1))
    raise InputError(f"dimension is {dimension}: give 2 or 3.")


def overlap(distances: Any, a: float = 0.3) -> np.ndarray:
    """Share of the particles that are within ``a`` of where they were.

    Q(t) = ⟨θ(a − Δr)⟩, with a = 0.3 σ_AA between the rattling and the size of a particle (Lačević et al.,
    J. Chem. Phys. 119, 7372 (2003)); the self part of their overlap.

    Parameters
    ----------
    distances
        Lengths of the displacements, shape (..., N); the mean is over the last axis.
    a
        Radius.
    """
    if not (np.isfinite(a) and a > 0):
        raise InputError(f"the radius of the overlap is {a}: give a positive number.")
    return np.asarray((np.asarray(distances, dtype=np.float64) < a).mean(axis=-1))


def four_point_susceptibility(overlaps: Any, n_particles: int) -> float:
    """Fluctuation of the overlap between runs or start times.

    χ₄(t) = N [⟨Q²⟩ − ⟨Q⟩²], here without bias for the number of runs (Lačević et al. 2003, eq. 8).

    Parameters
    ----------
    overlaps
        Q of each run, shape (R,).
    n_particles
        N.

    Returns
    -------
    float
        NaN with fewer than two runs.
    """
    overlaps = np.asarray(overlaps, dtype=np.float64)
    return float(n_particles * overlaps.var(ddof=1)) if len(overlaps) > 1 else np.nan


def relaxation(positions: Any, times: Any, *, q: float = 7.2, a: float = 0.3, n_lags: int = 40) -> Relaxation:
    """Mean squared displacement, F_s, overlap and χ₄ of one trajectory.

    Parameters
    ----------
    positions
        Unwrapped (:func:`unwrap`), without drift of the centre of mass, shape (F, N, d).
    times
        Of the frames, increasing, shape (F,).  Evenly spaced frames are averaged over all start times;
        otherwise the first frame is the only start.
    q, a
        See :func:`self_intermediate_scattering` and :func:`overlap`.
    n_lags
        At most so many time differences, evenly spaced in their logarithm where the frames are even in time.

    Returns
    -------
    Relaxation
    """
    positions, times = _trajectory(positions), np.asarray(times, dtype=np.float64)
    if times.shape != (len(positions),) or len(times) < 2 or not (np.diff(times) > 0).all():
        raise InputError(
            f"there are {len(times)} times for {len(positions)} frames: give increasing ones, two or more."
        )
    n_frames, n, d = positions.shape
    steps = np.diff(times)
    even = bool(np.allclose(steps, steps[0], rtol=1e-3))
    spread = np.geomspace if even and n_frames - 1 > n_lags else np.linspace
    lags = np.unique(spread(1, n_frames - 1, min(n_lags, n_frames - 1)).round().astype(int))
    rows = []
    for lag in lags:
        later, earlier = (positions[lag:], positions[:-lag]) if even else (positions[[lag]], positions[:1])
        distance = np.linalg.norm(later - earlier, axis=-1)
        kept = overlap(distance, a)
        rows.append(
            (
                np.square(distance).mean(),
                self_intermediate_scattering(distance, q, d).mean(),
                kept.mean(),
                four_point_susceptibility(kept, n),
                len(kept),
            )
        )
    msd, fs, kept, chi4, origins = (np.array(column) for column in zip(*rows, strict=True))
    return Relaxation(times[lags] - times[0], msd, fs, kept, chi4, origins)


def _trajectory(positions: Any) -> np.ndarray:
    found: np.ndarray = np.asarray(positions, dtype=np.float64)
    if found.ndim != 3 or found.shape[2] not in (2, 3):
        raise InputError(f"positions have shape {found.shape}: give frames × particles × 2 or 3.")
    if not np.isfinite(found).all():
        raise InputError("positions are NaN or infinite: repair or drop those frames.")
    return found
