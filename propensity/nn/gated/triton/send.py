"""Triton kernels of what particles send.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.rows import (
    added_3,
    put_rows,
    put_vector_rows,
    read_bias,
    read_rows,
    times,
    times_3,
    vector_rows,
    weight_back,
    weight_forth,
)


@triton.jit(do_not_specialize=["n"])
def send(
    before,
    sending,
    sent,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """What particles send to the first layer.

    Reads   before: scalars, vectors; sending: weights and bias.
    Writes  sent.
    One program is ROWS particles.
    """
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    s, v = read_rows(before[0], r, n, S, S, SP), vector_rows(before[1], r, n, V, VP, V)
    put_sent(sent, r, n, s, v, sending, S, V, SS, SV, SP, VP, SSP, SVP, HALF)


@triton.jit(do_not_specialize=["n"])
def send_gradient(
    grad_sent,
    sending,
    grads,
    n,
    S: tl.constexpr,
    V: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    ROWS: tl.constexpr,
    HALF: tl.constexpr,
):
    """Gradients of what ``send`` reads.

    Reads   grad_sent, sending as ``send``.
    Writes  grads of scalars and vectors, to which it adds.
    One program is ROWS particles.
    """
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    ds, dv = gradients_of_sent(grad_sent, r, n, sending, S, V, SS, SV, SP, VP, SSP, SVP, HALF)
    put_rows(grads[0], r, n, read_rows(grads[0], r, n, S, S, SP) + ds, S, S, SP)
    put_vector_rows(grads[1], r, n, added_3(vector_rows(grads[1], r, n, V, VP, V), dv), V, VP, V)


@triton.jit
def put_sent(
    sent,
    r,
    n,
    s,
    vector,
    sending,
    S: tl.constexpr,
    V: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    HALF: tl.constexpr,
):
    """Write what particles of some scalars and vectors send."""
    width: tl.constexpr = SS + 3 * SV
    out = times(s, weight_forth(sending[0], S, SP, SS, SSP, S, HALF)) + read_bias(sending[1], 0, SS, SSP)
    put_rows(sent, r, n, out, width, SS, SSP)
    x, y, z = times_3(vector, weight_forth(sending[2], V, VP, SV, SVP, V, HALF))
    put_rows(sent + SS, r, n, x, width, SV, SVP)
    put_rows(sent + SS + SV, r, n, y, width, SV, SVP)
    put_rows(sent + SS + 2 * SV, r, n, z, width, SV, SVP)


@triton.jit
def gradients_of_sent(
    grad_sent,
    r,
    n,
    sending,
    S: tl.constexpr,
    V: tl.constexpr,
    SS: tl.constexpr,
    SV: tl.constexpr,
    SP: tl.constexpr,
    VP: tl.constexpr,
    SSP: tl.constexpr,
    SVP: tl.constexpr,
    HALF: tl.constexpr,
):
    """Gradients of scalars and vectors by what was sent of them."""
    width: tl.constexpr = SS + 3 * SV
    ds = times(read_rows(grad_sent, r, n, width, SS, SSP), weight_back(sending[0], S, SP, SS, SSP, S, HALF))
    x, y = (
        read_rows(grad_sent + SS, r, n, width, SV, SVP),
        read_rows(grad_sent + SS + SV, r, n, width, SV, SVP),
    )
    sent = x, y, read_rows(grad_sent + SS + 2 * SV, r, n, width, SV, SVP)
    return ds, times_3(sent, weight_back(sending[2], V, VP, SV, SVP, V, HALF))
