"""The radial MLP in training as far as it is the same for every layout; symbols as in the generator's file,
:mod:`propensity.nn.kernels.triton.radial`.
"""

# mypy: ignore-errors
# ruff: noqa: F821, RUF059
# Read as text, never imported: Triton compiles it together with the kernels of a layout.

import triton
import triton.language as tl


@triton.jit
def describe_edges(
    vectors,
    edges,
    basis,
    n_edges,
    per_length,
    wave,
    height,
    BASIS: tl.constexpr,
    B: tl.constexpr,
    NB: tl.constexpr,
    NBP: tl.constexpr,
):
    """Unit vectors, places in a table over r, and Bessel functions √(2/r_c) · sin(nπr/r_c) / r.

    Reads   vectors (E, 3); per_length: intervals of the table a length; wave: π/r_c; height: √(2/r_c).
    Writes  edges (E, 4); basis (E, NB), if BASIS.
    One program is B edges, one element an edge, or an edge and basis function.
    """
    edge = tl.program_id(0) * B + tl.arange(0, B)
    live = edge < n_edges
    at = edge.to(tl.int64)
    x = tl.load(vectors + at * 3, mask=live, other=1.0)
    y = tl.load(vectors + at * 3 + 1, mask=live, other=0.0)
    z = tl.load(vectors + at * 3 + 2, mask=live, other=0.0)
    r = tl.sqrt_rn(x * x + y * y + z * z)
    _store_quad(edges + at * 4, live, tl.div_rn(x, r), tl.div_rn(y, r), tl.div_rn(z, r), r * per_length)
    if BASIS:
        n = tl.arange(0, NBP)[None, :]
        value = height * tl.sin(r[:, None] * ((n + 1).to(tl.float32) * wave))
        tl.store(basis + at[:, None] * NB + n, tl.div_rn(value, r[:, None]), mask=live[:, None] & (n < NB))


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
    words,
    mask,
    values,
    partial,
    count,
    n_rows,
    B: tl.constexpr,
    NB: tl.constexpr,
    NBP: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    BITS: tl.constexpr,
    MOST: tl.constexpr,
    PER: tl.constexpr,
):
    """Dropout's choices as bits; mean and squared deviations of the hidden units of a block of edges of a layer.

    Reads   basis (E, NB); words (layers, E, ⌈H/PER⌉) of random bits, BITS a unit, which stays if they are less than MOST;
            values: parameters and starts (layers, 4), where weight_in (H, NB) and bias_in (H,) start; count (1,).
    Writes  mask (layers, blocks · B, HP/8) of bits, partial (layers, blocks, 2, HP): mean and Σ (x − mean)².
    One program is a block of B edges, one element an edge and hidden unit; program_id(1) is a layer, of E = n_rows.
    """
    packed, starts = values
    n_edges = tl.load(count)
    layer = tl.program_id(1)
    edge = tl.program_id(0) * B + tl.arange(0, B)
    at = (layer.to(tl.int64) * n_rows + edge)[:, None]
    h = tl.arange(0, HP)[None, :]
    live = (edge < n_edges)[:, None]
    word = tl.load(words + at * ((H + PER - 1) // PER) + h // PER, mask=live & (h < H), other=0)
    stays = ((word >> (h % PER * BITS)) & ((1 << BITS) - 1)) < MOST
    bits = tl.sum(tl.reshape(stays.to(tl.int32) << (h % 8), [B, HP // 8, 8]), axis=2)
    byte = tl.arange(0, HP // 8)[None, :]
    own = (layer.to(tl.int64) * (tl.num_programs(0) * B) + edge)[:, None]
    tl.store(mask + own * (HP // 8) + byte, bits.to(tl.uint8), mask=live & (byte < HP // 8))
    weight_in = packed + tl.load(starts + layer * 4)
    bias_in = packed + tl.load(starts + layer * 4 + 1)
    x, _, b = _units(basis, mask, weight_in, bias_in, edge, n_edges, NB, NBP, H, HP)
    mean = tl.sum(x, axis=0) / tl.maximum(tl.minimum(n_edges - tl.program_id(0) * B, B), 1).to(tl.float32)
    away = tl.where(live, x - mean[None, :], 0.0)
    target = partial + (layer * tl.num_programs(0) + tl.program_id(0)) * (2 * HP) + tl.arange(0, HP)
    tl.store(target, mean)
    tl.store(target + HP, tl.sum(away * away, axis=0))


@triton.jit
def radial_statistics(
    partial,
    values,
    found,
    count,
    blocks,
    eps,
    keep,
    B: tl.constexpr,
    H: tl.constexpr,
    HP: tl.constexpr,
    R: tl.constexpr,
):
    """Combine blocks into the affine map of a layer's batch norm.

    Reads   partial (layers, blocks, 2, HP); values: parameters and starts (layers, 4), where gamma and beta (H,) are the
            last two; count (1,).
    Writes  found: affine (layers, 4, HP): mean, 1/σ, scale and shift (with dropout's 1/keep), and moments (layers, 2, HP):
            mean, and variance as the running statistics want it.
    One program is a layer, one element a hidden unit.
    """
    packed, starts = values
    affine, moments = found
    layer = tl.program_id(0)
    n_edges = tl.load(count)
    n_blocks = (n_edges + B - 1) // B
    partial += layer * blocks * (2 * HP)
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
    inverse = 1.0 / tl.sqrt(squares / n_edges + eps)
    scale = inverse * tl.load(packed + tl.load(starts + layer * 4 + 2) + h, mask=held, other=0.0)
    shift = tl.load(packed + tl.load(starts + layer * 4 + 3) + h, mask=held, other=0.0) - mean * scale
    tl.store(moments + layer * (2 * HP) + h, mean)
    tl.store(moments + layer * (2 * HP) + HP + h, squares / (n_edges - 1))
    target = affine + layer * (4 * HP) + h
    tl.store(target, mean)
    tl.store(target + HP, inverse)
    tl.store(target + 2 * HP, scale / keep)
    tl.store(target + 3 * HP, shift / keep)


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
