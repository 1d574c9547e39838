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
#: A box is cut into 2**BITS cells each way, by which its particles are ordered.
BITS = 5


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


def spatial_order(structure: Structure) -> np.ndarray:
    """Particles along a curve that fills space (Morton's), so that a processor's cache holds neighbours.

    Parameters
    ----------
    structure
        In a periodic box.

    Returns
    -------
    np.ndarray
        Their indices.
    """
    cells = (structure.positions @ np.linalg.inv(structure.cell) % 1 * 2**BITS).astype(int)
    key = np.zeros(len(structure), int)
    for bit in reversed(range(BITS)):
        for cell in cells.T:
            key = 2 * key + (cell >> bit & 1)
    return np.argsort(key, kind="stable")


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

    types = structure.types
    start, other, vectors = _half_list(structure, radius)
    within = [
        squares.astype(np.float32).ravel() for squares in ((NEAR * SIGMA) ** 2, (CUT * SIGMA + MARGIN) ** 2)
    ]
    near, far = (
        Pairs(
            np.zeros_like(start),
            np.zeros_like(other),
            np.zeros_like(vectors),
            types,
            squares,
            _pair_rows(potential, held, times),
        )
        for squares, held, times in zip(within, HELD, (1, outer), strict=True)
    )
    return Pairs(start, other, vectors, types, far.within, near.table), near, far


def _half_list(structure: Structure, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts by i and species of j, others and vectors of pairs that can come within the cut, each once."""
    types, reach = structure.types, CUT * SIGMA + min(2 * (radius + BEYOND), APART)
    edge_index, edge_vec = neighbour_list(structure, float(reach.max()))
    j, i, vectors = edge_index[0].numpy(), edge_index[1].numpy(), edge_vec.numpy()
    square = np.einsum("ea,ea->e", vectors, vectors)
    # A pair across several images comes once each way; particles never meet their own images.  Which way
    # counts alternates, so that all have as many.
    once = ((i < j) == ((i + j) % 2 == 0)) & (i != j)
    chosen = np.flatnonzero(once & (square < reach[types[i], types[j]] ** 2))
    row = 2 * i[chosen] + types[j[chosen]]
    # Near ones first, so that a processor guesses which are chosen.
    order = np.lexsort((square[chosen], row))
    start = np.searchsorted(row[order], np.arange(2 * len(structure) + 1))
    chosen = chosen[order]
    return start.astype(np.int64), j[chosen].astype(np.int64), vectors[chosen].astype(np.float32).ravel()


def _pair_rows(potential: str, held: float, times: int) -> np.ndarray:
    """Squared cut, 6·4ε σ⁶, 12·4ε σ¹², slope and least r² of AA, AB, BA, BB, flat."""
    cut, square, four, _, slope = np.moveaxis(pair_table(POTENTIALS[potential]), -1, 0)
    rows = [cut, times * 6 * four * square**3, times * 12 * four * square**6, times * slope, held**2 * square]
    return np.stack(rows, axis=-1).astype(np.float32).ravel()
