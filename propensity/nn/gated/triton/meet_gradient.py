"""Gradient of the sums over neighbours by matrix units.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.edges import harmonic, strides, turning
from propensity.nn.gated.triton.rows import ROOT, SIXTH, multiply, put


@triton.jit
def meet_gradient(
    grad,
    geometry,
    rooms,
    grad_slots,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    """Gradient of what each neighbour sent.

    Reads   grad (as met); geometry: radial, angular, counts; rooms: K, R.
    Writes  grad_slots (N, K, SS + 3·SV), real slots only.
    One program is one particle: the second number is 0 for sent scalars and 1 for vectors.
    """
    if tl.program_id(1) == 0:
        _meet_gradient_scalars(grad, geometry, rooms, grad_slots, B, SS, SV, BP, SSP, SVP, CURVED, KB)
    else:
        _meet_gradient_vectors(grad, geometry, rooms, grad_slots, B, SS, SV, BP, SSP, SVP, CURVED, KB)


@triton.jit
def _meet_gradient_scalars(
    grad,
    geometry,
    rooms,
    grad_slots,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    radial, angular, counts = geometry
    room, stride = strides(rooms)
    n = tl.program_id(0).to(tl.int64)
    n_nodes = tl.num_programs(0).to(tl.int64)
    count = tl.load(counts + n)
    width: tl.constexpr = SS + 3 * SV
    both: tl.constexpr = B * (SS + SV)
    wide: tl.constexpr = both + CURVED * B * SV
    zero = grad + n * both
    one = grad + n_nodes * both + n * (3 * wide)
    two = grad + n_nodes * (both + 3 * wide) + n * (5 * both)
    b = tl.arange(0, BP)
    c = tl.arange(0, SSP)
    place = b[:, None] * SS + c[None, :]
    inside = (b < B)[:, None] & (c < SS)[None, :]
    d0 = tl.load(zero + place, mask=inside, other=0.0)
    d1 = tl.load(one + place, mask=inside, other=0.0)
    d2 = tl.load(one + wide + place, mask=inside, other=0.0)
    d3 = tl.load(one + 2 * wide + place, mask=inside, other=0.0)
    d4 = tl.load(two + place, mask=inside, other=0.0)
    d5 = tl.load(two + both + place, mask=inside, other=0.0)
    d6 = tl.load(two + 2 * both + place, mask=inside, other=0.0)
    d7 = tl.load(two + 3 * both + place, mask=inside, other=0.0)
    d8 = tl.load(two + 4 * both + place, mask=inside, other=0.0)
    for first in range(0, count, KB):
        k = first + tl.arange(0, KB)
        live = k < count
        f = tl.load(radial + (n * B + b[None, :]) * stride + k[:, None], mask=(b < B)[None, :], other=0.0)
        a = multiply(f, d0, tl.zeros([KB, SSP], tl.float32))
        a = multiply(column(f, harmonic(angular, n, k, stride, 1)), d1, a)
        a = multiply(column(f, harmonic(angular, n, k, stride, 2)), d2, a)
        a = multiply(column(f, harmonic(angular, n, k, stride, 3)), d3, a)
        a = multiply(column(f, harmonic(angular, n, k, stride, 4)), d4, a)
        a = multiply(column(f, harmonic(angular, n, k, stride, 5)), d5, a)
        a = multiply(column(f, harmonic(angular, n, k, stride, 6)), d6, a)
        a = multiply(column(f, harmonic(angular, n, k, stride, 7)), d7, a)
        a = multiply(column(f, harmonic(angular, n, k, stride, 8)), d8, a)
        put(grad_slots + (n * room + k[:, None]) * width + c[None, :], a, live[:, None] & (c < SS)[None, :])


@triton.jit
def _meet_gradient_vectors(
    grad,
    geometry,
    rooms,
    grad_slots,
    B: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    BP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    CURVED: tl.constexpr,
    KB: tl.constexpr,
):
    radial, angular, counts = geometry
    room, stride = strides(rooms)
    n = tl.program_id(0).to(tl.int64)
    n_nodes = tl.num_programs(0).to(tl.int64)
    count = tl.load(counts + n)
    width: tl.constexpr = SS + 3 * SV
    both: tl.constexpr = B * (SS + SV)
    wide: tl.constexpr = both + CURVED * B * SV
    zero = grad + n * both
    one = grad + n_nodes * both + n * (3 * wide)
    two = grad + n_nodes * (both + 3 * wide) + n * (5 * both)
    b = tl.arange(0, BP)
    half = grad.dtype.element_ty
    c = tl.arange(0, SVP)
    place = B * SS + b[:, None] * SV + c[None, :]
    inside = (b < B)[:, None] & (c < SV)[None, :]
    dot = tl.load(zero + place, mask=inside, other=0.0).to(tl.float32)
    zz = tl.load(two + 3 * both + place, mask=inside, other=0.0).to(tl.float32) * SIXTH
    xx = tl.load(two + 4 * both + place, mask=inside, other=0.0).to(tl.float32) * ROOT
    txx, tyy, tzz = (dot - zz + xx).to(half), (dot - zz - xx).to(half), (dot + 2.0 * zz).to(half)
    txy = (tl.load(two + place, mask=inside, other=0.0).to(tl.float32) * ROOT).to(half)
    tyz = (tl.load(two + both + place, mask=inside, other=0.0).to(tl.float32) * ROOT).to(half)
    txz = (tl.load(two + 2 * both + place, mask=inside, other=0.0).to(tl.float32) * ROOT).to(half)
    sx = tl.load(one + place, mask=inside, other=0.0)
    sy = tl.load(one + wide + place, mask=inside, other=0.0)
    sz = tl.load(one + 2 * wide + place, mask=inside, other=0.0)
    if CURVED:
        vx = tl.load(one + B * SV + place, mask=inside, other=0.0)
        vy = tl.load(one + wide + B * SV + place, mask=inside, other=0.0)
        vz = tl.load(one + 2 * wide + B * SV + place, mask=inside, other=0.0)
    for first in range(0, count, KB):
        k = first + tl.arange(0, KB)
        live = k < count
        f = tl.load(radial + (n * B + b[None, :]) * stride + k[:, None], mask=(b < B)[None, :], other=0.0)
        nothing = tl.zeros([KB, SVP], tl.float32)
        x, y, z = multiply(f, sx, nothing), multiply(f, sy, nothing), multiply(f, sz, nothing)
        g = column(f, harmonic(angular, n, k, stride, 1))
        x, y, z = multiply(g, txx, x), multiply(g, txy, y), multiply(g, txz, z)
        g = column(f, harmonic(angular, n, k, stride, 2))
        x, y, z = multiply(g, txy, x), multiply(g, tyy, y), multiply(g, tyz, z)
        g = column(f, harmonic(angular, n, k, stride, 3))
        x, y, z = multiply(g, txz, x), multiply(g, tyz, y), multiply(g, tzz, z)
        if CURVED:
            mxx, myy, mzz, mxy, myz, mxz = turning(angular, n, k, stride)
            x = multiply(column(f, mxx), vx, x)
            y = multiply(column(f, myy), vy, y)
            z = multiply(column(f, mzz), vz, z)
            g = column(f, mxy)
            x, y = multiply(g, vy, x), multiply(g, vx, y)
            g = column(f, myz)
            y, z = multiply(g, vz, y), multiply(g, vy, z)
            g = column(f, mxz)
            x, z = multiply(g, vz, x), multiply(g, vx, z)
        out = grad_slots + (n * room + k[:, None]) * width + SS + c[None, :]
        kept = live[:, None] & (c < SV)[None, :]
        put(out, x, kept)
        put(out + SV, y, kept)
        put(out + 2 * SV, z, kept)


@triton.jit
def column(f, y):
    """f·y with a neighbour in each row."""
    return f * y.to(f.dtype)[:, None]
