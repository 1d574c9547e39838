"""Pairs of particles that meet in restricted dynamics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from propensity.neighbours import neighbour_list
from propensity.physics.interaction import CUT, SIGMA
from propensity.physics.kob_andersen import POTENTIALS, pair_table
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.physics.cage_kernels import Pairs

#: How far beyond its wall a particle is thought to come.
BEYOND = 0.05
#: Pairs farther apart than so many σ in all replicas are far: their pull changes slowly.
NEAR = 1.35
#: Near and far pairs that come closer than so many σ pull as they do there: near ones hardly do (12 k_B T
#: at T = 0.44), far ones until lists are renewed.
HELD = 0.92, 1.0
#: Pairs beyond the cut by ``MARGIN`` σ in all replicas don't act until lists are renewed, and those whose
#: minima are beyond it by ``APART`` never: both particles would have to come half of it.
MARGIN, APART = 0.1, 0.5


def farthest(radius: float) -> float:
    """Largest distance of the inherent positions of a pair that acts.

    Parameters
    ----------
    radius
        Of the walls, in σ.

    Returns
    -------
    float
        In σ.
    """
    return float(CUT + min(2 * (radius + BEYOND), APART))


def pair_lists(structure: Structure, potential: str, radius: float, outer: int) -> tuple[Pairs, Pairs, Pairs]:
    """All pairs that can come within the cut, each once; and room for the near and the far ones among them.

    Parameters
    ----------
    structure, potential
        Minimum, and what acts between its particles.
    radius
        Of the widest wall, in σ.
    outer
        How many times as large the forces of far pairs are.

    Returns
    -------
    tuple
        All pairs, near ones and far ones.
    """
    from propensity.physics.cage_kernels import Pairs

    start, other, vectors = _half_list(structure, radius)
    kinds, table = structure.types, _pair_rows(potential, HELD[0], 1)
    within = ((NEAR * SIGMA) ** 2, (CUT * SIGMA + MARGIN) ** 2)
    near, far = (
        Pairs(
            start,
            start[:-1].copy(),
            np.zeros_like(other),
            np.zeros_like(vectors),
            kinds,
            squares.astype(np.float32).ravel(),
            _pair_rows(potential, held, times),
        )
        for squares, held, times in zip(within, HELD, (1, outer), strict=True)
    )
    return Pairs(start, start[1:], other, vectors, kinds, far.within, table), near, far


def _half_list(structure: Structure, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts by i, others and vectors of pairs that can come within the cut, each once."""
    reach = CUT * SIGMA + min(2 * (radius + BEYOND), APART)
    edge_index, edge_vec = neighbour_list(structure, float(reach.max()))
    j, i, vectors = edge_index[0].numpy(), edge_index[1].numpy(), edge_vec.numpy()
    square = np.einsum("ea,ea->e", vectors, vectors)
    # A pair across several images comes once each way; particles never meet their own images.  Which way
    # counts alternates, so that all have as many.
    once = ((i < j) == ((i + j) % 2 == 0)) & (i != j)
    chosen = once & (square < reach[structure.types[i], structure.types[j]] ** 2)
    start = np.searchsorted(i[chosen], np.arange(len(structure) + 1))
    return start.astype(np.int64), j[chosen].astype(np.int64), vectors[chosen].astype(np.float32)


def _pair_rows(potential: str, held: float, times: int) -> np.ndarray:
    """Squared cut, σ², 6·4ε, 12·4ε, slope and least r² of AA, AB, BA, BB, flat."""
    table = pair_table(POTENTIALS[potential])
    rows = [
        table[..., 0],
        table[..., 1],
        times * 6 * table[..., 2],
        times * 12 * table[..., 2],
        times * table[..., 4],
        held**2 * table[..., 1],
    ]
    return np.stack(rows, axis=-1).astype(np.float32).ravel()
