"""Epochs with a fair share of each state point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def balanced_counts(state_points: Sequence[int]) -> list[int]:
    """Structures of each state point in an epoch: all of the smallest set, of others in proportion to the
    square root of their number.

    Equal shares leave most of a large set unseen, and shares by size let it drown the small ones.
    """
    sizes = np.unique(state_points, return_counts=True)[1]
    return [round(float(np.sqrt(size * sizes.min()))) for size in sizes]


def balanced_epoch(state_points: Sequence[int], seed: int, epoch: int) -> list[int]:
    """Indices of one epoch in random order, state points evenly mixed; sets larger than their share take
    turns.

    Parameters
    ----------
    state_points
        Number of the state point of each structure.
    seed, epoch
        The order is a function of both: sets are gone through in an order that every pass renews.
    """
    members = [np.flatnonzero(np.equal(state_points, point)) for point in np.unique(state_points)]
    random = np.random.default_rng((seed, epoch))
    chosen, places = [], []
    for k, (own, share) in enumerate(zip(members, balanced_counts(state_points), strict=True)):
        for place in range(share):
            passed, within = divmod(epoch * share + place, len(own))
            chosen.append(int(own[np.random.default_rng((seed, k, passed)).permutation(len(own))[within]]))
        places.append((np.arange(share) + random.random(share)) / share)
    return [chosen[k] for k in np.argsort(np.concatenate(places))]
