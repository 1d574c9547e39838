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

from typing import NamedTuple

import numpy as np
import torch

from propensity.compiling import njit
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import COINCIDENT, refuse_coincident
from propensity.structure import Structure
from propensity.threads import blocks_of, share

#: Squared distance beyond every cutoff: that of a particle from itself.
FAR2 = 1e300
#: The nearest of each particle is found on the way, which saves a pass over the edges.
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


class Found(NamedTuple):
    """What the second pass writes."""

    edges: np.ndarray  # (2, E), source and destination
    vectors: np.ndarray  # (E, 3)
    nearest: np.ndarray  # (N,), squared distance of the nearest, inf where there is none within a radius
    within: np.ndarray  # (N,), neighbours within this radius, at most the cutoff


def is_available(device: torch.device) -> bool:
    """Numba is a hard dependency: always available (edges are copied to the device)."""
    return True


def build(
    structure: Structure, cutoff: float, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`propensity.neighbours.neighbour_list`."""
    edge_index, edge_vec, _, _ = build_and_measure(structure, cutoff, cutoff, dtype)
    return edge_index.to(device), edge_vec.to(device)


def build_and_measure(
    structure: Structure, cutoff: float, radius: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Edges as of :func:`build`, and what :func:`nearest` finds within ``radius``, at most the cutoff."""
    n, bins = len(structure), _sorted(structure, cutoff)
    blocks = blocks_of(len(bins.starts) - 1)
    degree, within, squared = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.full(n, np.inf)
    share(_count, blocks, bins, degree)
    ends = np.cumsum(degree)
    edge_index = torch.empty(2, int(ends[-1]), dtype=torch.int64, device="cpu")
    edge_vec = torch.empty(int(ends[-1]), 3, dtype=dtype, device="cpu")
    found = Found(edge_index.numpy(), edge_vec.numpy(), squared, within)  # type: ignore[arg-type]
    share(_fill, blocks, bins, float(radius) ** 2, ends - degree, found)
    if squared.min() < COINCIDENT**2:
        refuse_coincident(edge_index, edge_vec)
    return edge_index, edge_vec, squared, within


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
def _count(first, last, blocks, bins, degree):
    """Of the particles in some blocks of bins the number of neighbours.

    Reads   bins.
    Writes  degree (N,).
    One call is a range of blocks of bins.
    """
    positions, order, starts, cutoff2 = bins.positions, bins.order, bins.starts, bins.cutoff2
    n_bins = len(starts) - 1
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        around, _, _ = _around(home, bins)
        x, y, z, u, v, w = around[0], around[1], around[2], around[3], around[4], around[5]
        for slot in range(starts[home], starts[home + 1]):
            a, b, c = positions[slot, 0], positions[slot, 1], positions[slot, 2]
            near = 0
            for k in range(len(x)):
                dx, dy, dz = x[k] - a + u[k], y[k] - b + v[k], z[k] - c + w[k]
                near += dx * dx + dy * dy + dz * dz < cutoff2
            degree[order[slot]] = near - 1  # it is among those around it itself


@njit(nogil=True)
def _nearest(first, last, blocks, bins, degree, least):
    """Of the particles in some blocks of bins: number of neighbours and squared distance of the nearest.

    Reads   bins.
    Writes  degree and least (N,), which is inf before and stays so where there is none within the cutoff.
    One call is a range of blocks of bins.
    """
    n_bins = len(bins.starts) - 1
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        around, who, own = _around(home, bins)
        squared, chosen = np.empty(len(who)), np.empty(len(who) + 1, dtype=np.int64)
        for slot in range(bins.starts[home], bins.starts[home + 1]):
            itself, node = own + slot - bins.starts[home], bins.order[slot]
            near = _within(bins.positions[slot], itself, around, bins.cutoff2, squared, chosen)
            for k in chosen[:near]:
                least[node] = min(least[node], squared[k])
            degree[node] = near


@njit(nogil=True)
def _fill(first, last, blocks, bins, radius2, begin, found):
    """Write the edges of the same particles, those of particle i from ``begin[i]`` on.

    Reads   bins, squared radius, begin (N,).
    Writes  all of found.
    One call is a range of blocks of bins.
    """
    edges, vectors, nearest, within = found
    positions, starts = bins.positions, bins.starts
    n_bins = len(starts) - 1
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        around, who, own = _around(home, bins)
        squared, chosen = np.empty(len(who)), np.empty(len(who) + 1, dtype=np.int64)
        for slot in range(starts[home], starts[home + 1]):
            a, b, c = positions[slot, 0], positions[slot, 1], positions[slot, 2]
            itself, node = own + slot - starts[home], bins.order[slot]
            near = _within(positions[slot], itself, around, bins.cutoff2, squared, chosen)
            at, inner, low = begin[node], 0, radius2
            for k in chosen[:near]:
                edges[0, at], edges[1, at] = who[k], node
                vectors[at, 0] = around[0, k] - a + around[3, k]
                vectors[at, 1] = around[1, k] - b + around[4, k]
                vectors[at, 2] = around[2, k] - c + around[5, k]
                at += 1
                inner += squared[k] < radius2
                low = min(low, squared[k])
            within[node], nearest[node] = inner, low if inner else np.inf


@njit(nogil=True)
def _within(place, itself, around, cutoff2, squared, chosen):
    """Number of those around within the cutoff of one of them, with whom ``chosen`` begins."""
    a, b, c = place[0], place[1], place[2]
    x, y, z, u, v, w = around[0], around[1], around[2], around[3], around[4], around[5]
    for k in range(len(squared)):
        dx, dy, dz = x[k] - a + u[k], y[k] - b + v[k], z[k] - c + w[k]
        squared[k] = dx * dx + dy * dy + dz * dz
    squared[itself] = FAR2
    near = 0
    for k in range(len(squared)):  # without a branch, which would be guessed wrong twice an edge
        chosen[near] = k
        near += squared[k] < cutoff2
    return near


@njit(nogil=True)
def _around(home, bins):
    """Positions and shifts of the image (6, n) and numbers of the particles in the bins around; and where
    among them those of the bin itself begin.
    """
    positions, order, starts, number, reach, cell, _ = bins
    p, q, r = home // (number[1] * number[2]), home // number[2] % number[1], home % number[2]
    n = 0
    for i in range(p - reach[0], p + reach[0] + 1):
        for j in range(q - reach[1], q + reach[1] + 1):
            for k in range(r - reach[2], r + reach[2] + 1):
                near = (i % number[0] * number[1] + j % number[1]) * number[2] + k % number[2]
                n += starts[near + 1] - starts[near]
    around, who = np.empty((6, n)), np.empty(n, dtype=np.int64)
    at, own = 0, 0
    for i in range(p - reach[0], p + reach[0] + 1):
        for j in range(q - reach[1], q + reach[1] + 1):
            for k in range(r - reach[2], r + reach[2] + 1):
                near = (i % number[0] * number[1] + j % number[1]) * number[2] + k % number[2]
                a, b, c = i // number[0], j // number[1], k // number[2]
                if i == p and j == q and k == r:
                    own = at
                for slot in range(starts[near], starts[near + 1]):
                    for m in range(3):
                        around[m, at] = positions[slot, m]
                        around[3 + m, at] = a * cell[0, m] + b * cell[1, m] + c * cell[2, m]
                    who[at] = order[slot]
                    at += 1
    return around, who, own
