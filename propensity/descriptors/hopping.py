"""The hop indicator p_hop and labels for softness from it."""

from __future__ import annotations

import numpy as np

from propensity.errors import InputError


def hop_indicator(trajectory: np.ndarray, window: int) -> np.ndarray:
    """p_hop of each particle at each time, in σ², shape (F − window, N).

    p_hop(i, t) = √(⟨(r_i − ⟨r_i⟩_B)²⟩_A ⟨(r_i − ⟨r_i⟩_A)²⟩_B), with A and B the half windows before
    and after t.  Source: R. Candelier et al., Phys. Rev. Lett. 105, 135702 (2010).

    Parameters
    ----------
    trajectory
        Unwrapped positions, shape (F, N, 3), evenly spaced in time.
    window
        Frames in A and B together; an even number.

    Raises
    ------
    InputError
        When the window is odd, too small or longer than the trajectory.
    """
    trajectory = np.asarray(trajectory, dtype=np.float64)
    if trajectory.ndim != 3 or trajectory.shape[2] != 3:
        raise InputError(
            f"trajectory has shape {trajectory.shape}: give unwrapped positions, (frames, N, 3)."
        )
    if window < 2 or window % 2 or window >= len(trajectory):
        raise InputError(
            f"window is {window} for {len(trajectory)} frames: give an even number from 2 to"
            f" {len(trajectory) - 1}."
        )
    half = window // 2
    result = np.empty((len(trajectory) - window, trajectory.shape[1]))
    for t in range(len(result)):
        before, after = trajectory[t : t + half], trajectory[t + half : t + window]
        a = np.square(before - after.mean(axis=0)).sum(axis=2).mean(axis=0)
        b = np.square(after - before.mean(axis=0)).sum(axis=2).mean(axis=0)
        result[t] = np.sqrt(a * b)
    return result


def hop_labels(indicator: np.ndarray, hop: float = 0.2, quiet: float = 0.05) -> np.ndarray:
    """1 where a particle hops (p_hop > ``hop`` at some time), 0 where it never exceeds ``quiet``, else −1;
    shape (N,).

    Thresholds in σ² of S. S. Schoenholz et al., Nat. Phys. 12, 469 (2016).
    """
    if not 0 <= quiet <= hop:
        raise InputError(f"quiet is {quiet} and hop {hop}: give 0 ≤ quiet ≤ hop.")
    highest = np.max(indicator, axis=0)
    return np.where(highest > hop, 1, np.where(highest <= quiet, 0, -1))
