"""Triton kernels of the cell list, in float64: which pairs lie within the cutoff is decided as on a CPU.

``frame`` holds the cell (9 numbers, rows are vectors), its inverse (9), the squared cutoff, the numbers of
bins (3), the square of a radius up to the cutoff and a zero.  Bins are at least three along each vector and
each wider than the cutoff, so that a particle's neighbours lie in the 27 bins around it, each in one image.

Symbols
-------
=========  ==================================================  ==========
letter     meaning                                             shape
=========  ==================================================  ==========
n          particles
nx, ny, nz bins along each cell vector                         one a kernel
i, j       a particle, and those it is compared with           (B,), (J,)
u, v, w    fractional coordinates                              one a thread
a, b, c    their whole part, by which a particle is wrapped    one a thread
dx, dy, dz shift of the image of each of the 27 bins           (32,)
W          candidates of each bin that are looked at together
=========  ==================================================  ==========
"""

import triton
import triton.language as tl

#: Compiled once for all sizes.
_SIZES = ["n", "n_bins", "room"]


@triton.jit(do_not_specialize=_SIZES)
def place(positions, frame, wrapped, bin_of, n, B: tl.constexpr):
    """Positions wrapped into the cell, and the bin of each.

    Reads   positions (n, 3), frame (24,).
    Writes  wrapped (n, 3), bin_of (n,).
    One thread is one particle.
    """
    i = tl.program_id(0) * B + tl.arange(0, B)
    inside = i < n
    at = i.to(tl.int64) * 3
    x = tl.load(positions + at, mask=inside, other=0.0)
    y = tl.load(positions + at + 1, mask=inside, other=0.0)
    z = tl.load(positions + at + 2, mask=inside, other=0.0)
    inverse = frame + 9
    u = x * tl.load(inverse) + y * tl.load(inverse + 3) + z * tl.load(inverse + 6)
    v = x * tl.load(inverse + 1) + y * tl.load(inverse + 4) + z * tl.load(inverse + 7)
    w = x * tl.load(inverse + 2) + y * tl.load(inverse + 5) + z * tl.load(inverse + 8)
    a, b, c = tl.floor(u), tl.floor(v), tl.floor(w)
    tl.store(wrapped + at, x - _along(frame, 0, a, b, c), mask=inside)
    tl.store(wrapped + at + 1, y - _along(frame, 1, a, b, c), mask=inside)
    tl.store(wrapped + at + 2, z - _along(frame, 2, a, b, c), mask=inside)
    nx, ny, nz = _bins(frame)
    # Rounding may put a fraction at 1 itself.
    i_x = tl.minimum(((u - a) * nx).to(tl.int32), nx - 1)
    i_y = tl.minimum(((v - b) * ny).to(tl.int32), ny - 1)
    i_z = tl.minimum(((w - c) * nz).to(tl.int32), nz - 1)
    tl.store(bin_of + i, (i_x * ny + i_y) * nz + i_z, mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def by_bin(bin_of, wrapped, positions, particles, starts, n, n_bins, B: tl.constexpr, J: tl.constexpr):
    """Particles sorted by bin, those of one bin as they were: each counts the particles that come before it.

    Reads   bin_of (n,), wrapped (n, 3).
    Writes  positions (n, 3) and particles (2, n), bin and number of each, sorted; starts (n_bins + 1,).
    One program is B particles, or after these B starts; one element one of them and what it is compared with.
    """
    i = tl.program_id(0) * B + tl.arange(0, B)
    is_particle = i < n
    own = tl.where(is_particle, tl.load(bin_of + i, mask=is_particle, other=0), i - n)
    last = tl.where(is_particle, i, 0)
    ahead = tl.zeros([B, J], tl.int32)
    for first in range(0, n, J):
        j = first + tl.arange(0, J)[None, :]
        other = tl.load(bin_of + j, mask=j < n, other=1 << 30)
        before = (other < own[:, None]) | ((other == own[:, None]) & (j < last[:, None]))
        ahead += before.to(tl.int32)
    at = tl.sum(ahead, axis=1)
    tl.store(starts + i - n, at, mask=(i >= n) & (i <= n + n_bins))
    tl.store(particles + at, own, mask=is_particle)
    tl.store(particles + n + at, i, mask=is_particle)
    tl.store(positions + at * 3, tl.load(wrapped + i * 3, mask=is_particle), mask=is_particle)
    tl.store(positions + at * 3 + 1, tl.load(wrapped + i * 3 + 1, mask=is_particle), mask=is_particle)
    tl.store(positions + at * 3 + 2, tl.load(wrapped + i * 3 + 2, mask=is_particle), mask=is_particle)


@triton.jit(do_not_specialize=_SIZES)
def by_count(counts, rows, order, n, B: tl.constexpr, J: tl.constexpr):
    """Where the edges of each particle begin, and particles sorted from many neighbours to few.

    Reads   counts (n,).
    Writes  rows (n + 1,) and order (n,).
    One program is B particles; one element one of them and what it is compared with.
    """
    i = tl.program_id(0) * B + tl.arange(0, B)
    own = tl.load(counts + i, mask=i < n, other=0)
    ahead = tl.zeros([B, J], tl.int32)
    sums = tl.zeros([B, J], tl.int32)
    for first in range(0, n, J):
        j = first + tl.arange(0, J)[None, :]
        other = tl.load(counts + j, mask=j < n, other=-1)
        before = (other > own[:, None]) | ((other == own[:, None]) & (j < i[:, None]))
        ahead += before.to(tl.int32)
        sums += tl.where((j < i[:, None]) & (j < n), other, 0)
    tl.store(rows + i, tl.sum(sums, axis=1), mask=i <= n)
    tl.store(order + tl.sum(ahead, axis=1), i, mask=i < n)


@triton.jit(do_not_specialize=_SIZES)
def count(positions, particles, starts, frame, counts, within, closest, W: tl.constexpr):
    """Number of neighbours of one particle, how many of them lie within the radius, and the least squared
    distance.

    Reads   positions (n, 3) and particles (2, n), bin and number of each, sorted by bin; starts (bins + 1,),
            frame (24,).
    Writes  counts, within and closest (n,).
    One program is one particle, one element a bin around it and a candidate.
    """
    slot = tl.program_id(0).to(tl.int64)
    begin, end, dx, dy, dz = _around(tl.load(particles + slot), starts, frame)
    cutoff2 = tl.load(frame + 18)
    most = tl.max(end - begin, axis=0)
    radius2 = tl.load(frame + 22)
    total = 0
    inner = 0
    least = cutoff2
    k = 0
    while k < most:
        close, _, squared, _, _, _ = _pairs(positions, slot, begin + k, end, dx, dy, dz, cutoff2, W)
        total += tl.sum(tl.sum(close.to(tl.int32), axis=1), axis=0)
        inner += tl.sum(tl.sum((close & (squared < radius2)).to(tl.int32), axis=1), axis=0)
        least = tl.minimum(least, tl.min(tl.min(tl.where(close, squared, cutoff2), axis=1), axis=0))
        k += W
    node = tl.load(particles + tl.num_programs(0) + slot)
    tl.store(counts + node, total)
    tl.store(within + node, inner)
    tl.store(closest + node, least)


@triton.jit(do_not_specialize=_SIZES)
def fill(positions, particles, starts, frame, rows, edge_index, vectors, room, W: tl.constexpr):
    """Edges of one particle, after those of the particles before it.

    Reads   what count reads, and rows (n + 1,), the sums of counts before each; ``room`` edges fit.
    Writes  edge_index (2, room) and vectors (room, 3).
    One program is one particle, one element a bin around it and a candidate.
    """
    slot = tl.program_id(0).to(tl.int64)
    begin, end, dx, dy, dz = _around(tl.load(particles + slot), starts, frame)
    cutoff2 = tl.load(frame + 18)
    most = tl.max(end - begin, axis=0)
    order = particles + tl.num_programs(0)
    node = tl.load(order + slot)
    edge = tl.load(rows + node).to(tl.int64)
    k = 0
    while k < most:
        close, other, _, x, y, z = _pairs(positions, slot, begin + k, end, dx, dy, dz, cutoff2, W)
        found = tl.reshape(close.to(tl.int32), [32 * W])
        at = edge + tl.reshape(tl.cumsum(found, 0) - found, [32, W])
        close = close & (at < room)
        tl.store(edge_index + at, tl.load(order + other, mask=close, other=0).to(tl.int64), mask=close)
        tl.store(edge_index + room + at, tl.zeros([32, W], tl.int64) + node, mask=close)
        tl.store(vectors + at * 3, x, mask=close)
        tl.store(vectors + at * 3 + 1, y, mask=close)
        tl.store(vectors + at * 3 + 2, z, mask=close)
        edge += tl.sum(found, axis=0)
        k += W


@triton.jit
def _bins(frame):
    """Numbers of bins along each cell vector."""
    nx, ny, nz = tl.load(frame + 19), tl.load(frame + 20), tl.load(frame + 21)
    return nx.to(tl.int32), ny.to(tl.int32), nz.to(tl.int32)


@triton.jit
def _along(frame, axis: tl.constexpr, a, b, c):
    """Component of a, b and c times the cell vectors."""
    return a * tl.load(frame + axis) + b * tl.load(frame + 3 + axis) + c * tl.load(frame + 6 + axis)


@triton.jit
def _around(home, starts, frame):
    """Where the particles of the 27 bins around ``home`` begin and end, and the shift of each bin's image."""
    nx, ny, nz = _bins(frame)
    o = tl.arange(0, 32)
    x = home // (ny * nz) + o // 9 - 1
    y = home // nz % ny + o // 3 % 3 - 1
    z = home % nz + o % 3 - 1
    a = (x >= nx).to(tl.int32) - (x < 0).to(tl.int32)
    b = (y >= ny).to(tl.int32) - (y < 0).to(tl.int32)
    c = (z >= nz).to(tl.int32) - (z < 0).to(tl.int32)
    near = ((x - a * nx) * ny + y - b * ny) * nz + z - c * nz
    begin = tl.load(starts + near, mask=o < 27, other=0)
    end = tl.load(starts + near + 1, mask=o < 27, other=0)
    a, b, c = a.to(tl.float64), b.to(tl.float64), c.to(tl.float64)
    return begin, end, _along(frame, 0, a, b, c), _along(frame, 1, a, b, c), _along(frame, 2, a, b, c)


@triton.jit
def _pairs(positions, slot, begin, end, dx, dy, dz, cutoff2, W: tl.constexpr):
    """W candidates of each bin: whether within the cutoff, place, squared distance and vector."""
    other = begin[:, None] + tl.arange(0, W)[None, :]
    live = other < end[:, None]
    at = other.to(tl.int64) * 3
    x = tl.load(positions + at, mask=live, other=0.0) - tl.load(positions + slot * 3) + dx[:, None]
    y = tl.load(positions + at + 1, mask=live, other=0.0) - tl.load(positions + slot * 3 + 1) + dy[:, None]
    z = tl.load(positions + at + 2, mask=live, other=0.0) - tl.load(positions + slot * 3 + 2) + dz[:, None]
    squared = x * x + y * y + z * z
    return live & (squared < cutoff2) & (other != slot), other, squared, x, y, z
