"""Isoconfigurational averages over the runs of one structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import j0

from propensity.errors import DataError

#: Wave number of the self-intermediate scattering function, near the first peak of S(k), in σ_AA⁻¹.
WAVE_NUMBER = 7.25


@dataclass(frozen=True, eq=False)
class EnsembleAverages:
    """Averages at one time: ``propensity`` (N,), ``halves`` (2, N), ``squared_displacement`` (N,),
    ``n_runs``, ``fs``.
    """

    propensity: np.ndarray
    halves: np.ndarray
    squared_displacement: np.ndarray
    n_runs: int
    fs: float


def average_runs(
    initial: np.ndarray, runs: Any, types: np.ndarray, box: np.ndarray, where: str, *, wrapped: bool = False
) -> EnsembleAverages:
    """Average the displacements |r_i(t) − r_i(0)| of each particle over the runs.

    Parameters
    ----------
    initial
        Positions at t = 0, shape (N, d) in d = 3 or 2 dimensions.
    runs
        Positions at t, one array of shape (N, d) a run.
    types
        Species, shape (N,); F_s is that of type 0.
    box
        Edges of the box, shape (d,).
    where
        Names the file in errors.
    wrapped
        Whether the runs may be wrapped into the box: displacements are those to the nearest image then,
        else wrapped coordinates are refused.

    Returns
    -------
    EnsembleAverages
        ``halves`` are averages over runs 0, 2, 4, ... and 1, 3, 5, ..., NaN for fewer than two runs.

    Raises
    ------
    DataError
        For wrong shapes, values that aren't finite, coordinates that were wrapped into the box though not
        ``wrapped``, or displacements of half a box where they are.
    """
    n = len(initial)
    sums, squares, counts, scattering = np.zeros((2, n)), np.zeros(n), np.zeros(2, int), 0.0
    for i, run in enumerate(runs):
        positions = np.asarray(run, dtype=np.float64)
        if positions.shape != initial.shape:
            raise DataError(f"{where}: run {i} has shape {positions.shape} instead of {initial.shape}.")
        step = positions - initial
        if not np.isfinite(step).all():
            raise DataError(f"{where}: run {i} has NaN or infinite positions.")
        if wrapped:
            step = _nearest(step, box, f"{where}: run {i}")
        else:
            _check_unwrapped(step, box, f"{where}: run {i}")
        square = np.einsum("ij,ij->i", step, step)
        distance = np.sqrt(square)
        sums[i % 2] += distance
        counts[i % 2] += 1
        squares += square
        # Isotropic average of cos(k·Δr) over directions of k: sin(kΔr)/(kΔr), in a plane J₀(kΔr).
        phase = WAVE_NUMBER * distance[types == 0]
        waves = j0(phase) if initial.shape[1] == 2 else np.sinc(phase / np.pi)
        scattering += float(waves.mean()) if n else 0.0
    total = int(counts.sum())
    if total == 0:
        raise DataError(f"{where} holds no runs: a propensity is an average over at least one.")
    halves = sums / counts[:, None] if counts[1] else np.full((2, n), np.nan)
    return EnsembleAverages(sums.sum(0) / total, halves, squares / total, total, scattering / total)


def _nearest(step: np.ndarray, box: np.ndarray, where: str) -> np.ndarray:
    """Displacements to the nearest image; refused where many are so long that it may be the wrong one."""
    step = step - box * np.rint(step / box)
    if (np.abs(step) > 0.4 * box).mean() > 1e-3:
        raise DataError(
            f"{where} has displacements of up to half the box, which wrapped coordinates can't tell from"
            " longer ones: unwrap the trajectories, or leave this time out."
        )
    return step


def _check_unwrapped(step: np.ndarray, box: np.ndarray, where: str) -> None:
    """Refuse runs in which particles jump by whole boxes: the mark of coordinates wrapped into the box."""
    jumps = np.abs(step) > box - 0.25 * box
    if not jumps.any():
        return
    # A diffusing particle covers every distance; wrapping leaves a gap between L/4 and 3L/4.
    between = (np.abs(step) > 0.25 * box) & ~jumps
    if jumps.sum() > between.sum():
        raise DataError(
            f"{where} has {int(jumps.sum())} coordinate(s) that jump by a box length: unwrap the"
            " trajectories."
        )
