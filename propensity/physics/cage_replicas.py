"""Sixteen replicas of the restricted dynamics on a CPU: one thread's share."""

from __future__ import annotations

import math

import numpy as np

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
        v = (noise.standard_normal(n * ROW) * math.sqrt(temperature)).astype(np.float32)
        d, f, sums, mean = (np.zeros(size, np.float32) for size in (n * ROW, n * ROW, 3 * n * ROW, 2 * ROW))
        self.lists = pair_lists(structure, potential, float(motion.radius.max()), course.outer)
        self.replicas, self.motion, self.course = Replicas(d, v, f, sums, mean), motion, course

    def advance(self, first: int, last: int) -> None:
        """Go on.

        Parameters
        ----------
        first, last
            Steps to take, the last left out.
        """
        restricted_dynamics(self.lists, self.replicas, self.motion, self.course, first, last)

    def moments(self, steps: int) -> np.ndarray:
        """Means over what each replica counted.

        Parameters
        ----------
        steps
            That it has taken.

        Returns
        -------
        np.ndarray
            Of x, y, z, xx, yy, zz, xy, xz and yz, shape (N, 9, 16).
        """
        counted = len(range(self.course.skip, steps, self.course.every))
        moments = np.empty((len(self.order), 9, LANES))
        moments[self.order] = self.replicas.sums.reshape(moments.shape)
        return moments / counted
