"""Sixteen replicas of the restricted dynamics on a CPU: one thread's share."""

from __future__ import annotations

import math

import numpy as np
import torch

from propensity.physics.cage_kernels import ROW, Course, Motion, Replicas, restricted_dynamics
from propensity.physics.cage_pairs import pair_lists, spatial_order
from propensity.simd import LANES
from propensity.structure import Structure


class Sixteen:
    """Replicas at rest at the minimum.

    Parameters
    ----------
    structure, potential
        Minimum, and what acts between its particles.
    temperature
        Of the first velocities.
    noise
        Where they come from.
    motion, course
        How replicas move, and what counts.
    """

    def __init__(
        self,
        structure: Structure,
        potential: str,
        temperature: float,
        noise: np.random.Generator,
        motion: Motion,
        course: Course,
    ) -> None:
        self.order = spatial_order(structure)
        structure, n = structure.part(self.order), len(structure)
        # Memory of torch begins where a line of the cache does, in which vectors then lie.
        d, v, f, sums, mean = (
            torch.zeros(rows * ROW, dtype=torch.float32, device="cpu").numpy() for rows in (n, n, n, 3 * n, 2)
        )
        v[:] = noise.standard_normal(n * ROW) * math.sqrt(temperature)
        self.lists = pair_lists(structure, potential, float(motion.radius.max()), course.outer)
        self.replicas, self.motion, self.course = Replicas(d, v, f, sums, mean), motion, course
        self.steps = 0

    def advance(self, steps: int) -> None:
        """Go on.

        Parameters
        ----------
        steps
            To have taken then.
        """
        restricted_dynamics(self.lists, self.replicas, self.motion, self.course, self.steps, steps)
        self.steps = steps

    def moments(self) -> np.ndarray:
        """Means over what each replica counted.

        Returns
        -------
        np.ndarray
            Of x, y, z, xx, yy, zz, xy, xz and yz, shape (N, 9, 16).
        """
        counted = len(range(self.course.skip, self.steps, self.course.every))
        moments = np.empty((len(self.order), 9, LANES))
        moments[self.order] = self.replicas.sums.reshape(moments.shape)
        return moments / counted
