"""Triton kernels of a particle's update: a perceptron, gates, and what is sent next.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.rows import (
    added_3,
    inner_3,
    inner_5,
    multiply,
    put,
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
from propensity.nn.gated.triton.send import gradients_of_sent, put_sent


@triton.jit(do_not_specialize=["n"])
def update(
    before,
    parameters,
    mask,
    kept,
    after,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    IN: tl.constexpr,
    H: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    HP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    CHUNK: tl.constexpr,
    DROPS: tl.constexpr,
    SENDS: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Features after a layer, and with SENDS what the particles send in the next.

    Reads   before: invariants, scalars, vectors, quadrupoles; parameters: weights and biases of the update,
            weights and bias of what is sent; mask (n, H) where DROPS.
    Writes  after: scalars, vectors, quadrupoles, sent; kept: hidden units before their SiLU (n, H) and gates
            (n, V + Q).
    One program is ROWS particles.
    """
    z, scalars, vectors, quadrupoles = before
    first, second, sending = parameters
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    raw = tl.zeros([ROWS, HP], tl.float32) + read_bias(first[1], 0, H, HP)
    o = tl.arange(0, HP)
    for at in range(0, IN, CHUNK):
        i = at + tl.arange(0, CHUNK)
        x = tl.load(z + r[:, None] * IN + i[None, :], mask=(r < n)[:, None] & (i < IN)[None, :], other=0.0)
        w = tl.load(
            first[0] + o[None, :] * IN + i[:, None], mask=(o < H)[None, :] & (i < IN)[:, None], other=0.0
        )
        raw = multiply(x, w.to(HALF), raw)
    put_rows(kept[0], r, n, raw, H, H, HP)
    h = raw * tl.sigmoid(raw)
    if DROPS:
        h *= read_rows(mask, r, n, H, H, HP)
    s = read_rows(scalars, r, n, S, S, SP) + read_bias(second[1], 0, S, SP)
    s += times(h, weight_forth(second[0], H, HP, S, SP, H, HALF))
    put_rows(after[0], r, n, s, S, S, SP)
    gate = _gate(h, second[0], second[1], S, V, VP, H, HP, HALF)
    put_rows(kept[1], r, n, gate, V + Q, V, VP)
    vector = scaled_3(vector_rows(vectors, r, n, V, VP, V), gate)
    put_vector_rows(after[1], r, n, vector, V, VP, V)
    gate = _gate(h, second[0], second[1], S + V, Q, QP, H, HP, HALF)
    put_rows(kept[1] + V, r, n, gate, V + Q, Q, QP)
    put_quadrupole_rows(
        after[2], r, n, scaled_5(quadrupole_rows(quadrupoles, r, n, Q, QP, Q), gate), Q, QP, Q
    )
    if SENDS:
        put_sent(after[3], r, n, s, vector, sending, S, V, SS, SV, SP, VP, SSP, SVP, HALF)


@triton.jit
def _gate(
    h,
    weight,
    bias,
    first,
    C: tl.constexpr,
    CP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    HALF: tl.constexpr,
):
    """1 + tanh of some outputs of the update."""
    found = times(h, weight_forth(weight + first * H, H, HP, C, CP, H, HALF)) + read_bias(bias, first, C, CP)
    return 2.0 * tl.sigmoid(2.0 * found)


@triton.jit(do_not_specialize=["n"])
def update_gradient(
    before,
    parameters,
    mask,
    kept,
    grads,
    outputs,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    Q: tl.constexpr,
    IN: tl.constexpr,
    H: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    QP: tl.constexpr,
    HP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    CHUNK: tl.constexpr,
    DROPS: tl.constexpr,
    SENDS: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Gradients of ``update``.

    Reads   before: vectors, quadrupoles; parameters, mask, kept as ``update``; grads of scalars, vectors,
            quadrupoles and of what was sent next.
    Writes  outputs: grads of scalars, vectors, quadrupoles, of the invariants (n, IN), of hidden units (n, H)
            and of the update (n, S + V + Q); kept: hidden units after SiLU and mask.
    One program is ROWS particles.
    """
    vectors, quadrupoles = before
    first, second, sending = parameters
    grad_s, grad_v, grad_q, grad_sent = grads
    all_gates: tl.constexpr = V + Q
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    # What the layers after this one ask for; then the gates, and the last product of the update.
    ds = read_rows(grad_s, r, n, S, S, SP)
    dv = vector_rows(grad_v, r, n, V, VP, V)
    if SENDS:
        of_sent = gradients_of_sent(grad_sent, r, n, sending, S, V, SS, SV, SP, VP, SSP, SVP, HALF)
        ds, dv = ds + of_sent[0], added_3(dv, of_sent[1])
    put_rows(outputs[0], r, n, ds, S, S, SP)
    out = outputs[5]
    put_rows(out, r, n, ds, S + V + Q, S, SP)
    dh = times(ds, weight_back(second[0], H, HP, S, SP, H, HALF))
    gate = read_rows(kept[1], r, n, all_gates, V, VP)
    dg = inner_3(dv, vector_rows(vectors, r, n, V, VP, V)) * gate * (2.0 - gate)
    put_vector_rows(outputs[1], r, n, scaled_3(dv, gate), V, VP, V)
    put_rows(out + S, r, n, dg, S + V + Q, V, VP)
    dh += times(dg, weight_back(second[0] + S * H, H, HP, V, VP, H, HALF))
    gate = read_rows(kept[1] + V, r, n, all_gates, Q, QP)
    dq = quadrupole_rows(grad_q, r, n, Q, QP, Q)
    dg = inner_5(dq, quadrupole_rows(quadrupoles, r, n, Q, QP, Q)) * gate * (2.0 - gate)
    put_quadrupole_rows(outputs[2], r, n, scaled_5(dq, gate), Q, QP, Q)
    put_rows(out + S + V, r, n, dg, S + V + Q, Q, QP)
    dh += times(dg, weight_back(second[0] + (S + V) * H, H, HP, Q, QP, H, HALF))
    # The hidden units.
    raw = read_rows(kept[0], r, n, H, H, HP)
    share = tl.sigmoid(raw)
    h, slope = raw * share, share * (1.0 + raw * (1.0 - share))
    if DROPS:
        left = read_rows(mask, r, n, H, H, HP)
        h, slope = h * left, slope * left
    dh *= slope
    put_rows(kept[0], r, n, h, H, H, HP)
    put_rows(outputs[4], r, n, dh, H, H, HP)
    # The invariants.
    units = dh.to(HALF)
    o = tl.arange(0, HP)
    for at in range(0, IN, CHUNK):
        i = at + tl.arange(0, CHUNK)
        w = tl.load(
            first[0] + o[:, None] * IN + i[None, :], mask=(o < H)[:, None] & (i < IN)[None, :], other=0.0
        )
        dz = multiply(units, w.to(HALF), tl.zeros([ROWS, CHUNK], tl.float32))
        put(outputs[3] + r[:, None] * IN + i[None, :], dz, (r < n)[:, None] & (i < IN)[None, :])
