"""Triton kernel of the gradients of weights: products of what came back to a matrix and what it read.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

from propensity.nn.gated.triton.rows import multiply, put


@triton.jit(do_not_specialize=["n"])
def weight_gradients(
    grads,
    reads,
    sums,
    n,
    KINDS: tl.constexpr,
    MANY: tl.constexpr,
    TOTAL: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
    HALF: tl.constexpr,
):
    """Gradients of MANY weights and biases, summed over parts of the particles.

    Reads   grads and reads, one of each a weight: rows of C components a particle.
    Writes  sums (PARTS, TOTAL).
    KINDS are of each weight: its first program and the next one's, its chunks of columns, C, what lies
    between particles in grads, OUT, rows of a program, IN, what lies between rows in reads, whether there is
    a bias, and its place in sums.
    One program is some rows and CHUNK columns of a weight, and a part.
    """
    for k in tl.static_range(MANY):
        if (tl.program_id(0) >= KINDS[k][0]) & (tl.program_id(0) < KINDS[k][1]):
            _weight_gradient(
                grads[k],
                reads[k],
                sums + KINDS[k][10],
                n,
                (tl.program_id(0) - KINDS[k][0]) // KINDS[k][2],
                (tl.program_id(0) - KINDS[k][0]) % KINDS[k][2],
                KINDS[k][3],
                KINDS[k][4],
                KINDS[k][5],
                KINDS[k][6],
                KINDS[k][7],
                KINDS[k][8],
                KINDS[k][9],
                TOTAL,
                PARTS,
                ROWS,
                CHUNK,
                HALF,
            )


@triton.jit
def _weight_gradient(
    grad,
    read,
    sums,
    n,
    row,
    column,
    C: tl.constexpr,
    STRIDE: tl.constexpr,
    OUT: tl.constexpr,
    OUTP: tl.constexpr,
    IN: tl.constexpr,
    WIDTH: tl.constexpr,
    BIAS: tl.constexpr,
    TOTAL: tl.constexpr,
    PARTS: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNK: tl.constexpr,
    HALF: tl.constexpr,
):
    part = tl.program_id(1).to(tl.int64)
    each = tl.cdiv(n * C, PARTS)
    last = tl.minimum((part + 1) * each, n * C)
    o, c = row * OUTP + tl.arange(0, OUTP), column * CHUNK + tl.arange(0, CHUNK)
    found = tl.zeros([OUTP, CHUNK], tl.float32)
    for first in range(part * each, last, ROWS):
        r = first + tl.arange(0, ROWS)
        at = r * OUT if STRIDE == C * OUT else r // C * STRIDE + r % C * OUT
        g = tl.load(grad + at[:, None] + o[None, :], mask=(r < last)[:, None] & (o < OUT)[None, :], other=0.0)
        x = tl.load(
            read + r[:, None] * WIDTH + c[None, :], mask=(r < last)[:, None] & (c < WIDTH)[None, :], other=0.0
        )
        if BIAS:  # a column of ones
            x = tl.where((c == IN)[None, :], 1.0, x)
        found = multiply(tl.trans(g.to(HALF)), x.to(HALF), found)
    place = tl.where((c == IN)[None, :], OUT * IN + o[:, None], o[:, None] * IN + c[None, :])
    put(sums + part * TOTAL + place, found, (o < OUT)[:, None] & (c < IN + BIAS)[None, :])
