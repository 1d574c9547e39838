"""Order of the training structures in an epoch, and the share of each process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from propensity.errors import DataError
from propensity.estimators.balance import balanced_counts, balanced_epoch


class _ByEpoch(Sampler[int]):
    def __init__(self, seed: int, rank: int, world: int) -> None:
        self.seed, self.rank, self.world, self.epoch = seed, rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of an epoch."""
        self.epoch = epoch


class EpochSampler(_ByEpoch):
    """Indices of one process: an order that depends on seed and epoch only, so that a resumed run repeats it.

    Every process gets equally many indices, because a step waits for all; the remainder of an epoch
    is left out by turns.
    """

    def __init__(self, n: int, seed: int, rank: int = 0, world: int = 1) -> None:
        if n < world:
            raise DataError(
                f"there are {n} training structures for {world} devices: use at most {n} devices."
            )
        super().__init__(seed, rank, world)
        self.n = n

    def __len__(self) -> int:
        return self.n // self.world

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        return iter(order[self.rank :: self.world][: len(self)].tolist())


class BalancedSampler(_ByEpoch):
    """A fair share of each state point an epoch, larger sets by turns."""

    def __init__(self, state_points: Sequence[int], seed: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(seed, rank, world)
        self.state_points, self.n = tuple(state_points), sum(balanced_counts(state_points))
        if self.n < world:
            raise DataError(
                f"there are {len(state_points)} training structures for {world} devices: use fewer."
            )

    def __len__(self) -> int:
        return self.n // self.world

    def __iter__(self) -> Iterator[int]:
        order = balanced_epoch(self.state_points, self.seed, self.epoch)
        return iter(order[self.rank :: self.world][: len(self)])
