"""Triton kernels of what a particle's update is told: lengths and products of its features.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.rows import (
    ROOT,
    SIXTH,
    added_3,
    added_5,
    inner_3,
    inner_5,
    put_quadrupole_rows,
    put_rows,
    put_vector_rows,
    quadrupole_rows,
    read_bias,
    read_rows,
    read_std,
    scaled_3,
    scaled_5,
    vector_rows,
)

#: Standardised numbers end here, as in :mod:`propensity.nn.gated.layer`.
LIMIT = tl.constexpr(100.0)


@triton.jit(do_not_specialize=["n"])
def invariants(
    before,
    standard,
    kept,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    P: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    PP: tl.constexpr,
    ROWS: tl.constexpr,
):
    """What the update of a particle is told, standardised.

    Reads   before: scalars, new scalars, vectors, quadrupoles, both factors; standard: mean and std (IN,).
    Writes  kept (n, IN).
    One program is ROWS particles.
    """
    scalars, new, vectors, quadrupoles, factors_v, factors_q = before
    wide: tl.constexpr = 2 * S + V + Q + 3 * P
    at: tl.constexpr = 2 * S + V + Q
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    _put_standard(kept, r, n, read_rows(scalars, r, n, S, S, SP), standard, 0, wide, S, SP)
    _put_standard(kept, r, n, read_rows(new, r, n, S, S, SP), standard, S, wide, S, SP)
    vector = vector_rows(vectors, r, n, V, VP, V)
    _put_standard(kept, r, n, tl.sqrt(inner_3(vector, vector) + 1e-4), standard, 2 * S, wide, V, VP)
    quadrupole = quadrupole_rows(quadrupoles, r, n, Q, QP, Q)
    _put_standard(
        kept, r, n, tl.sqrt(inner_5(quadrupole, quadrupole) + 1e-4), standard, 2 * S + V, wide, Q, QP
    )
    inner = inner_3(
        vector_rows(factors_v, r, n, P, PP, 3 * P), vector_rows(factors_v + P, r, n, P, PP, 3 * P)
    )
    _put_standard(kept, r, n, inner, standard, at, wide, P, PP)
    inner = inner_5(
        quadrupole_rows(factors_q, r, n, P, PP, 3 * P), quadrupole_rows(factors_q + P, r, n, P, PP, 3 * P)
    )
    _put_standard(kept, r, n, inner, standard, at + P, wide, P, PP)
    u = vector_rows(factors_v + 2 * P, r, n, P, PP, 3 * P)
    triple = inner_3(u, _turned(quadrupole_rows(factors_q + 2 * P, r, n, P, PP, 3 * P), u))
    _put_standard(kept, r, n, triple, standard, at + 2 * P, wide, P, PP)


@triton.jit
def _put_standard(kept, r, n, x, standard, first, WIDTH: tl.constexpr, C: tl.constexpr, CP: tl.constexpr):
    put_rows(kept + first, r, n, standardised(x, standard, first, C, CP), WIDTH, C, CP)


@triton.jit
def standardised(x, standard, first, C: tl.constexpr, CP: tl.constexpr):
    """(x − mean)/std within ±LIMIT."""
    z = (x - read_bias(standard[0], first, C, CP)) / read_std(standard[1], first, C, CP)
    return tl.minimum(tl.maximum(z, -LIMIT), LIMIT)


@triton.jit
def of_standardised(d, z, standard, first, C: tl.constexpr, CP: tl.constexpr):
    """Gradient of what was standardised: none where it was held at ±LIMIT."""
    return tl.where((z > -LIMIT) & (z < LIMIT), d / read_std(standard[1], first, C, CP), 0.0)


@triton.jit(do_not_specialize=["n"])
def invariants_gradient(
    before,
    standard,
    kept,
    grad,
    grads,
    outputs,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    P: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    PP: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Gradients of what ``invariants`` reads.

    Reads   before, standard, kept as ``invariants``; grad (as kept).
    Writes  grads of scalars, vectors and quadrupoles, to which it adds; outputs: those of new scalars and
            of both factors.
    One program is ROWS particles.
    """
    _, _, vectors, quadrupoles, factors_v, factors_q = before
    grad_s, grad_v, grad_q = grads
    grad_new, grad_fv, grad_fq = outputs
    wide: tl.constexpr = 2 * S + V + Q + 3 * P
    at: tl.constexpr = 2 * S + V + Q
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = _standard_gradient(grad, kept, r, n, standard, 0, wide, S, SP)
    put_rows(grad_s, r, n, read_rows(grad_s, r, n, S, S, SP) + d, S, S, SP)
    put_rows(grad_new, r, n, _standard_gradient(grad, kept, r, n, standard, S, wide, S, SP), S, S, SP)
    vector = vector_rows(vectors, r, n, V, VP, V)
    d = _standard_gradient(grad, kept, r, n, standard, 2 * S, wide, V, VP)
    d /= tl.sqrt(inner_3(vector, vector) + 1e-4)
    put_vector_rows(grad_v, r, n, added_3(vector_rows(grad_v, r, n, V, VP, V), scaled_3(vector, d)), V, VP, V)
    quadrupole = quadrupole_rows(quadrupoles, r, n, Q, QP, Q)
    d = _standard_gradient(grad, kept, r, n, standard, 2 * S + V, wide, Q, QP)
    d /= tl.sqrt(inner_5(quadrupole, quadrupole) + 1e-4)
    put_quadrupole_rows(
        grad_q, r, n, added_5(quadrupole_rows(grad_q, r, n, Q, QP, Q), scaled_5(quadrupole, d)), Q, QP, Q
    )
    d = _standard_gradient(grad, kept, r, n, standard, at, wide, P, PP)
    put_vector_rows(grad_fv, r, n, scaled_3(vector_rows(factors_v + P, r, n, P, PP, 3 * P), d), P, PP, 3 * P)
    put_vector_rows(grad_fv + P, r, n, scaled_3(vector_rows(factors_v, r, n, P, PP, 3 * P), d), P, PP, 3 * P)
    d = _standard_gradient(grad, kept, r, n, standard, at + P, wide, P, PP)
    put_quadrupole_rows(
        grad_fq, r, n, scaled_5(quadrupole_rows(factors_q + P, r, n, P, PP, 3 * P), d), P, PP, 3 * P
    )
    put_quadrupole_rows(
        grad_fq + P, r, n, scaled_5(quadrupole_rows(factors_q, r, n, P, PP, 3 * P), d), P, PP, 3 * P
    )
    d = _standard_gradient(grad, kept, r, n, standard, at + 2 * P, wide, P, PP)
    u = vector_rows(factors_v + 2 * P, r, n, P, PP, 3 * P)
    put_quadrupole_rows(grad_fq + 2 * P, r, n, scaled_5(_square(u), d), P, PP, 3 * P)
    turned = _turned(quadrupole_rows(factors_q + 2 * P, r, n, P, PP, 3 * P), u)
    put_vector_rows(grad_fv + 2 * P, r, n, scaled_3(turned, 2.0 * d), P, PP, 3 * P)


@triton.jit
def _standard_gradient(
    grad, kept, r, n, standard, first, WIDTH: tl.constexpr, C: tl.constexpr, CP: tl.constexpr
):
    z = read_rows(kept + first, r, n, WIDTH, C, CP)
    return of_standardised(read_rows(grad + first, r, n, WIDTH, C, CP), z, standard, first, C, CP)


@triton.jit
def _turned(t, u):
    """T·u of quadrupoles and vectors."""
    zz, xx = t[3] * SIXTH, t[4] * ROOT
    xx, yy, zz = xx - zz, -xx - zz, 2.0 * zz
    x = xx * u[0] + (t[0] * u[1] + t[2] * u[2]) * ROOT
    y = yy * u[1] + (t[0] * u[0] + t[1] * u[2]) * ROOT
    return x, y, zz * u[2] + (t[2] * u[0] + t[1] * u[1]) * ROOT


@triton.jit
def _square(u):
    """The quadrupole of a vector's product with itself."""
    x, y, z = u
    return (
        x * y * (2.0 * ROOT),
        y * z * (2.0 * ROOT),
        x * z * (2.0 * ROOT),
        (2.0 * z * z - x * x - y * y) * SIXTH,
        (x * x - y * y) * ROOT,
    )
