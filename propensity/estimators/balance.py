"""Epochs with equally many structures of each state point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def balanced_length(state_points: Sequence[int]) -> int:
    """Structures of an epoch: as many of each state point as the smallest set has."""
    counts = np.unique(state_points, return_counts=True)[1]
    return int(counts.min() * len(counts))


def balanced_epoch(state_points: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Indices of one epoch in random order; sets larger than the smallest take turns.

    Parameters
    ----------
    state_points
        Number of the state point of each structure.
    seed, epoch
        The order is a function of both: sets are gone through in an order that every pass renews.
    """
    members = [np.flatnonzero(np.equal(state_points, point)) for point in np.unique(state_points)]
    each = min(map(len, members))
    chosen = []
    for k, own in enumerate(members):
        for place in range(each):
            passed, within = divmod(epoch * each + place, len(own))
            chosen.append(int(own[np.random.default_rng((seed, k, passed)).permutation(len(own))[within]]))
    order = np.random.default_rng((seed, epoch)).permutation(len(chosen))
    return [chosen[k] for k in order]
