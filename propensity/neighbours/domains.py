"""A structure cut into domains with halos, so that the edges of one domain at a time are in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from propensity.neighbours.backends import neighbour_list
from propensity.neighbours.cell import enclosing_cell
from propensity.structure import Structure

#: Particles of a domain: edges and kernels then take some 300 MB, and the halo as many particles again.
PER_DOMAIN = 32_768
#: How many times as thin as a cube a domain is; the halo grows by an eighth.
THIN = 3


@dataclass(frozen=True, eq=False)
class Domain:
    """Some particles and all their neighbours.

    Parameters
    ----------
    own
        Range of its particles in the order of :attr:`Domains.order`.
    halo
        Places in that order of the neighbours outside, once for each periodic image, shape (H,).
    edge_index
        Source and destination, shape (2, E): own particles count first, then the halo; destinations are own.
    edge_vec
        r_j − r_i of each edge, shape (E, 3).
    """

    own: slice
    halo: np.ndarray
    edge_index: torch.Tensor
    edge_vec: torch.Tensor

    @property
    def n_own(self) -> int:
        """Number of its own particles."""
        return int(self.own.stop - self.own.start)

    @property
    def places(self) -> np.ndarray:
        """Places of all its particles, own ones first."""
        return np.concatenate([np.arange(self.own.start, self.own.stop), self.halo])


class Domains:
    """Domains of a structure on a grid of its cell, in slabs along the first direction.

    Parameters
    ----------
    structure
        Any structure, periodic or open, of any cell.
    cutoff
        Range of the edges.
    per_domain
        Particles of a domain, about.
    """

    def __init__(self, structure: Structure, cutoff: float, per_domain: int = PER_DOMAIN) -> None:
        self.cutoff, self.dimension, self.pbc = float(cutoff), structure.dimension, structure.pbc
        self.cell, positions = enclosing_cell(structure, cutoff)
        self._inverse = np.linalg.inv(self.cell)
        heights = 1 / np.linalg.norm(self._inverse, axis=0)
        wide = cutoff * (1 + 1e-9)  # more than rounding can misplace a particle
        #: Reach of the cutoff in each direction, in cells.
        self.margin = wide / heights
        sides = _sides(float(np.prod(heights)) * per_domain / len(structure), cutoff)
        wanted = np.minimum(np.ceil(heights / sides), np.maximum(np.floor(heights / wide), 1))
        #: Number of domains in each direction.
        self.shape = np.maximum(wanted, 1).astype(int)
        grid = np.clip((positions @ self._inverse * self.shape).astype(np.int64), 0, self.shape - 1)
        number = np.ravel_multi_index(tuple(grid.T), tuple(self.shape))
        del grid
        #: Particle at each place.
        self.order = np.argsort(number, kind="stable")
        counts = np.bincount(number, minlength=int(np.prod(self.shape)))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._positions = positions[self.order]

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    @property
    def slabs(self) -> list[range]:
        """Domains of each slab; only those of adjacent slabs, the last beside the first, share particles."""
        each = len(self) // int(self.shape[0])
        return [range(first, first + each) for first in range(0, len(self), each)]

    def rows(self, numbers: range) -> slice:
        """Range of the particles of successive domains, in the order of :attr:`order`."""
        return slice(int(self._starts[numbers.start]), int(self._starts[numbers.stop]))

    def domain(self, number: int, device: torch.device | str, dtype: torch.dtype) -> Domain:
        """One domain with its halo and edges."""
        own = slice(int(self._starts[number]), int(self._starts[number + 1]))
        at = np.array(np.unravel_index(number, tuple(self.shape)))
        low, high = at / self.shape - self.margin, (at + 1) / self.shape + self.margin
        places, positions = [np.arange(own.start, own.stop)], [self._positions[own]]
        reach = [int(np.ceil(m * s)) for m, s in zip(self.margin, self.shape, strict=True)]
        for step in product(*(range(-r, r + 1) for r in reach)):
            image, there = np.divmod(at + step, self.shape)
            if not any(step) or (image[~self.pbc] != 0).any():
                continue
            other = np.ravel_multi_index(tuple(there), tuple(self.shape))
            some = slice(int(self._starts[other]), int(self._starts[other + 1]))
            moved = self._positions[some] @ self._inverse + image
            near = ((moved >= low) & (moved < high)).all(axis=1)
            places.append(np.flatnonzero(near) + some.start)
            positions.append(self._positions[some][near] + image @ self.cell)
        n_own = own.stop - own.start
        if n_own == 0:
            empty = torch.empty(0, 3, device=device, dtype=dtype)
            return Domain(own, places[0], torch.empty(2, 0, dtype=torch.int64, device=device), empty)
        joined = np.concatenate(positions)
        cluster = Structure(
            joined, np.zeros(len(joined), dtype=np.int64), np.zeros((3, 3)), False, dimension=self.dimension
        )
        index, vectors = neighbour_list(cluster, self.cutoff, device=device, dtype=dtype)
        # Edges are sorted by destination, and own particles come first.
        inner = int(torch.searchsorted(index[1].contiguous(), n_own))
        halo = np.concatenate([places[0][:0], *places[1:]])
        return Domain(own, halo, index[:, :inner], vectors[:inner])


def _sides(volume: float, cutoff: float) -> np.ndarray:
    """Lengths of a domain: slabs are thin, since a layer keeps the new features of three of them aside."""
    side = volume ** (1 / 3)
    thin = max(side / THIN, min(side, 3 * cutoff))
    wide = math.sqrt(volume / thin)
    return np.array([thin, wide, wide])
