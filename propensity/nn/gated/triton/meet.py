"""Sums over neighbours by matrix units.

A sum is a product of two small matrices: radial functions × harmonic (BP, k) and what the neighbours send
(k, channels).  No number of an edge and a channel leaves the registers.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.edges import harmonic, strides, turning
from propensity.nn.gated.triton.rows import ROOT, SIXTH, multiply, put


@triton.jit
def meet(
    sent,
    geometry,
    rooms,
    met,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    """Sums over neighbours of radial functions × harmonics × what they send, coupled to l ≤ 2.

    Reads   sent; geometry: neighbours (N, K), radial, angular, counts; rooms: K, R.
    Writes  met.
    One program is one particle and a part: 0 and 1 for sent scalars and l ≤ 1 or l = 2; 2 for vectors, 3 for
    those that l = 2 turns.  Fewer sums a program leave registers for more programs at once.
    """
    part = tl.program_id(1)
    if part == 0:
        _meet_scalars(sent, geometry, rooms, met, B, SS, SV, BP, SSP, CURVED, KB)
    elif part == 1:
        _meet_scalars_of_two(sent, geometry, rooms, met, B, SS, SV, BP, SSP, CURVED, KB)
    elif part == 2:
        _meet_vectors(sent, geometry, rooms, met, B, SS, SV, BP, SVP, CURVED, KB)
    else:
        _meet_turned(sent, geometry, rooms, met, B, SS, SV, BP, SVP, CURVED, KB)


@triton.jit
def _met_parts(met, B: tl.constexpr, SS: tl.constexpr, SV: tl.constexpr, CURVED: tl.constexpr):
    """Where a particle's sums for scalars, vectors and quadrupoles begin."""
    n, n_nodes = tl.program_id(0).to(tl.int64), tl.num_programs(0).to(tl.int64)
    both: tl.constexpr = B * (SS + SV)
    wide: tl.constexpr = both + CURVED * B * SV
    one = met + n_nodes * both + n * (3 * wide)
    return met + n * both, one, met + n_nodes * (both + 3 * wide) + n * (5 * both)


@triton.jit
def _meet_scalars(
    sent,
    geometry,
    rooms,
    met,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SSP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    neighbours, radial, angular, counts = geometry
    room, stride = strides(rooms)
    n = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + n)
    width: tl.constexpr = SS + 3 * SV
    both: tl.constexpr = B * (SS + SV)
    wide: tl.constexpr = both + CURVED * B * SV
    zero, one, _ = _met_parts(met, B, SS, SV, CURVED)
    b, c = tl.arange(0, BP), tl.arange(0, SSP)
    p0 = tl.zeros([BP, SSP], tl.float32)
    p1, p2, p3 = p0, p0, p0
    for first in range(0, count, KB):
        k = first + tl.arange(0, KB)
        live = k < count
        j = tl.load(neighbours + n * room + k, mask=live, other=0).to(tl.int64)
        h = _sent_rows(sent, j, c, live, 0, SS, width)
        f = tl.load(radial + (n * B + b[:, None]) * stride + k[None, :], mask=(b < B)[:, None], other=0.0)
        p0 = multiply(f, h, p0)
        p1 = multiply(row(f, harmonic(angular, n, k, stride, 1)), h, p1)
        p2 = multiply(row(f, harmonic(angular, n, k, stride, 2)), h, p2)
        p3 = multiply(row(f, harmonic(angular, n, k, stride, 3)), h, p3)
    place = b[:, None] * SS + c[None, :]
    inside = (b < B)[:, None] & (c < SS)[None, :]
    put(zero + place, p0, inside)
    put(one + place, p1, inside)
    put(one + wide + place, p2, inside)
    put(one + 2 * wide + place, p3, inside)


@triton.jit
def _meet_scalars_of_two(
    sent,
    geometry,
    rooms,
    met,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SSP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    neighbours, radial, angular, counts = geometry
    room, stride = strides(rooms)
    n = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + n)
    width: tl.constexpr = SS + 3 * SV
    both: tl.constexpr = B * (SS + SV)
    _, _, two = _met_parts(met, B, SS, SV, CURVED)
    b, c = tl.arange(0, BP), tl.arange(0, SSP)
    p4 = tl.zeros([BP, SSP], tl.float32)
    p5, p6, p7, p8 = p4, p4, p4, p4
    for first in range(0, count, KB):
        k = first + tl.arange(0, KB)
        live = k < count
        j = tl.load(neighbours + n * room + k, mask=live, other=0).to(tl.int64)
        h = _sent_rows(sent, j, c, live, 0, SS, width)
        f = tl.load(radial + (n * B + b[:, None]) * stride + k[None, :], mask=(b < B)[:, None], other=0.0)
        p4 = multiply(row(f, harmonic(angular, n, k, stride, 4)), h, p4)
        p5 = multiply(row(f, harmonic(angular, n, k, stride, 5)), h, p5)
        p6 = multiply(row(f, harmonic(angular, n, k, stride, 6)), h, p6)
        p7 = multiply(row(f, harmonic(angular, n, k, stride, 7)), h, p7)
        p8 = multiply(row(f, harmonic(angular, n, k, stride, 8)), h, p8)
    place = b[:, None] * SS + c[None, :]
    inside = (b < B)[:, None] & (c < SS)[None, :]
    put(two + place, p4, inside)
    put(two + both + place, p5, inside)
    put(two + 2 * both + place, p6, inside)
    put(two + 3 * both + place, p7, inside)
    put(two + 4 * both + place, p8, inside)


@triton.jit
def _meet_vectors(
    sent,
    geometry,
    rooms,
    met,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SVP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    neighbours, radial, angular, counts = geometry
    room, stride = strides(rooms)
    n = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + n)
    width: tl.constexpr = SS + 3 * SV
    both: tl.constexpr = B * (SS + SV)
    wide: tl.constexpr = both + CURVED * B * SV
    zero, one, two = _met_parts(met, B, SS, SV, CURVED)
    b, c = tl.arange(0, BP), tl.arange(0, SVP)
    sx = tl.zeros([BP, SVP], tl.float32)
    sy, sz, txx, tyy, tzz, txy, tyz, txz = sx, sx, sx, sx, sx, sx, sx, sx
    for first in range(0, count, KB):
        k = first + tl.arange(0, KB)
        live = k < count
        j = tl.load(neighbours + n * room + k, mask=live, other=0).to(tl.int64)
        x = _sent_rows(sent, j, c, live, SS, SV, width)
        y = _sent_rows(sent, j, c, live, SS + SV, SV, width)
        z = _sent_rows(sent, j, c, live, SS + 2 * SV, SV, width)
        f = tl.load(radial + (n * B + b[:, None]) * stride + k[None, :], mask=(b < B)[:, None], other=0.0)
        sx, sy, sz = multiply(f, x, sx), multiply(f, y, sy), multiply(f, z, sz)
        g = row(f, harmonic(angular, n, k, stride, 1))
        txx, txy, txz = multiply(g, x, txx), multiply(g, y, txy), multiply(g, z, txz)
        g = row(f, harmonic(angular, n, k, stride, 2))
        txy, tyy, tyz = multiply(g, x, txy), multiply(g, y, tyy), multiply(g, z, tyz)
        g = row(f, harmonic(angular, n, k, stride, 3))
        txz, tyz, tzz = multiply(g, x, txz), multiply(g, y, tyz), multiply(g, z, tzz)
    place = B * SS + b[:, None] * SV + c[None, :]
    inside = (b < B)[:, None] & (c < SV)[None, :]
    put(zero + place, txx + tyy + tzz, inside)
    put(one + place, sx, inside)
    put(one + wide + place, sy, inside)
    put(one + 2 * wide + place, sz, inside)
    put(two + place, txy * ROOT, inside)
    put(two + both + place, tyz * ROOT, inside)
    put(two + 2 * both + place, txz * ROOT, inside)
    put(two + 3 * both + place, (2.0 * tzz - txx - tyy) * SIXTH, inside)
    put(two + 4 * both + place, (txx - tyy) * ROOT, inside)


@triton.jit
def _meet_turned(
    sent,
    geometry,
    rooms,
    met,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SVP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    neighbours, radial, angular, counts = geometry
    room, stride = strides(rooms)
    n = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + n)
    width: tl.constexpr = SS + 3 * SV
    both: tl.constexpr = B * (SS + SV)
    wide: tl.constexpr = both + CURVED * B * SV
    _, one, _ = _met_parts(met, B, SS, SV, CURVED)
    b, c = tl.arange(0, BP), tl.arange(0, SVP)
    vx = tl.zeros([BP, SVP], tl.float32)
    vy, vz = vx, vx
    for first in range(0, count, KB):
        k = first + tl.arange(0, KB)
        live = k < count
        j = tl.load(neighbours + n * room + k, mask=live, other=0).to(tl.int64)
        x = _sent_rows(sent, j, c, live, SS, SV, width)
        y = _sent_rows(sent, j, c, live, SS + SV, SV, width)
        z = _sent_rows(sent, j, c, live, SS + 2 * SV, SV, width)
        f = tl.load(radial + (n * B + b[:, None]) * stride + k[None, :], mask=(b < B)[:, None], other=0.0)
        mxx, myy, mzz, mxy, myz, mxz = turning(angular, n, k, stride)
        vx = multiply(row(f, mxx), x, vx)
        vy = multiply(row(f, myy), y, vy)
        vz = multiply(row(f, mzz), z, vz)
        g = row(f, mxy)
        vx, vy = multiply(g, y, vx), multiply(g, x, vy)
        g = row(f, myz)
        vy, vz = multiply(g, z, vy), multiply(g, y, vz)
        g = row(f, mxz)
        vx, vz = multiply(g, z, vx), multiply(g, x, vz)
    place = B * (SS + SV) + b[:, None] * SV + c[None, :]
    inside = (b < B)[:, None] & (c < SV)[None, :]
    put(one + place, vx, inside)
    put(one + wide + place, vy, inside)
    put(one + 2 * wide + place, vz, inside)


@triton.jit
def row(f, y):
    """f·y with a neighbour in each column."""
    return f * y.to(f.dtype)[None, :]


@triton.jit
def _sent_rows(sent, j, c, live, first, count, width):
    """Channels ``first`` to ``first + count`` of what neighbours j send."""
    return tl.load(
        sent + j[:, None] * width + first + c[None, :], mask=live[:, None] & (c < count)[None, :], other=0.0
    )
