"""A structure cut into domains with halos, so that the edges of one domain at a time are in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
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


@dataclass(frozen=True, eq=False)
class Grid:
    """Domains as boxes of a cell, in slabs along its first direction.

    Parameters
    ----------
    cell, inverse
        Vectors of the cell in rows, and their inverse, shape (3, 3).
    pbc
        Periodic directions, shape (3,).
    margin
        Reach of the cutoff in each direction, in cells, shape (3,).
    shape
        Number of domains in each direction.
    """

    cell: np.ndarray
    inverse: np.ndarray
    pbc: np.ndarray
    margin: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls, cell: np.ndarray, pbc: np.ndarray, cutoff: float, particles: float, multiple: int = 1
    ) -> Grid:
        """Grid of domains of about ``particles`` (a fraction of those of the cell) in slabs of which there
        are, if the cutoff lets them, a ``multiple``.
        """
        inverse = np.linalg.inv(cell)
        heights = 1 / np.linalg.norm(inverse, axis=0)
        wide = cutoff * (1 + 1e-9)  # more than rounding can misplace a particle
        most = np.maximum(np.floor(heights / wide), 1)
        sides = _sides(float(np.prod(heights)) * particles, cutoff)
        wanted = np.minimum(np.ceil(heights / sides), most)
        wanted[0] = min(np.ceil(wanted[0] / multiple) * multiple, most[0])
        a, b, c = np.maximum(wanted, 1).astype(int).tolist()
        return cls(cell, inverse, pbc, wide / heights, (a, b, c))

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    @property
    def slabs(self) -> list[range]:
        """Domains of each slab; only those of adjacent slabs, the last beside the first, share particles."""
        each = len(self) // self.shape[0]
        return [range(first, first + each) for first in range(0, len(self), each)]

    def reach(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the particles of a domain and of its halo lie, in cells: lowest corner and highest."""
        at = np.array(np.unravel_index(number, self.shape))
        return at / self.shape - self.margin, (at + 1) / self.shape + self.margin

    def around(self, number: int) -> Iterator[tuple[int, np.ndarray]]:
        """Each domain that the halo may take particles from, and the image of the cell in which."""
        at = np.array(np.unravel_index(number, self.shape))
        far = [int(np.ceil(m * s)) for m, s in zip(self.margin, self.shape, strict=True)]
        for step in product(*(range(-r, r + 1) for r in far)):
            image, there = np.divmod(at + step, self.shape)
            if any(step) and not (image[~self.pbc] != 0).any():
                yield int(np.ravel_multi_index(tuple(there), self.shape)), image


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
        self.cutoff, self.dimension = float(cutoff), structure.dimension
        cell, positions = enclosing_cell(structure, cutoff)
        self.grid = Grid.of(cell, structure.pbc, cutoff, per_domain / len(structure))
        #: Number of domains in each direction.
        self.shape = np.array(self.grid.shape)
        where = (positions @ self.grid.inverse * self.shape).astype(np.int64)
        number = np.ravel_multi_index(tuple(np.clip(where, 0, self.shape - 1).T), self.grid.shape)
        del where
        #: Particle at each place.
        self.order = np.argsort(number, kind="stable")
        counts = np.bincount(number, minlength=len(self.grid))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._positions = positions[self.order]

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def slabs(self) -> list[range]:
        """See :attr:`Grid.slabs`."""
        return self.grid.slabs

    def rows(self, numbers: range) -> slice:
        """Range of the particles of successive domains, in the order of :attr:`order`."""
        return slice(int(self._starts[numbers.start]), int(self._starts[numbers.stop]))

    def domain(self, number: int, device: torch.device | str, dtype: torch.dtype) -> Domain:
        """One domain with its halo and edges."""
        own = slice(int(self._starts[number]), int(self._starts[number + 1]))
        low, high = self.grid.reach(number)
        places, positions = [np.arange(own.start, own.stop)], [self._positions[own]]
        for other, image in self.grid.around(number):
            some = slice(int(self._starts[other]), int(self._starts[other + 1]))
            moved = self._positions[some] @ self.grid.inverse + image
            near = ((moved >= low) & (moved < high)).all(axis=1)
            places.append(np.flatnonzero(near) + some.start)
            positions.append(self._positions[some][near] + image @ self.grid.cell)
        n_own = own.stop - own.start
        if n_own == 0:
            empty = torch.empty(0, 3, device=device, dtype=dtype)
            return Domain(own, places[0], torch.empty(2, 0, dtype=torch.int64, device=device), empty)
        index, vectors = edges_of_own(
            np.concatenate(positions), n_own, self.cutoff, device, dtype, self.dimension
        )
        halo = np.concatenate([places[0][:0], *places[1:]])
        return Domain(own, halo, index, vectors)


def edges_of_own(
    positions: np.ndarray,
    n_own: int,
    cutoff: float,
    device: torch.device | str,
    dtype: torch.dtype,
    dimension: int = 3,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges of an open cluster that lead to its first ``n_own`` particles: index (2, E), vectors (E, 3)."""
    none = np.zeros(len(positions), dtype=np.int64)
    cluster = Structure(positions, none, np.zeros((3, 3)), False, dimension=dimension)
    index, vectors = neighbour_list(cluster, cutoff, device=device, dtype=dtype)
    # Edges are sorted by destination, and own particles come first.
    inner = int(torch.searchsorted(index[1].contiguous(), n_own))
    return index[:, :inner], vectors[:inner]


def _sides(volume: float, cutoff: float) -> np.ndarray:
    """Lengths of a domain: slabs are thin, since a layer keeps the new features of three of them aside."""
    side = volume ** (1 / 3)
    thin = max(side / THIN, min(side, 3 * cutoff))
    wide = math.sqrt(volume / thin)
    return np.array([thin, wide, wide])
