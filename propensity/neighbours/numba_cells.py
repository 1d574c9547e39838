"""Neighbour list in two numba passes, the default on CPUs: for any cell, without OpenMP or the interpreter.

Particles are sorted into bins, about a cutoff wide along two cell vectors and a third of that along the last,
so that those around a particle lie side by side in a few runs.  One pass finds which of LANES of a run at a
time are within the cutoff and counts them; the other writes them where the sum of the counts says, so that
edges come sorted by destination whatever the number of threads.

Symbols
-------
=======  =========================================================  ==============
letter   meaning                                                    shape
=======  =========================================================  ==============
home     bin whose particles look for neighbours
slot     place of a particle in the order of the bins
node     its number in the structure
run      slots that follow each other, in one image                 (begin, end)
i, j, c  bin of a run along each cell vector, and its image's cell
x, y, z  positions in the order of the bins                         (N + LANES,)
a, b, c  position of the particle that looks                        one a lane
shift    of the image of a run                                      (3,)
near     lanes within the cutoff                                    one bit a lane
=======  =========================================================  ==============
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from propensity.compiling import njit
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import COINCIDENT, refuse_coincident
from propensity.simd import LANES, add, below, lane_min, load, lowest, mul, ones, smaller, splat, where_bits
from propensity.structure import Structure
from propensity.threads import blocks_of, share

#: Squared distance beyond every cutoff: that of a particle from itself.
FAR2 = 1e300
#: Bins along the last cell vector that a cutoff spans: runs of fewer particles are mostly idle lanes.
FINE = 3
#: The nearest of each particle is found on the way, which saves a pass over the edges.
CHECKS_COINCIDENCE = True


class Bins(NamedTuple):
    """Particles sorted into bins, whose neighbours lie up to ``reach`` bins away."""

    places: np.ndarray  # (3, N + LANES), x, y and z bin by bin, and zeros
    order: np.ndarray  # (N,), number of each of these in the structure
    starts: np.ndarray  # (bins + 1,), first particle of each bin
    number: np.ndarray  # (3,), bins along each cell vector
    reach: np.ndarray  # (3,), bins to each side that may hold neighbours
    cell: np.ndarray  # (3, 3), rows are vectors
    cutoff2: float  # squared cutoff


class Nearby(NamedTuple):
    """Of each particle what the first pass finds."""

    degree: np.ndarray  # (N,), neighbours within the cutoff
    within: np.ndarray  # (N,), neighbours within a radius, at most the cutoff
    nearest: np.ndarray  # (N,), squared distance of the nearest, inf where there is none within the radius


class Masks(NamedTuple):
    """Which lanes of the runs around a particle are within the cutoff, a word for LANES, slot after slot."""

    begin: np.ndarray  # (bins + 1,), first word of each bin
    near: np.ndarray  # (words,), one bit a lane


class Runs(NamedTuple):
    """Runs around a bin, as many as there may be."""

    ends: np.ndarray  # (runs, 3), first slot, the one after the last, and whether they are of no image
    shift: np.ndarray  # (runs, 3)


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
    bins = _sorted(structure, cutoff)
    (degree, within, squared), masks = _measured(bins, radius)
    ends = np.cumsum(degree)
    edge_index = torch.empty(2, int(ends[-1]), dtype=torch.int64, device="cpu")
    edge_vec = torch.empty(int(ends[-1]), 3, dtype=dtype, device="cpu")
    blocks = blocks_of(len(bins.starts) - 1)
    share(_fill, blocks, bins, masks, ends - degree, edge_index.numpy(), edge_vec.numpy())
    if squared.min() < COINCIDENT**2:
        refuse_coincident(edge_index, edge_vec)
    return edge_index, edge_vec, squared, within


def nearest(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each particle: squared distance of the nearest one (inf without) and number within the cutoff, (N,).

    One pass, which writes no edges.
    """
    found, _ = _measured(_sorted(structure, cutoff), cutoff)
    return found.nearest, found.degree


def _measured(bins: Bins, radius: float) -> tuple[Nearby, Masks]:
    n, blocks = len(bins.order), blocks_of(len(bins.starts) - 1)
    begin = np.zeros(len(bins.starts), dtype=np.int64)
    share(_count, blocks, bins, begin)
    np.cumsum(begin, out=begin)
    masks = Masks(begin, np.empty(begin[-1], dtype=np.uint16))
    found = Nearby(np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64), np.empty(n))
    share(_measure, blocks, bins, float(radius) ** 2, masks, found)
    return found, masks


def _sorted(structure: Structure, cutoff: float) -> Bins:
    """What the passes read: particles by bin, and the cell."""
    cell, positions = enclosing_cell(structure, cutoff)
    n = len(positions)
    inverse = np.linalg.inv(cell)
    heights = 1 / np.linalg.norm(inverse, axis=0)
    # Bins may be much wider where particles are few.
    wide = cutoff * (1 + 1e-9)  # more than rounding can misplace a particle
    fine = np.array([1, 1, FINE])
    number = np.clip(heights * fine // wide, 1, fine * (n ** (1 / 3) + 1)).astype(np.int64)
    reach = np.ceil(wide * number / heights).astype(np.int64)
    bin_of = np.empty(n, dtype=np.int64)
    starts = np.zeros(int(number.prod()) + 1, dtype=np.int64)
    order, places = np.empty(n, dtype=np.int64), np.zeros((3, n + LANES))
    _sort(positions, inverse, number, bin_of, starts, order, places)
    return Bins(places, order, starts, number, reach, cell, float(cutoff) ** 2)


@njit(nogil=True)
def _sort(positions, inverse, number, bin_of, starts, order, places):
    """Sort particles by bin, those of one in the order of the structure.

    Reads   positions (N, 3), inverse of the cell, number of bins along each vector.
    Writes  bin_of (N,), starts (bins + 1,), zero before, order (N,) and places (3, N + LANES).
    One call is all particles.
    """
    for node in range(len(positions)):
        home = 0
        for k in range(3):
            share_of = 0.0
            for m in range(3):
                share_of += positions[node, m] * inverse[m, k]
            home = home * number[k] + min(max(int(share_of * number[k]), 0), number[k] - 1)
        bin_of[node] = home
        starts[home + 1] += 1
    for home in range(len(starts) - 1):
        starts[home + 1] += starts[home]
    for node in range(len(positions)):
        home = bin_of[node]
        slot = starts[home]
        order[slot] = node
        for m in range(3):
            places[m, slot] = positions[node, m]
        starts[home] += 1  # for now where the next one goes
    for home in range(len(starts) - 1, 0, -1):
        starts[home] = starts[home - 1]
    starts[0] = 0


@njit(nogil=True)
def _count(first, last, blocks, bins, words):
    """Number of words of the masks of the particles in some blocks of bins.

    Reads   bins.
    Writes  words (bins + 1,), that of a bin behind it.
    One call is a range of blocks of bins.
    """
    starts, runs, n_bins = bins.starts, _room(bins), len(bins.starts) - 1
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        each, own = 0, starts[home + 1] - starts[home]
        for run in range(_around(home, bins, runs) if own else 0):
            each += (runs.ends[run, 1] - runs.ends[run, 0] + LANES - 1) // LANES
        words[home + 1] = each * own


@njit(nogil=True)
def _measure(first, last, blocks, bins, radius2, masks, found):
    """Of the particles in some blocks of bins the number of neighbours and the distance of the nearest.

    Reads   bins, squared radius, where the masks begin.
    Writes  the masks and all of found.
    One call is a range of blocks of bins; one lane is one particle around.
    """
    degree, within, nearest = found
    order, starts, near = bins.order, bins.starts, masks.near
    runs, n_bins = _room(bins), len(starts) - 1
    flat, stride = bins.places.reshape(-1), bins.places.shape[1]
    far, wide, inner = splat(flat, FAR2), splat(flat, bins.cutoff2), splat(flat, radius2)
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        n_runs = _around(home, bins, runs) if starts[home] < starts[home + 1] else 0
        word = masks.begin[home]
        for slot in range(starts[home], starts[home + 1]):
            count, some, least = 0, 0, far
            for run in range(n_runs):
                for k in range(runs.ends[run, 0], runs.ends[run, 1], LANES):
                    idle = _idle(k, slot, runs, run)
                    squared = add(_squared(flat, stride, k, slot, runs.shift[run]), where_bits(idle, far))
                    near[word] = below(squared, wide)
                    count += ones(near[word])
                    some += ones(below(squared, inner))
                    least = smaller(least, squared)
                    word += 1
            node = order[slot]
            degree[node], within[node], nearest[node] = count, some, lane_min(least) if some else np.inf


@njit(nogil=True)
def _fill(first, last, blocks, bins, masks, begin, edges, vectors):
    """Write the edges of the same particles, those of particle i from ``begin[i]`` on.

    Reads   bins, masks, begin (N,).
    Writes  edges (2, E), source and destination; vectors (E, 3).
    One call is a range of blocks of bins.
    """
    order, starts, (x, y, z) = bins.order, bins.starts, bins.places
    runs, n_bins = _room(bins), len(starts) - 1
    source, destination = edges
    for home in range(n_bins * first // blocks, n_bins * last // blocks):
        n_runs = _around(home, bins, runs) if starts[home] < starts[home + 1] else 0
        word = masks.begin[home]
        for slot in range(starts[home], starts[home + 1]):
            node, a, b, c = order[slot], x[slot], y[slot], z[slot]
            at = begin[node]
            for run in range(n_runs):
                u, v, w = runs.shift[run]
                for k in range(runs.ends[run, 0], runs.ends[run, 1], LANES):
                    near = np.int64(masks.near[word])
                    word += 1
                    while near:
                        other = k + lowest(near)
                        near &= near - 1
                        source[at], destination[at] = order[other], node
                        vectors[at, 0] = x[other] - a + u
                        vectors[at, 1] = y[other] - b + v
                        vectors[at, 2] = z[other] - c + w
                        at += 1


@njit(nogil=True)
def _room(bins):
    """Room for the runs around a bin."""
    wide = 2 * bins.reach + 1
    most = wide[0] * wide[1] * (wide[2] // bins.number[2] + 2)
    return Runs(np.empty((most, 3), dtype=np.int64), np.empty((most, 3)))


@njit
def _around(home, bins, runs):
    """Write the runs around a bin; their number."""
    starts, number, reach, cell = bins.starts, bins.number, bins.reach, bins.cell
    p, q, r = home // (number[1] * number[2]), home // number[2] % number[1], home % number[2]
    n = 0
    for i in range(p - reach[0], p + reach[0] + 1):
        a = i // number[0]
        for j in range(q - reach[1], q + reach[1] + 1):
            b = j // number[1]
            column = ((i - a * number[0]) * number[1] + j - b * number[1]) * number[2]
            begin, last = r - reach[2], r + reach[2] + 1
            c = begin // number[2]
            while begin < last:
                end = min((c + 1) * number[2], last)  # in one image
                runs.ends[n, 0] = starts[column + begin - c * number[2]]
                runs.ends[n, 1] = starts[column + end - c * number[2]]
                if runs.ends[n, 0] < runs.ends[n, 1]:
                    runs.ends[n, 2] = a == b == c == 0
                    for m in range(3):
                        runs.shift[n, m] = a * cell[0, m] + b * cell[1, m] + c * cell[2, m]
                    n += 1
                begin, c = end, c + 1
    return n


@njit
def _idle(k, slot, runs, run):
    """Lanes from slot ``k`` on that lie behind the run, and that of the particle itself."""
    idle = 0xFFFF << min(runs.ends[run, 1] - k, LANES)
    if runs.ends[run, 2] and k <= slot < k + LANES:
        idle |= 1 << (slot - k)
    return np.uint16(idle & 0xFFFF)


@njit
def _squared(flat, stride, k, slot, shift):
    """Squared distance of each lane from slot ``k`` on from a particle."""
    dx = add(add(load(flat, k), splat(flat, -flat[slot])), splat(flat, shift[0]))
    dy = add(add(load(flat, stride + k), splat(flat, -flat[stride + slot])), splat(flat, shift[1]))
    dz = add(add(load(flat, 2 * stride + k), splat(flat, -flat[2 * stride + slot])), splat(flat, shift[2]))
    return add(add(mul(dx, dx), mul(dy, dy)), mul(dz, dz))
