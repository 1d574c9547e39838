"""Where particles are on average while none may leave its cage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

#: Share of a wall's radius within which a centre of mass is taken for one that was held.
CENTRED = 1e-4
#: Replicas of each wall, by the number of walls.  Of two the wider has eleven twelfths: jumps behind it are
#: rare, and chance in them costs most.
REPLICAS = {1: (32,), 2: (4, 44), 4: (8,) * 4, 8: (4,) * 8}
#: On a GPU 30 or 60: of the clusters of four blocks that take one each, an H200 has room for 30 at once, for
#: whose end others would wait.
ON_GPU = {1: (30,), 2: (4, 56), 4: (8, 8, 7, 7), 8: (4, 4, 4, 4, 4, 4, 3, 3)}


def replicas(radii: Sequence[float], gpu: bool = False) -> tuple[int, ...]:
    """Replicas of each wall.

    Parameters
    ----------
    radii
        Of one, two, four or eight walls.
    gpu
        As a GPU has them.

    Returns
    -------
    tuple
        As many numbers.
    """
    numbers = (ON_GPU if gpu else REPLICAS)[len(radii)]
    return numbers[::-1] if len(radii) == 2 and radii[0] > radii[1] else numbers


@dataclass(frozen=True, eq=False)
class CageState:
    """Where particles are on average while none may leave its cage: restricted dynamics about the minimum.

    Parameters
    ----------
    radii
        Radii of the walls about the inherent positions, in σ, shape (R,).
    offset
        From the inherent to the mean position of each particle, shape (R, N, 3).
    covariance
        Covariance of its position, shape (R, N, 3, 3).
    error
        Standard error of a component of ``offset``, root mean square over particles, shape (R,).
    steps_each
        Steps of dynamics of each replica, those left out included; how many replicas there are is no part of
        what a model asks for.
    inherent_positions
        Positions that the offsets start from, shape (N, 3).
    """

    radii: np.ndarray
    offset: np.ndarray
    covariance: np.ndarray
    error: np.ndarray
    steps_each: int
    inherent_positions: np.ndarray

    def __len__(self) -> int:
        return cast("int", self.offset.shape[1])

    @property
    def centred(self) -> bool:
        """Whether the centre of mass rested where that of the minimum is, as it never does by chance."""
        return bool(np.abs(self.offset.mean(axis=1)).max() < CENTRED * self.radii.max())

    @property
    def positions(self) -> np.ndarray:
        """Mean positions, shape (R, N, 3)."""
        return cast("np.ndarray", self.inherent_positions + self.offset)

    def scaled(self, factor: float) -> CageState:
        """The same with every length multiplied by ``factor``."""
        return CageState(
            self.radii * factor,
            self.offset * factor,
            self.covariance * factor**2,
            self.error * factor,
            self.steps_each,
            self.inherent_positions * factor,
        )

    def part(self, rows: np.ndarray) -> CageState:
        """Those of some of the particles, by index."""
        return CageState(
            self.radii,
            self.offset[:, rows],
            self.covariance[:, rows],
            self.error,
            self.steps_each,
            self.inherent_positions[rows],
        )
