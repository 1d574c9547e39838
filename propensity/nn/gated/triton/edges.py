"""Triton kernels of edges: their geometry, and what every particle's neighbours hand back.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.rows import ROOT, SIXTH, put


@triton.jit
def see_neighbours(
    edges,
    pairs,
    scale,
    rooms,
    radial,
    angular,
    CUTOFF: tl.constexpr,
    CORE: tl.constexpr,
    NEAREST: tl.constexpr,
    BESSEL: tl.constexpr,
    B: tl.constexpr,
    RP: tl.constexpr,
    TYPES: tl.constexpr,
):
    """Radial functions over their scale, and harmonics; zeros where no neighbour is.

    Reads   edges: vectors (N, K, 3), types (N,), neighbours (N, K), counts; pairs (2, TYPES, TYPES);
            scale (B,); rooms: K, R.
    Writes  radial (N, B, R), angular (N, 9, R).
    One program is one particle.
    """
    vectors, types, neighbours, counts = edges
    room, stride = rooms
    n = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, RP)
    live, inside = k < tl.load(counts + n), k < stride
    at = n * room + k
    x = tl.load(vectors + at * 3, mask=live, other=0.0)
    y = tl.load(vectors + at * 3 + 1, mask=live, other=0.0)
    z = tl.load(vectors + at * 3 + 2, mask=live, other=0.0)
    r = tl.maximum(tl.sqrt(x * x + y * y + z * z), NEAREST)
    u = r / CUTOFF
    u2 = u * u
    u6 = u2 * u2 * u2
    height = tl.where(u < 1.0, 1.0 + u6 * (-28.0 + u * (48.0 - 21.0 * u)), 0.0)
    half = radial.dtype.element_ty
    out = radial + n * B * stride + k
    for b in tl.static_range(B):
        if b < BESSEL:
            f = tl.sin(r * ((b + 1) * 3.141592653589793 / CUTOFF)) * (height / r)
        else:
            j = tl.load(neighbours + at, mask=live, other=0).to(tl.int64)
            pair = tl.load(types + n) * TYPES + tl.load(types + j, mask=live, other=0)
            epsilon = tl.load(pairs + pair, mask=live, other=1.0)
            sigma = tl.load(pairs + TYPES * TYPES + pair, mask=live, other=1.0)
            near = sigma / tl.maximum(r, CORE * sigma)
            cube = near * near * near
            sixth = cube * cube
            if b == BESSEL:
                f = 24.0 / 40.0 * epsilon * (sixth - 2.0 * sixth * sixth) / r * height
            else:
                f = 24.0 / 400.0 * epsilon * (26.0 * sixth * sixth - 7.0 * sixth) / (r * r) * height
        f /= tl.load(scale + b)
        tl.store(out + b * stride, tl.where(live, f, 0.0).to(half), mask=inside)
    x, y, z = tl.where(live, x / r, 0.0), tl.where(live, y / r, 0.0), tl.where(live, z / r, 0.0)
    own = angular + n * 9 * stride + k
    put(own, tl.where(live, 1.0, 0.0), inside)
    put(own + stride, 1.7320508075688772 * x, inside)
    put(own + 2 * stride, 1.7320508075688772 * y, inside)
    put(own + 3 * stride, 1.7320508075688772 * z, inside)
    put(own + 4 * stride, 3.872983346207417 * x * y, inside)
    put(own + 5 * stride, 3.872983346207417 * y * z, inside)
    put(own + 6 * stride, 3.872983346207417 * x * z, inside)
    put(own + 7 * stride, 1.118033988749895 * (2.0 * z * z - x * x - y * y), inside)
    put(own + 8 * stride, 1.9364916731037085 * (x * x - y * y), inside)


@triton.jit
def sum_slots(
    grad_slots,
    reverse,
    counts,
    room,
    grad_sent,
    WIDTH: tl.constexpr,
    WP: tl.constexpr,
    KB: tl.constexpr,
):
    """Gradient of what each particle sends: of all slots in which it is a neighbour.

    Reads   grad_slots (N, K, WIDTH), reverse (N, K), counts (N,).
    Writes  grad_sent (N, WIDTH).
    One program is one particle.
    """
    n = tl.program_id(0).to(tl.int64)
    count = tl.load(counts + n)
    c = tl.arange(0, WP)
    found = tl.zeros([KB, WP], tl.float32)
    for first in range(0, count, KB):
        k = first + tl.arange(0, KB)
        live = k < count
        slot = tl.load(reverse + n * room + k, mask=live, other=0).to(tl.int64)
        found += tl.load(
            grad_slots + slot[:, None] * WIDTH + c[None, :],
            mask=live[:, None] & (c < WIDTH)[None, :],
            other=0.0,
        ).to(tl.float32)
    put(grad_sent + n * WIDTH + c, tl.sum(found, axis=0), c < WIDTH)


@triton.jit
def harmonic(angular, n, k, stride, L: tl.constexpr):
    """One harmonic of the neighbours in slots k."""
    return tl.load(angular + (n * 9 + L) * stride + k)


@triton.jit
def turning(angular, n, k, stride):
    """The symmetric matrix of the harmonics l = 2: xx, yy, zz, xy, yz, xz."""
    zz = harmonic(angular, n, k, stride, 7).to(tl.float32) * SIXTH
    xx = harmonic(angular, n, k, stride, 8).to(tl.float32) * ROOT
    xy = harmonic(angular, n, k, stride, 4).to(tl.float32) * ROOT
    yz = harmonic(angular, n, k, stride, 5).to(tl.float32) * ROOT
    xz = harmonic(angular, n, k, stride, 6).to(tl.float32) * ROOT
    return xx - zz, -xx - zz, 2.0 * zz, xy, yz, xz


@triton.jit
def strides(rooms):
    """Slots of a particle, and those of its radial functions: a multiple of 32, as the compiler sees."""
    room, stride = rooms
    return room, stride // 32 * 32
