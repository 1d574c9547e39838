"""Triton kernels of the readout, which is each species' own.

Symbols as in :mod:`propensity.nn.gated.triton`, and

===========  ==================================================================  =====================
U            inputs that the network was given, standardised                     (n, U)
G            ways that it guessed                                                (n, 3, G)
R, H         hidden units of a species, and of all                               (n, H)
T            answers                                                             (n, T)
===========  ==================================================================  =====================
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.invariants import of_standardised, standardised
from propensity.nn.gated.triton.rows import (
    inner_3,
    inner_5,
    put_quadrupole_rows,
    put_rows,
    put_vector_rows,
    quadrupole_rows,
    read_bias,
    read_rows,
    scaled_3,
    scaled_5,
    times,
    vector_rows,
    weight_back,
    weight_forth,
)


@triton.jit(do_not_specialize=["n"])
def read_out(
    before,
    standard,
    parameters,
    mask,
    kept,
    answers,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    U: tl.constexpr,
    G: tl.constexpr,
    R: tl.constexpr,
    H: tl.constexpr,
    T: tl.constexpr,
    TYPES: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    UP: tl.constexpr,
    GP: tl.constexpr,
    HP: tl.constexpr,
    TP: tl.constexpr,
    TYPESP: tl.constexpr,
    DROPS: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Answers by scalars, lengths of vectors and quadrupoles, inputs, and lengths of what was guessed.

    Reads   before: scalars, vectors, quadrupoles, inputs, guess and types (n,); standard: mean and std;
            parameters: weight and bias of hidden units, weights (H, T) and biases (TYPES, T) of answers;
            mask (n, H) where DROPS.
    Writes  kept: what is read, in rows of a multiple of 8, hidden units before their SiLU, and 1 at a
            particle's species (n, TYPES); answers.
    One program is ROWS particles.
    """
    scalars, vectors, quadrupoles, inputs, guess, types = before
    weight, bias, out, out_bias = parameters
    seen, hidden, one_hot = kept
    wide: tl.constexpr = S + V + Q + U + G
    room: tl.constexpr = (wide + 7) // 8 * 8
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    found = tl.zeros([ROWS, HP], tl.float32) + read_bias(bias, 0, H, HP)
    z = standardised(read_rows(scalars, r, n, S, S, SP), standard, 0, S, SP)
    found = _seen(found, z, seen, weight, r, n, room, wide, S, SP, H, HP, HALF)
    vector = vector_rows(vectors, r, n, V, VP, V)
    z = standardised(tl.sqrt(inner_3(vector, vector) + 1e-4), standard, S, V, VP)
    found = _seen(found, z, seen + S, weight + S, r, n, room, wide, V, VP, H, HP, HALF)
    quadrupole = quadrupole_rows(quadrupoles, r, n, Q, QP, Q)
    z = standardised(tl.sqrt(inner_5(quadrupole, quadrupole) + 1e-4), standard, S + V, Q, QP)
    found = _seen(found, z, seen + (S + V), weight + (S + V), r, n, room, wide, Q, QP, H, HP, HALF)
    z = standardised(read_rows(inputs, r, n, U, U, UP), standard, S + V + Q, U, UP)
    found = _seen(found, z, seen + (S + V + Q), weight + (S + V + Q), r, n, room, wide, U, UP, H, HP, HALF)
    if G:
        way = vector_rows(guess, r, n, G, GP, G)
        z = tl.sqrt(inner_3(way, way) + 1e-4)
        at: tl.constexpr = S + V + Q + U
        found = _seen(found, z, seen + at, weight + at, r, n, room, wide, G, GP, H, HP, HALF)
    put_rows(hidden, r, n, found, H, H, HP)
    own = tl.load(types + r, mask=r < n, other=0)
    h = _of_own(found * tl.sigmoid(found), own, R, HP)
    if DROPS:
        h *= read_rows(mask, r, n, H, H, HP)
    c, t = tl.arange(0, TYPESP), tl.arange(0, TP)
    put_rows(one_hot, r, n, (own[:, None] == c[None, :]).to(tl.float32), TYPES, TYPES, TYPESP)
    found = times(h, weight_back(out, T, TP, H, HP, T, HALF))
    found += tl.load(out_bias + own[:, None] * T + t[None, :], mask=(t < T)[None, :], other=0.0)
    put_rows(answers, r, n, found, T, T, TP)


@triton.jit
def _seen(
    found,
    z,
    seen,
    weight,
    r,
    n,
    ROOM: tl.constexpr,
    WIDE: tl.constexpr,
    C: tl.constexpr,
    CP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    HALF: tl.constexpr,
):
    """What C of the numbers that are read add to hidden units; they are kept."""
    put_rows(seen, r, n, z, ROOM, C, CP)
    return found + times(z, weight_forth(weight, C, CP, H, HP, WIDE, HALF))


@triton.jit
def _of_own(h, own, R: tl.constexpr, HP: tl.constexpr):
    """Hidden units of a particle's own species."""
    return tl.where((tl.arange(0, HP) // R)[None, :] == own[:, None], h, 0.0)


@triton.jit(do_not_specialize=["n"])
def read_out_gradient(
    before,
    standard,
    parameters,
    mask,
    kept,
    grad,
    outputs,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    U: tl.constexpr,
    G: tl.constexpr,
    R: tl.constexpr,
    H: tl.constexpr,
    T: tl.constexpr,
    TYPES: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    UP: tl.constexpr,
    GP: tl.constexpr,
    HP: tl.constexpr,
    TP: tl.constexpr,
    TYPESP: tl.constexpr,
    DROPS: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Gradients of ``read_out``.

    Reads   as ``read_out`` what it read and kept; grad of answers.
    Writes  outputs: grads of scalars, vectors, quadrupoles, guess, and of hidden units before their SiLU
            (n, H); kept: hidden units after SiLU, choice and mask.
    One program is ROWS particles.
    """
    _, vectors, quadrupoles, _, guess, types = before
    weight, _, out, _ = parameters
    seen, hidden, _ = kept
    wide: tl.constexpr = S + V + Q + U + G
    room: tl.constexpr = (wide + 7) // 8 * 8
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    own = tl.load(types + r, mask=r < n, other=0)
    raw = read_rows(hidden, r, n, H, H, HP)
    share = tl.sigmoid(raw)
    h, slope = _of_own(raw * share, own, R, HP), _of_own(share * (1.0 + raw * (1.0 - share)), own, R, HP)
    if DROPS:
        left = read_rows(mask, r, n, H, H, HP)
        h, slope = h * left, slope * left
    put_rows(hidden, r, n, h, H, H, HP)
    d = times(read_rows(grad, r, n, T, T, TP), weight_forth(out, T, TP, H, HP, T, HALF)) * slope
    put_rows(outputs[4], r, n, d, H, H, HP)
    dz = times(d, weight_back(weight, S, SP, H, HP, wide, HALF))
    z = read_rows(seen, r, n, room, S, SP)
    put_rows(outputs[0], r, n, of_standardised(dz, z, standard, 0, S, SP), S, S, SP)
    dz = times(d, weight_back(weight + S, V, VP, H, HP, wide, HALF))
    dz = of_standardised(dz, read_rows(seen + S, r, n, room, V, VP), standard, S, V, VP)
    vector = vector_rows(vectors, r, n, V, VP, V)
    dz /= tl.sqrt(inner_3(vector, vector) + 1e-4)
    put_vector_rows(outputs[1], r, n, scaled_3(vector, dz), V, VP, V)
    dz = times(d, weight_back(weight + (S + V), Q, QP, H, HP, wide, HALF))
    dz = of_standardised(dz, read_rows(seen + (S + V), r, n, room, Q, QP), standard, S + V, Q, QP)
    quadrupole = quadrupole_rows(quadrupoles, r, n, Q, QP, Q)
    dz /= tl.sqrt(inner_5(quadrupole, quadrupole) + 1e-4)
    put_quadrupole_rows(outputs[2], r, n, scaled_5(quadrupole, dz), Q, QP, Q)
    if G:
        dz = times(d, weight_back(weight + (S + V + Q + U), G, GP, H, HP, wide, HALF))
        way = vector_rows(guess, r, n, G, GP, G)
        dz /= tl.sqrt(inner_3(way, way) + 1e-4)
        put_vector_rows(outputs[3], r, n, scaled_3(way, dz), G, GP, G)
