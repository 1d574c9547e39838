"""Triton kernels of the first features, and of their parameters' gradients.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.invariants import standardised
from propensity.nn.gated.triton.rows import (
    put_quadrupole_rows,
    put_rows,
    put_vector_rows,
    quadrupole_rows,
    read_bias,
    read_rows,
    read_std,
    scaled_3,
    scaled_5,
    times,
    times_3,
    times_5,
    vector_rows,
    weight_back,
    weight_forth,
)


@triton.jit(do_not_specialize=["n"])
def embed(
    inputs,
    scales,
    parameters,
    kept,
    after,
    n,
    TYPES: tl.constexpr,
    IN: tl.constexpr,
    INP: tl.constexpr,
    A: tl.constexpr,
    AP: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """First features by inputs: species among TYPES and scalars, A vectors, C quadrupoles.

    Reads   inputs: types (n,), scalars (n, IN - TYPES), vectors (n, 3, A), quadrupoles (n, 5, C); scales:
            mean and std (IN,), those of vectors (A,) and quadrupoles (C,); parameters: two weights and biases
            of scalars, a weight of vectors and of quadrupoles.
    Writes  kept: inputs as they are standardised and scaled, and hidden units before their SiLU (n, S);
            after: scalars, vectors, quadrupoles.
    One program is ROWS particles.
    """
    types, scalars, vectors, quadrupoles = inputs
    standard, vector_scale, quadrupole_scale = scales
    first, second, to_vectors, to_quadrupoles = parameters
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, INP)
    given = (r < n)[:, None] & (c >= TYPES)[None, :] & (c < IN)[None, :]
    x = tl.load(scalars + r[:, None] * (IN - TYPES) + (c - TYPES)[None, :], mask=given, other=0.0)
    own = tl.load(types + r, mask=r < n, other=0)
    x = tl.where((c < TYPES)[None, :], (own[:, None] == c[None, :]).to(tl.float32), x)
    x = standardised(x, standard, 0, IN, INP)
    put_rows(kept[0], r, n, x, IN, IN, INP)
    h = times(x, weight_forth(first[0], IN, INP, S, SP, IN, HALF)) + read_bias(first[1], 0, S, SP)
    put_rows(kept[1], r, n, h, S, S, SP)
    s = times(h * tl.sigmoid(h), weight_forth(second[0], S, SP, S, SP, S, HALF))
    put_rows(after[0], r, n, s + read_bias(second[1], 0, S, SP), S, S, SP)
    if A:
        v = scaled_3(vector_rows(vectors, r, n, A, AP, A), 1.0 / read_std(vector_scale, 0, A, AP))
        put_vector_rows(kept[2], r, n, v, A, AP, A)
        v = times_3(v, weight_forth(to_vectors, A, AP, V, VP, A, HALF))
    else:
        nothing = tl.zeros([ROWS, VP], tl.float32)
        v = nothing, nothing, nothing
    put_vector_rows(after[1], r, n, v, V, VP, V)
    if C:
        q = scaled_5(quadrupole_rows(quadrupoles, r, n, C, CP, C), 1.0 / read_std(quadrupole_scale, 0, C, CP))
        put_quadrupole_rows(kept[3], r, n, q, C, CP, C)
        q = times_5(q, weight_forth(to_quadrupoles, C, CP, Q, QP, C, HALF))
    else:
        zero = tl.zeros([ROWS, QP], tl.float32)
        q = zero, zero, zero, zero, zero
    put_quadrupole_rows(after[2], r, n, q, Q, QP, Q)


@triton.jit(do_not_specialize=["n"])
def embed_gradient(
    grad,
    second,
    hidden,
    grad_hidden,
    n,
    S: tl.constexpr,
    SP: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Gradient of the hidden units of the first scalars.

    Reads   grad of scalars (n, S), the second weight, hidden units before their SiLU.
    Writes  hidden: those after it; grad_hidden (n, S).
    One program is ROWS particles.
    """
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    d = times(read_rows(grad, r, n, S, S, SP), weight_back(second, S, SP, S, SP, S, HALF))
    raw = read_rows(hidden, r, n, S, S, SP)
    share = tl.sigmoid(raw)
    put_rows(hidden, r, n, raw * share, S, S, SP)
    put_rows(grad_hidden, r, n, d * share * (1.0 + raw * (1.0 - share)), S, S, SP)
