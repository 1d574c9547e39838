"""Neighbour list in two numba passes, the default on CPUs: for any cell, without OpenMP or the interpreter.

Particles are sorted into bins at least a cutoff wide.  A bin gathers the particles around it once, images
included, and each of its own particles looks through them: first to count, then to write where the sum of the
counts says, so that edges come sorted by destination whatever the number of threads.

Symbols
-------
=======  =========================================================  ==============
letter   meaning                                                    shape
=======  =========================================================  ==============
home     bin whose particles look for neighbours
slot     place of a particle in the order of the bins
node     its number in the structure
a, b, c  its position; in _around, how many cells away an image is  one a particle
x, y, z  positions of the particles around a bin                    (n,)
u, v, w  shifts of their images                                     (n,)
who      their numbers in the structure                             (n,)
own      where among them those of the bin itself begin
=======  =========================================================  ==============
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from propensity.compiling import njit
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import COINCIDENT, refuse_coincident
from propensity.structure import Structure
from propensity.threads import blocks_of, share

#: Squared distance of two particles that are the same up to rounding.
COINCIDENT2 = COINCIDENT**2
#: Squared distance beyond every cutoff: that of a particle from itself.
FAR2 = 1e300
#: The first pass sees coincident particles as it counts, which saves a pass over the edges.
CHECKS_COINCIDENCE = True


class Bins(NamedTuple):
    """Particles sorted into bins at least a cutoff wide, or whose neighbours lie ``reach`` bins away."""

    positions: np.ndarray  # (N, 3), bin by bin
    order: np.ndarray  # (N,), number of each of these in the structure
    starts: np.ndarray  # (bins + 1,), first particle of each bin
    number: np.ndarray  # (3,), bins along each cell vector
    reach: np.ndarray  # (3,), bins to each side that may hold neighbours
    cell: np.ndarray  # (3, 3), rows are vectors
    cutoff2: float  # squared cutoff


def is_available(device: torch.device) -> bool:
    """Numba is a hard dependency: always available (edges are copied to the device)."""
    return True


def build(
    structure: Structure, cutoff: float, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`propensity.neighbours.neighbour_list`."""
    n, bins = len(structure), _sorted(structure, cutoff)
    blocks = blocks_of(len(bins.starts) - 1)
    degree, coincident = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    share(_count, blocks, bins, degree, coincident)
    ends = np.cumsum(degree)
    edge_index = torch.empty(2, int(ends[-1]), dtype=torch.int64, device="cpu")
    edge_vec = torch.empty(int(ends[-1]), 3, dtype=dtype, device="cpu")
    arrays: tuple[Any, Any] = (edge_index.numpy(), edge_vec.numpy())
    share(_fill, blocks, bins, ends - degree, *arrays)
    if coincident.any():
        refuse_coincident(edge_index, edge_vec)
    return edge_index.to(device), edge_vec.to(device)


def nearest(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each particle: squared distance of the nearest one (inf without) and number within the cutoff, (N,).

    One pass, which writes no edges.
    """
    n, bins = len(structure), _sorted(structure, cutoff)
    degree, squared = np.zeros(n, dtype=np.int64), np.full(n, np.inf)
    share(_nearest, blocks_of(len(bins.starts) - 1), bins, degree, squared)
    return squared, degree


def _sorted(structure: Structure, cutoff: float) -> Bins:
    """What the passes read: particles by bin, and the cell."""
    cell, positions = enclosing_cell(structure, cutoff)
    n = len(positions)
    inverse = np.linalg.inv(cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    # Bins may be much wider where particles are few.
    wide = cutoff * (1 + 1e-9)  # more than rounding can misplace a particle
    number = np.clip(heights // wide, 1, n ** (1 / 3) + 1).astype(np.int64)
    reach = np.ceil(wide * number / heights).astype(np.int64)
    place = np.clip((positions @ inverse * number).astype(np.int64), 0, number - 1)
    bin_of = (place[:, 0] * number[1] + place[:, 1]) * number[2] + place[:, 2]
    order = np.argsort(bin_of, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(bin_of, minlength=int(number.prod())))])
    return Bins(positions[order], order, starts, number, reach, cell, float(cutoff) ** 2)


@njit(nogil=True)
def _count(first, last, blocks, bins, degree, coincident):
    """Of the particles in some blocks of bins: number of neighbours, and of those at no distance.

    Reads   bins.
    Writes  degree and coincident (N,).
    One call is a range of blocks of bins.
    """
    positions, order, starts, cutoff2 = bins.positions, bins.order, bins.starts, bins.cutoff2
    n_bins = len(starts) - 1
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        x, y, z, u, v, w, _, _ = _around(home, bins)
        for slot in range(starts[home], starts[home + 1]):
            a, b, c = positions[slot, 0], positions[slot, 1], positions[slot, 2]
            near, same = 0, 0
            for k in range(len(x)):
                dx, dy, dz = x[k] - a + u[k], y[k] - b + v[k], z[k] - c + w[k]
                squared = dx * dx + dy * dy + dz * dz
                near += squared < cutoff2
                same += squared < COINCIDENT2
            # It is among those around it itself.
            degree[order[slot]], coincident[order[slot]] = near - 1, same - 1


@njit(nogil=True, fastmath={"nnan", "nsz", "reassoc"})  # so that the minimum is taken of several at once
def _nearest(first, last, blocks, bins, degree, least):
    """Of the particles in some blocks of bins: number of neighbours and squared distance of the nearest.

    Reads   bins.
    Writes  degree and least (N,); inf where there is none within the cutoff.
    One call is a range of blocks of bins.
    """
    positions, order, starts, cutoff2 = bins.positions, bins.order, bins.starts, bins.cutoff2
    n_bins = len(starts) - 1
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        x, y, z, u, v, w, _, own = _around(home, bins)
        squared = np.empty(len(x))
        for slot in range(starts[home], starts[home + 1]):
            _distances(positions[slot], x, y, z, u, v, w, squared)
            squared[own + slot - starts[home]] = FAR2
            near, low = 0, FAR2
            for k in range(len(x)):
                near += squared[k] < cutoff2
                low = min(low, squared[k])
            degree[order[slot]], least[order[slot]] = near, low if low < cutoff2 else np.inf


@njit(nogil=True)
def _fill(first, last, blocks, bins, begin, edges, vectors):
    """Write the edges of the same particles, those of particle i from ``begin[i]`` on.

    Reads   bins, begin (N,).
    Writes  edges (2, E), source and destination, and vectors (E, 3).
    One call is a range of blocks of bins.
    """
    positions, order, starts, cutoff2 = bins.positions, bins.order, bins.starts, bins.cutoff2
    n_bins = len(starts) - 1
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        x, y, z, u, v, w, who, own = _around(home, bins)
        squared, chosen = np.empty(len(who)), np.empty(len(who) + 1, dtype=np.int64)
        for slot in range(starts[home], starts[home + 1]):
            a, b, c = positions[slot, 0], positions[slot, 1], positions[slot, 2]
            _distances(positions[slot], x, y, z, u, v, w, squared)
            squared[own + slot - starts[home]] = FAR2
            node, near = order[slot], 0
            for k in range(len(who)):  # without a branch, which would be guessed wrong twice an edge
                chosen[near] = k
                near += squared[k] < cutoff2
            at = begin[node]
            for k in chosen[:near]:
                edges[0, at], edges[1, at] = who[k], node
                vectors[at, 0], vectors[at, 1], vectors[at, 2] = (
                    x[k] - a + u[k],
                    y[k] - b + v[k],
                    z[k] - c + w[k],
                )
                at += 1


@njit(nogil=True)
def _distances(place, x, y, z, u, v, w, squared):
    """Squared distances of those around from one place."""
    a, b, c = place[0], place[1], place[2]
    for k in range(len(x)):
        dx, dy, dz = x[k] - a + u[k], y[k] - b + v[k], z[k] - c + w[k]
        squared[k] = dx * dx + dy * dy + dz * dz


@njit(nogil=True)
def _around(home, bins):
    """Positions (x, y, z), shifts of the image (u, v, w) and numbers of the particles in the bins around; and
    where among them those of the bin itself begin.
    """
    positions, order, starts, number, reach, cell, _ = bins
    p, q, r = home // (number[1] * number[2]), home // number[2] % number[1], home % number[2]
    n = 0
    for i in range(p - reach[0], p + reach[0] + 1):
        for j in range(q - reach[1], q + reach[1] + 1):
            for k in range(r - reach[2], r + reach[2] + 1):
                near = (i % number[0] * number[1] + j % number[1]) * number[2] + k % number[2]
                n += starts[near + 1] - starts[near]
    x, y, z, u, v, w = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    who = np.empty(n, dtype=np.int64)
    at, own = 0, 0
    for i in range(p - reach[0], p + reach[0] + 1):
        for j in range(q - reach[1], q + reach[1] + 1):
            for k in range(r - reach[2], r + reach[2] + 1):
                near = (i % number[0] * number[1] + j % number[1]) * number[2] + k % number[2]
                a, b, c = i // number[0], j // number[1], k // number[2]
                if i == p and j == q and k == r:
                    own = at
                for slot in range(starts[near], starts[near + 1]):
                    x[at], y[at], z[at] = positions[slot, 0], positions[slot, 1], positions[slot, 2]
                    u[at] = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
                    v[at] = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
                    w[at] = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
                    who[at] = order[slot]
                    at += 1
    return x, y, z, u, v, w, who, own
