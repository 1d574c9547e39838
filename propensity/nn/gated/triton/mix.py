"""Triton kernels that mix the sums over neighbours.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.rows import (
    multiply,
    put,
    put_rows,
    read_rows,
    times,
    weight_back,
    weight_forth,
)


@triton.jit(do_not_specialize=["n"])
def mix_sums(
    met,
    weights,
    before,
    after,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    F: tl.constexpr,
    FP: tl.constexpr,
    BOTH: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """New scalars, vectors and quadrupoles with what neighbours add, and factors of their products.

    Reads   met; weights: of scalars (S, BOTH), vectors (V, WIDE), quadrupoles (Q, BOTH) and of both factors
            (F, V), (F, Q); before: vectors, quadrupoles.
    Writes  after: new scalars, vectors, quadrupoles, both factors.
    One program is ROWS rows of one of the three.
    """
    to_scalars, to_vectors, to_quadrupoles, factor_v, factor_q = weights
    vectors, quadrupoles = before
    new, vectors_after, quadrupoles_after, factors_v, factors_q = after
    part = tl.program_id(0)
    scalar_parts, vector_parts = tl.cdiv(n, ROWS), tl.cdiv(3 * n, ROWS)
    many = n.to(tl.int64)
    if part < scalar_parts:
        _mixed(met, to_scalars, vectors, new, factor_v, factors_v, n, part, BOTH, S, SP, 0, FP, ROWS, CHUNK)
    elif part < scalar_parts + vector_parts:
        at = met + many * BOTH
        _mixed(
            at,
            to_vectors,
            vectors,
            vectors_after,
            factor_v,
            factors_v,
            3 * n,
            part - scalar_parts,
            WIDE,
            V,
            VP,
            F,
            FP,
            ROWS,
            CHUNK,
        )
    else:
        at = met + many * (BOTH + 3 * WIDE)
        part -= scalar_parts + vector_parts
        _mixed(
            at,
            to_quadrupoles,
            quadrupoles,
            quadrupoles_after,
            factor_q,
            factors_q,
            5 * n,
            part,
            BOTH,
            Q,
            QP,
            F,
            FP,
            ROWS,
            CHUNK,
        )


@triton.jit
def _mixed(
    met,
    weight,
    before,
    out,
    factor,
    factors,
    rows,
    part,
    WIDTH: tl.constexpr,
    OUT: tl.constexpr,
    OUTP: tl.constexpr,
    F: tl.constexpr,
    FP: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Rows of met times a weight; with F factors added to what was before, and these times another weight."""
    r = part.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, OUTP)
    found = tl.zeros([ROWS, OUTP], tl.float32)
    for first in range(0, WIDTH, CHUNK):
        k = first + tl.arange(0, CHUNK)
        m = tl.load(
            met + r[:, None] * WIDTH + k[None, :], mask=(r < rows)[:, None] & (k < WIDTH)[None, :], other=0.0
        )
        w = tl.load(
            weight + c[None, :] * WIDTH + k[:, None],
            mask=(c < OUT)[None, :] & (k < WIDTH)[:, None],
            other=0.0,
        )
        found = multiply(m, w.to(m.dtype), found)
    if F:
        found += read_rows(before, r, rows, OUT, OUT, OUTP)
        half = met.dtype.element_ty
        put_rows(factors, r, rows, times(found, weight_forth(factor, OUT, OUTP, F, FP, OUT, half)), F, F, FP)
    put_rows(out, r, rows, found, OUT, OUT, OUTP)


@triton.jit(do_not_specialize=["n"])
def mix_sums_gradient(
    grads,
    weights,
    outputs,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    F: tl.constexpr,
    FP: tl.constexpr,
    BOTH: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Gradients of vectors and quadrupoles, that of their factors included, and of the sums over neighbours.

    Reads   grads of new scalars, vectors, quadrupoles and both factors; weights as ``mix_sums``.
    Writes  grads of vectors and quadrupoles, in place; outputs: grad_met (as met), both of these as operands.
    One program is ROWS rows of one of the three.
    """
    to_scalars, to_vectors, to_quadrupoles, factor_v, factor_q = weights
    new, vectors, quadrupoles, factors_v, factors_q = grads
    grad_met, vectors_half, quadrupoles_half = outputs
    part = tl.program_id(0)
    scalar_parts, vector_parts = tl.cdiv(n, ROWS), tl.cdiv(3 * n, ROWS)
    many = n.to(tl.int64)
    if part < scalar_parts:
        _unmixed(
            new, to_scalars, grad_met, factor_v, factors_v, new, n, part, BOTH, S, SP, 0, FP, ROWS, CHUNK
        )
    elif part < scalar_parts + vector_parts:
        at = grad_met + many * BOTH
        _unmixed(
            vectors,
            to_vectors,
            at,
            factor_v,
            factors_v,
            vectors_half,
            3 * n,
            part - scalar_parts,
            WIDE,
            V,
            VP,
            F,
            FP,
            ROWS,
            CHUNK,
        )
    else:
        at = grad_met + many * (BOTH + 3 * WIDE)
        part -= scalar_parts + vector_parts
        _unmixed(
            quadrupoles,
            to_quadrupoles,
            at,
            factor_q,
            factors_q,
            quadrupoles_half,
            5 * n,
            part,
            BOTH,
            Q,
            QP,
            F,
            FP,
            ROWS,
            CHUNK,
        )


@triton.jit
def _unmixed(
    grad,
    weight,
    grad_met,
    factor,
    grad_factors,
    out,
    rows,
    part,
    WIDTH: tl.constexpr,
    OUT: tl.constexpr,
    OUTP: tl.constexpr,
    F: tl.constexpr,
    FP: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
):
    r = part.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, OUTP)
    half = grad_met.dtype.element_ty
    g = read_rows(grad, r, rows, OUT, OUT, OUTP)
    if F:
        g += times(
            read_rows(grad_factors, r, rows, F, F, FP), weight_back(factor, OUT, OUTP, F, FP, OUT, half)
        )
        put_rows(grad, r, rows, g, OUT, OUT, OUTP)
        put_rows(out, r, rows, g, OUT, OUT, OUTP)
    g = g.to(half)
    for first in range(0, WIDTH, CHUNK):
        k = first + tl.arange(0, CHUNK)
        w = tl.load(
            weight + c[:, None] * WIDTH + k[None, :],
            mask=(c < OUT)[:, None] & (k < WIDTH)[None, :],
            other=0.0,
        )
        found = multiply(g, w.to(half), tl.zeros([ROWS, CHUNK], tl.float32))
        put(grad_met + r[:, None] * WIDTH + k[None, :], found, (r < rows)[:, None] & (k < WIDTH)[None, :])
