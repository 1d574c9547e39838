"""Radial weights of four channels by matrix units whose operands stay in registers.

A warp is 8 edges of 4 channels, thread 4·edge + channel, and that is how a product of 16×8 by 8×8 (PTX:
mma.m16n8k8) wants its operands: thread 4·i + k holds rows i and i + 8, columns k and k + 4 of the first (a0:
(i, k), a1: (i + 8, k), a2: (i, k + 4), a3: (i + 8, k + 4)), rows k and k + 4 of column i of the second (b0, b1),
and of the result (i, 2k), (i, 2k + 1), (i + 8, 2k), (i + 8, 2k + 1).  Of halves (m16n8k16) a number holds columns 2k
and 2k + 1, or 2k + 8 and 2k + 9.  Which hidden unit, column or edge is row k of a product is free, as long as both
operands agree.  So nothing goes through shared memory.

Symbols beside those of :mod:`propensity.nn.kernels.triton.radial`: ``x`` here bears a minus sign (zero too) where
dropout leaves the unit out.
"""

# mypy: ignore-errors
# ruff: noqa: F821
# Read as text, never imported: Triton compiles it together with the kernels of a layout.

import triton
import triton.language as tl


@triton.jit
def _unit(x, scale, shift):
    """A hidden unit after batch norm and dropout."""
    return tl.where(x.to(tl.int32, bitcast=True) >= 0, x * scale + shift, 0.0)


@triton.jit
def _pair(units, weight, bias0, bias1):
    """Two paths' radial weights, before their ReLU, of each thread's edge and channel.

    ``units``: rows i and k of a product are here the edge's hidden units and 2048 times what half precision leaves
    of them, first of units 4k and 4k + 1, then of the two others.  ``weight`` points at the same parts of hidden
    units 4k to 4k + 3 of column i; columns are (channel, path), paths first.
    """
    zero = tl.zeros_like(bias0)
    w0, w1, w2, w3 = _quad(weight, tl.full(zero.shape, True, tl.int1))
    y = _mma_halves(units, (_bits(w2), _bits(w3)), (zero, zero, zero, zero))
    z = _mma_halves(units, (_bits(w0), _bits(w1)), (bias0, bias1, zero, zero))
    return z[0] + (z[2] + y[0]) * 0.00048828125, z[1] + (z[3] + y[1]) * 0.00048828125


@triton.jit
def _back(weight, rest, b0, b1, c):
    """C + weight·B in float32, as three products of TF32 parts, the small ones first."""
    always = tl.full(b0.shape, True, tl.int1)
    a, a_rest = _quad(weight, always), _quad(rest, always)
    b0, rest0 = _split(b0)
    b1, rest1 = _split(b1)
    c = _mma(a_rest, (b0, b1), c)
    c = _mma(a, (rest0, rest1), c)
    return _mma(a, (b0, b1), c)


@triton.jit
def _places(WARPS: tl.constexpr):
    """A thread's row of a product, its program's first edge, its own first of two, and how far it is to the next."""
    thread = tl.arange(0, WARPS * 32)
    start = tl.program_id(0) * (WARPS * 8)
    edge = start + thread // 32 * 8 + thread % 4 * 2
    return thread % 32 // 4, start, edge, tl.num_programs(0) * (WARPS * 8)


@triton.jit
def radial_outer(
    x,
    affine,
    grad,
    grad_units,
    sums,
    partial,
    count,
    keep,
    PQ: tl.constexpr,
    HP: tl.constexpr,
    STRIDE: tl.constexpr,
    WARPS: tl.constexpr,
):
    """Gradients of the last layer of the radial MLP; the hidden units' from after dropout to before it.

    Reads   x (E, HP), affine, grad (E/8, PQ, 8, 4, 4), grad_units (E, HP), count (1,).
    Writes  partial (programs, STRIDE); grad_units in place; sums (programs, 2, HP): Σ g and Σ g·x̂.
    One thread is one of a warp's, for every so-manyth block of 8 edges; program_id(1) is two quads of paths, the
    last one the hidden units.
    """
    n_edges = tl.load(count)
    row, start, edge, step = _places(WARPS)
    pair = tl.program_id(1)
    zero = tl.zeros([WARPS * 32], tl.float32)
    if pair == (PQ + 1) // 2:
        mean0, mean1 = tl.load(affine + row), tl.load(affine + row + 8)
        inverse0, inverse1 = tl.load(affine + HP + row), tl.load(affine + HP + row + 8)
        g0, g1, gx0, gx1 = zero, zero, zero, zero
        while start < n_edges:
            x0, x1, x2, x3 = _four_units(x, edge, row, n_edges, HP)
            d0, d1, d2, d3 = _four_units(grad_units, edge, row, n_edges, HP)
            d0, d1, d2, d3 = (
                _kept(d0, x0, keep),
                _kept(d1, x1, keep),
                _kept(d2, x2, keep),
                _kept(d3, x3, keep),
            )
            target = grad_units + edge.to(tl.int64) * HP + row
            tl.store(target, d0, mask=edge < n_edges)
            tl.store(target + 8, d1, mask=edge < n_edges)
            tl.store(target + HP, d2, mask=edge + 1 < n_edges)
            tl.store(target + HP + 8, d3, mask=edge + 1 < n_edges)
            g0 += d0 + d2
            g1 += d1 + d3
            gx0 += (d0 * (tl.abs(x0) - mean0) + d2 * (tl.abs(x2) - mean0)) * inverse0
            gx1 += (d1 * (tl.abs(x1) - mean1) + d3 * (tl.abs(x3) - mean1)) * inverse1
            start += step
            edge += step
        _put_rows(sums + tl.program_id(0) * (2 * HP), 8, HP, g0, g1, gx0, gx1, WARPS)
    else:
        scale0, scale1 = tl.load(affine + 2 * HP + row), tl.load(affine + 2 * HP + row + 8)
        shift0, shift1 = tl.load(affine + 3 * HP + row), tl.load(affine + 3 * HP + row + 8)
        quad = 2 * pair + row % 2
        s0, s1, s2, s3 = zero, zero, zero, zero
        t00, t01, t02, t03 = zero, zero, zero, zero
        t10, t11, t12, t13 = zero, zero, zero, zero
        t20, t21, t22, t23 = zero, zero, zero, zero
        t30, t31, t32, t33 = zero, zero, zero, zero
        # The next edges are read before these are worked on.
        x0, x1, x2, x3 = _four_units(x, edge, row, n_edges, HP)
        z0, z1, z2, z3, y0, y1, y2, y3 = _two_quads(grad, edge, row, quad, n_edges, PQ)
        while start < n_edges:
            start += step
            edge += step
            nx0, nx1, nx2, nx3 = _four_units(x, edge, row, n_edges, HP)
            nz0, nz1, nz2, nz3, ny0, ny1, ny2, ny3 = _two_quads(grad, edge, row, quad, n_edges, PQ)
            d0, d1 = _unit(x0, scale0, shift0), _unit(x1, scale1, shift1)
            d2, d3 = _unit(x2, scale0, shift0), _unit(x3, scale1, shift1)
            a, a_rest = _split_four(d0, d1, d2, d3)
            t00, t01, t02, t03 = _added(a, a_rest, z0, y0, (t00, t01, t02, t03))
            t10, t11, t12, t13 = _added(a, a_rest, z1, y1, (t10, t11, t12, t13))
            t20, t21, t22, t23 = _added(a, a_rest, z2, y2, (t20, t21, t22, t23))
            t30, t31, t32, t33 = _added(a, a_rest, z3, y3, (t30, t31, t32, t33))
            s0 += z0 + y0
            s1 += z1 + y1
            s2 += z2 + y2
            s3 += z3 + y3
            x0, x1, x2, x3 = nx0, nx1, nx2, nx3
            z0, z1, z2, z3, y0, y1, y2, y3 = nz0, nz1, nz2, nz3, ny0, ny1, ny2, ny3
        # Columns 2k and 2k + 1 of a product are channel k of this pair's two quads of paths.
        place = partial + tl.program_id(0) * STRIDE + pair * (32 * HP)
        inside = PQ - 2 * pair
        _put(place, 16 * HP, 4 * HP, inside, t00, t01, t02, t03, WARPS)
        _put(place + HP, 16 * HP, 4 * HP, inside, t10, t11, t12, t13, WARPS)
        _put(place + 2 * HP, 16 * HP, 4 * HP, inside, t20, t21, t22, t23, WARPS)
        _put(place + 3 * HP, 16 * HP, 4 * HP, inside, t30, t31, t32, t33, WARPS)
        biases = _row_sums(s0, s1, s2, s3, WARPS)
        i, path = tl.arange(0, 8)[:, None], tl.arange(0, 4)[None, :]
        column = (2 * pair + i % 2) * 16 + i // 2 * 4 + path % 2 * 2 + path // 2
        tl.store(
            partial + tl.program_id(0) * STRIDE + PQ * (16 * HP) + column,
            biases,
            mask=(2 * pair + i % 2 < PQ) & (path < 4),
        )


@triton.jit
def radial_inner(
    x,
    basis,
    affine,
    grad_units,
    sums,
    partial,
    count,
    keep,
    BATCH: tl.constexpr,
    NB: tl.constexpr,
    HP: tl.constexpr,
    START: tl.constexpr,
    STRIDE: tl.constexpr,
    WARPS: tl.constexpr,
):
    """Gradients through batch norm and ReLU to the first layer of the radial MLP of up to 16 basis functions.

    Reads   x (E, HP), basis (E, NB), affine, grad_units (E, HP), sums (2, HP): Σ g and Σ g·x̂, count (1,).
    Writes  partial (programs, STRIDE) from START: gradients of weight_in and bias_in.
    One thread is one of a warp's, for every so-manyth block of 8 edges.
    """
    n_edges = tl.load(count)
    row, start, edge, step = _places(WARPS)
    zero = tl.zeros([WARPS * 32], tl.float32)
    a0, b0, c0 = _through_norm(affine, sums, row, n_edges, keep, BATCH, HP)
    a1, b1, c1 = _through_norm(affine, sums, row + 8, n_edges, keep, BATCH, HP)
    s0, s1 = zero, zero
    t00, t01, t02, t03 = zero, zero, zero, zero
    t10, t11, t12, t13 = zero, zero, zero, zero
    while start < n_edges:
        x0, x1, x2, x3 = _four_units(x, edge, row, n_edges, HP)
        g0, g1, g2, g3 = _four_units(grad_units, edge, row, n_edges, HP)
        g0 = tl.where(tl.abs(x0) > 0.0, a0 * g0 + b0 + c0 * tl.abs(x0), 0.0)
        g1 = tl.where(tl.abs(x1) > 0.0, a1 * g1 + b1 + c1 * tl.abs(x1), 0.0)
        g2 = tl.where(tl.abs(x2) > 0.0, a0 * g2 + b0 + c0 * tl.abs(x2), 0.0)
        g3 = tl.where(tl.abs(x3) > 0.0, a1 * g3 + b1 + c1 * tl.abs(x3), 0.0)
        at = basis + edge.to(tl.int64) * NB + row
        y0 = tl.load(at, mask=(edge < n_edges) & (row < NB), other=0.0)
        y1 = tl.load(at + NB, mask=(edge + 1 < n_edges) & (row < NB), other=0.0)
        z0 = tl.load(at + 8, mask=(edge < n_edges) & (row + 8 < NB), other=0.0)
        z1 = tl.load(at + NB + 8, mask=(edge + 1 < n_edges) & (row + 8 < NB), other=0.0)
        a, a_rest = _split_four(g0, g1, g2, g3)
        t00, t01, t02, t03 = _added(a, a_rest, y0, y1, (t00, t01, t02, t03))
        t10, t11, t12, t13 = _added(a, a_rest, z0, z1, (t10, t11, t12, t13))
        s0 += g0 + g2
        s1 += g1 + g3
        start += step
        edge += step
    place = partial + tl.program_id(0) * STRIDE + START
    _put_basis(place, t00, t01, t02, t03, WARPS)
    _put_basis(place + 8, t10, t11, t12, t13, WARPS)
    _put_rows(place + 16 * HP, 8, 0, s0, s1, zero, zero, WARPS)


@triton.jit
def _through_norm(affine, sums, h, n_edges, keep, BATCH: tl.constexpr, HP: tl.constexpr):
    """Factors of g, 1 and x of the gradient before batch norm of hidden unit h."""
    scale = tl.load(affine + 2 * HP + h) * keep
    if BATCH:
        n = tl.maximum(n_edges, 1)
        along = tl.load(affine + HP + h) * (tl.load(sums + HP + h) / n) * scale
        return scale, tl.load(affine + h) * along - scale * (tl.load(sums + h) / n), -along
    else:
        return scale, scale * 0.0, scale * 0.0


@triton.jit
def _kept(g, x, keep):
    """Gradient before dropout."""
    return tl.where(x.to(tl.int32, bitcast=True) >= 0, g / keep, 0.0)


@triton.jit
def _four_units(x, edge, row, n_edges, HP: tl.constexpr):
    """Hidden units ``row`` and ``row`` + 8 of two edges."""
    at = x + edge.to(tl.int64) * HP + row
    x0 = tl.load(at, mask=edge < n_edges, other=0.0)
    x1 = tl.load(at + 8, mask=edge < n_edges, other=0.0)
    x2 = tl.load(at + HP, mask=edge + 1 < n_edges, other=0.0)
    x3 = tl.load(at + HP + 8, mask=edge + 1 < n_edges, other=0.0)
    return x0, x1, x2, x3


@triton.jit
def _two_quads(grad, edge, row, quad, n_edges, PQ: tl.constexpr):
    """Gradients of a quad of paths of channel row // 2, of two edges."""
    line = grad + ((edge // 8).to(tl.int64) * PQ + quad) * 128 + edge % 8 * 16 + row // 2 * 4
    z0, z1, z2, z3 = _quad(line, (quad < PQ) & (edge < n_edges))
    y0, y1, y2, y3 = _quad(line + 16, (quad < PQ) & (edge + 1 < n_edges))
    return z0, z1, z2, z3, y0, y1, y2, y3


@triton.jit
def _split_four(a0, a1, a2, a3):
    """Rounded parts of four numbers, and their rests."""
    a0, rest0 = _split(a0)
    a1, rest1 = _split(a1)
    a2, rest2 = _split(a2)
    a3, rest3 = _split(a3)
    return (a0, a1, a2, a3), (rest0, rest1, rest2, rest3)


@triton.jit
def _added(a, a_rest, b0, b1, c):
    """C + A·B in float32, as three products of TF32 parts; matrix units round long sums towards zero."""
    zero = tl.zeros_like(b0)
    b0, rest0 = _split(b0)
    b1, rest1 = _split(b1)
    p = _mma(a_rest, (b0, b1), (zero, zero, zero, zero))
    p = _mma(a, (rest0, rest1), p)
    p = _mma(a, (b0, b1), p)
    return c[0] + p[0], c[1] + p[1], c[2] + p[2], c[3] + p[3]


@triton.jit
def _of_warps(c0, c1, c2, c3, WARPS: tl.constexpr):
    """A product's sum over warps, (128,): thread, then column (2k or 2k + 1), then row (i or i + 8)."""
    four = tl.join(tl.join(c0, c1), tl.join(c2, c3))
    return tl.sum(tl.reshape(four, [WARPS, 128]), axis=0)


@triton.jit
def _put(target, COLUMN: tl.constexpr, K: tl.constexpr, columns, c0, c1, c2, c3, WARPS: tl.constexpr):
    """Store a product of hidden units: numbers between columns 2k and 2k + 1 and between k and k + 1 are given."""
    e = tl.arange(0, 128)
    place = e // 2 % 2 * COLUMN + e // 4 % 4 * K + e // 16 + e % 2 * 8
    tl.store(target + place, _of_warps(c0, c1, c2, c3, WARPS), mask=e // 2 % 2 < columns)


@triton.jit
def _put_basis(target, c0, c1, c2, c3, WARPS: tl.constexpr):
    """Store a product of hidden units and basis functions, 16 a hidden unit."""
    e = tl.arange(0, 128)
    place = (e // 16 + e % 2 * 8) * 16 + e // 4 % 4 * 2 + e // 2 % 2
    tl.store(target + place, _of_warps(c0, c1, c2, c3, WARPS))


@triton.jit
def _row_sums(s0, s1, s2, s3, WARPS: tl.constexpr):
    """Sums over the threads of a row and over warps, (8, 4), the four in the order 0, 2, 1, 3."""
    four = tl.join(tl.join(s0, s1), tl.join(s2, s3))
    return tl.sum(tl.sum(tl.reshape(four, [WARPS, 8, 4, 4]), axis=2), axis=0)


@triton.jit
def _put_rows(target, SECOND: tl.constexpr, THIRD: tl.constexpr, s0, s1, s2, s3, WARPS: tl.constexpr):
    """Store sums of rows i: s1 and s3 SECOND numbers after s0 and s2, which are THIRD apart; without THIRD no s2, s3."""
    i, which = tl.arange(0, 8)[:, None], tl.arange(0, 4)[None, :]
    place = i + which // 2 * SECOND + which % 2 * THIRD
    tl.store(
        target + place, _row_sums(s0, s1, s2, s3, WARPS), mask=(i < 8) & ((which % 2 == 0) | (THIRD > 0))
    )
