"""The radial MLP in training as far as it is the same for every layout; symbols as in the generator's file,
:mod:`propensity.nn.kernels.triton.radial`.
"""

# mypy: ignore-errors
# ruff: noqa: RUF059
# Read as text, never imported: Triton compiles it together with the kernels of a layout.

import triton
import triton.language as tl


@triton.jit
def _units(
    basis,
    mask,
    weight_in,
    bias_in,
    edge,
    n_edges,
    NB: tl.constexpr,
    NBP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
):
    """relu(W·basis + b) of a block of edges and whether dropout keeps each, shape (B, HP)."""
    live = (edge < n_edges)[:, None]
    k = tl.arange(0, NBP)
    h = tl.arange(0, HP)
    at = edge.to(tl.int64)[:, None]
    b = tl.load(basis + at * NB + k[None, :], mask=live & (k < NB)[None, :], other=0.0)
    w = tl.load(
        weight_in + h[None, :] * NB + k[:, None], mask=(h < H)[None, :] & (k < NB)[:, None], other=0.0
    )
    x = tl.dot(b, w, input_precision="ieee") + tl.load(bias_in + h, mask=h < H, other=0.0)[None, :]
    bits = tl.load(mask + at * (HP // 8) + (h // 8)[None, :], mask=live, other=0).to(tl.int32)
    kept = ((bits >> (h % 8)[None, :]) & 1).to(tl.float32)
    return tl.where(live, tl.maximum(x, 0.0), 0.0), kept, b


@triton.jit
def _split(x):
    """The bits of a TF32 operand, rounded to nearest, and the rest: three products of such parts make a float32 one."""
    high = ((x.to(tl.int32, bitcast=True) + 4096) & -8192).to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def radial_sums(
    basis,
    kept,
    mask,
    weight_in,
    bias_in,
    partial,
    count,
    B: tl.constexpr,
    NB: tl.constexpr,
    NBP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
):
    """Pack dropout's choices into bits; mean and squared deviations of the hidden units of a block of edges.

    Reads   basis (E, NB), kept (E, H), weight_in (H, NB), bias_in (H,), count (1,).
    Writes  mask (E, HP/8) of bits, partial (blocks, 2, HP): mean and Σ (x − mean)².
    One program is a block of B edges, one element an edge and hidden unit.
    """
    n_edges = tl.load(count)
    edge = tl.program_id(0) * B + tl.arange(0, B)
    at = edge.to(tl.int64)[:, None]
    h = tl.arange(0, HP)[None, :]
    chosen = tl.load(kept + at * H + h, mask=(edge < n_edges)[:, None] & (h < H), other=0).to(tl.int32) << (
        h % 8
    )
    bits = tl.sum(tl.reshape(chosen, [B, HP // 8, 8]), axis=2)
    byte = tl.arange(0, HP // 8)[None, :]
    tl.store(
        mask + at * (HP // 8) + byte, bits.to(tl.uint8), mask=(edge < n_edges)[:, None] & (byte < HP // 8)
    )
    x, _, b = _units(basis, mask, weight_in, bias_in, edge, n_edges, NB, NBP, H, HP)
    mean = tl.sum(x, axis=0) / tl.maximum(tl.minimum(n_edges - tl.program_id(0) * B, B), 1).to(tl.float32)
    away = tl.where((edge < n_edges)[:, None], x - mean[None, :], 0.0)
    target = partial + tl.program_id(0) * (2 * HP) + tl.arange(0, HP)
    tl.store(target, mean)
    tl.store(target + HP, tl.sum(away * away, axis=0))


@triton.jit
def radial_statistics(
    partial,
    norm,
    affine,
    count,
    momentum,
    eps,
    keep,
    B: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    R: tl.constexpr,
):
    """Combine blocks into the batch norm's affine map; update the running statistics.

    Reads   partial (blocks, 2, HP), norm: gamma, beta, running mean and running variance, each (H,); count (1,).
    Writes  affine (4, HP): mean, 1/σ, scale and shift (with dropout's 1/keep); the running statistics.
    One program is all of it, one element a hidden unit.
    """
    gamma, beta, running_mean, running_var = norm
    n_edges = tl.load(count)
    n_blocks = (n_edges + B - 1) // B
    h = tl.arange(0, HP)
    held = h < H
    r = tl.arange(0, R)
    total = tl.zeros([HP], tl.float32)
    start = 0
    while start < n_blocks:
        block = start + r
        edges = tl.maximum(tl.minimum(n_edges - block * B, B), 0).to(tl.float32)
        at = partial + (block * (2 * HP))[:, None] + h[None, :]
        total += tl.sum(tl.load(at, mask=(block < n_blocks)[:, None], other=0.0) * edges[:, None], axis=0)
        start += R
    mean = total / n_edges
    squares = tl.zeros([HP], tl.float32)
    start = 0
    while start < n_blocks:
        block = start + r
        edges = tl.maximum(tl.minimum(n_edges - block * B, B), 0).to(tl.float32)
        at = partial + (block * (2 * HP))[:, None] + h[None, :]
        there = (block < n_blocks)[:, None]
        away = tl.load(at, mask=there, other=0.0) - mean[None, :]
        squares += tl.sum(away * away * edges[:, None] + tl.load(at + HP, mask=there, other=0.0), axis=0)
        start += R
    variance = squares / n_edges
    old = tl.load(running_mean + h, mask=held, other=0.0)
    tl.store(running_mean + h, old + momentum * (mean - old), mask=held)
    old = tl.load(running_var + h, mask=held, other=0.0)
    tl.store(running_var + h, old + momentum * (squares / (n_edges - 1) - old), mask=held)
    inverse = 1.0 / tl.sqrt(variance + eps)
    scale = inverse * tl.load(gamma + h, mask=held, other=0.0)
    shift = tl.load(beta + h, mask=held, other=0.0) - mean * scale
    tl.store(affine + h, mean)
    tl.store(affine + HP + h, inverse)
    tl.store(affine + 2 * HP + h, scale / keep)
    tl.store(affine + 3 * HP + h, shift / keep)


@triton.jit
def radial_input(
    units,
    grad_units,
    sums,
    partial,
    grad_basis,
    count,
    keep,
    BATCH: tl.constexpr,
    BASIS: tl.constexpr,
    B: tl.constexpr,
    SPANS: tl.constexpr,
    START: tl.constexpr,
    STRIDE: tl.constexpr,
    NB: tl.constexpr,
    NBP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
):
    """Gradients through batch norm and ReLU to the first layer of the MLP.

    Reads   units, grad_units (E, SPANS, HP), sums (2, HP): Σ g and Σ g·x̂, count (1,).
    Writes  partial (programs, STRIDE) from START: gradients of weight_in and bias_in; grad_basis (E, NB), if BASIS.
    One program is every so-manyth block of B edges, one element an edge and hidden unit.
    """
    basis, mask, weight_in, bias_in, affine = units
    n_edges = tl.load(count)
    h = tl.arange(0, HP)
    mean = tl.load(affine + h)
    inverse = tl.load(affine + HP + h)
    scale = tl.load(affine + 2 * HP + h) * keep
    n = tl.maximum(n_edges, 1)
    total = tl.load(sums + h) / n
    along = tl.load(sums + HP + h) / n
    k = tl.arange(0, NBP)
    grad_weight = tl.zeros([HP, NBP], tl.float32)
    grad_bias = tl.zeros([HP], tl.float32)
    start = tl.program_id(0) * B
    while start < n_edges:
        edge = start + tl.arange(0, B)
        x, kept, b = _units(basis, mask, weight_in, bias_in, edge, n_edges, NB, NBP, H, HP)
        at = edge.to(tl.int64)[:, None]
        live = (edge < n_edges)[:, None]
        g = tl.zeros([B, HP], tl.float32)
        for span in tl.static_range(SPANS):
            g += tl.load(grad_units + (at * SPANS + span) * HP + h[None, :], mask=live, other=0.0)
        if BATCH:
            g = g - total[None, :] - (x - mean[None, :]) * (inverse * along)[None, :]
        g = tl.where(live & (x > 0.0), g * scale[None, :], 0.0)
        grad_weight += tl.dot(tl.trans(g), b, input_precision="ieee")
        grad_bias += tl.sum(g, axis=0)
        if BASIS:
            w = tl.load(
                weight_in + h[:, None] * NB + k[None, :], mask=(h < H)[:, None] & (k < NB)[None, :], other=0.0
            )
            back = tl.dot(g, w, input_precision="ieee")
            tl.store(grad_basis + at * NB + k[None, :], back, mask=live & (k < NB)[None, :])
        start += tl.num_programs(0) * B
    target = partial + tl.program_id(0) * STRIDE + START
    tl.store(target + h[:, None] * NBP + k[None, :], grad_weight)
    tl.store(target + HP * NBP + h, grad_bias)
