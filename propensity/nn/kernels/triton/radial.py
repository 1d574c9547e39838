"""Source of the Triton kernels of the radial MLP in training: batch norm and dropout act edge by edge.

The 16 hidden units of an edge are computed again from its radial basis wherever they are needed, so
that only the output of the last layer (one layer of the network at a time) is ever written.
"""

from __future__ import annotations

from propensity.nn.kernels.triton.plan import Plan, quads

#: Columns of the last layer whose gradients one program sums in its registers.
SPAN = 160


def _tiles(width: int) -> list[tuple[int, int]]:
    """Start and size of the products that make ``width`` columns: powers of two from 32 down to 16."""
    tiles, start = [], 0
    while start < width:
        size = 32
        while size > max(width - start, 16):
            size //= 2
        tiles.append((start, size))
        start += size
    return tiles


_HEADER = '''
@triton.jit
def _units(basis, mask, weight_in, bias_in, edge, n_edges, NB: tl.constexpr, NBP: tl.constexpr, H: tl.constexpr,
           HP: tl.constexpr):
    """relu(W·basis + b) of a block of edges and whether dropout keeps each, shape (B, HP)."""
    live = (edge < n_edges)[:, None]
    k = tl.arange(0, NBP)
    h = tl.arange(0, HP)
    at = edge.to(tl.int64)[:, None]
    b = tl.load(basis + at * NB + k[None, :], mask=live & (k < NB)[None, :], other=0.0)
    w = tl.load(weight_in + h[None, :] * NB + k[:, None], mask=(h < H)[None, :] & (k < NB)[:, None], other=0.0)
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
def radial_sums(basis, kept, mask, weight_in, bias_in, partial, count, B: tl.constexpr, NB: tl.constexpr,
                NBP: tl.constexpr, H: tl.constexpr, HP: tl.constexpr):
    """Pack dropout's choices into bits; mean and squared deviations of the hidden units of a block of edges."""
    n_edges = tl.load(count)
    edge = tl.program_id(0) * B + tl.arange(0, B)
    at = edge.to(tl.int64)[:, None]
    h = tl.arange(0, HP)[None, :]
    chosen = tl.load(kept + at * H + h, mask=(edge < n_edges)[:, None] & (h < H), other=0).to(tl.int32) << (h % 8)
    bits = tl.sum(tl.reshape(chosen, [B, HP // 8, 8]), axis=2)
    byte = tl.arange(0, HP // 8)[None, :]
    tl.store(mask + at * (HP // 8) + byte, bits.to(tl.uint8), mask=(edge < n_edges)[:, None] & (byte < HP // 8))
    x, _, b = _units(basis, mask, weight_in, bias_in, edge, n_edges, NB, NBP, H, HP)
    mean = tl.sum(x, axis=0) / tl.maximum(tl.minimum(n_edges - tl.program_id(0) * B, B), 1).to(tl.float32)
    away = tl.where((edge < n_edges)[:, None], x - mean[None, :], 0.0)
    target = partial + tl.program_id(0) * (2 * HP) + tl.arange(0, HP)
    tl.store(target, mean)
    tl.store(target + HP, tl.sum(away * away, axis=0))


@triton.jit
def radial_statistics(partial, gamma, beta, running_mean, running_var, affine, count, momentum, eps, keep,
                      B: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, R: tl.constexpr):
    """Rows of ``affine``: mean, 1/σ, scale and shift (with dropout's 1/keep); update the running statistics."""
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
def radial_input(basis, mask, weight_in, bias_in, affine, grad_units, sums, partial, grad_basis, count, keep,
                 BATCH: tl.constexpr, BASIS: tl.constexpr, B: tl.constexpr, SPANS: tl.constexpr,
                 START: tl.constexpr, STRIDE: tl.constexpr, NB: tl.constexpr, NBP: tl.constexpr, H: tl.constexpr, HP: tl.constexpr):
    """Through batch norm and ReLU to the first layer; ``sums`` holds Σ g and Σ g·x̂ over edges."""
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
            w = tl.load(weight_in + h[:, None] * NB + k[None, :], mask=(h < H)[:, None] & (k < NB)[None, :], other=0.0)
            back = tl.dot(g, w, input_precision="ieee")
            tl.store(grad_basis + at * NB + k[None, :], back, mask=live & (k < NB)[None, :])
        start += tl.num_programs(0) * B
    target = partial + tl.program_id(0) * STRIDE + START
    tl.store(target + h[:, None] * NBP + k[None, :], grad_weight)
    tl.store(target + HP * NBP + h, grad_bias)

'''


def spans(width: int) -> int:
    """Groups of columns between which ``radial_gradient`` is split."""
    return -(-width // SPAN)


def source(plan: Plan, ptx: bool) -> str:
    """Kernels ``radial_sums``, ``_statistics``, ``_output`` forward and ``radial_gradient``, ``_input``
    back.
    """
    width = quads(len(plan.paths)) * plan.padded_channels * 4
    return (
        _HEADER + _output(width, plan.padded_channels) + "\n\n" + _gradient(width, plan.padded_channels, ptx)
    )


def _output(width: int, cp: int) -> str:
    lines = [
        "@triton.jit",
        (
            "def radial_output(basis, mask, weight_in, bias_in, affine, weight, bias, out, count, B:"
            " tl.constexpr, NB: tl.constexpr, NBP: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, EB:"
            " tl.constexpr):"
        ),
        '    """Radial weights before their ReLU, in blocks of EB edges."""',
        "    n_edges = tl.load(count)",
        "    edge = tl.program_id(0) * B + tl.arange(0, B)",
        "    x, kept, b = _units(basis, mask, weight_in, bias_in, edge, n_edges, NB, NBP, H, HP)",
        "    h = tl.arange(0, HP)",
        "    d = kept * (x * tl.load(affine + 2 * HP + h)[None, :] + tl.load(affine + 3 * HP + h)[None, :])",
        f"    line = out + (edge.to(tl.int64) // EB * EB * {width} + edge % EB * {4 * cp})[:, None]",
        "    live = (edge < n_edges)[:, None]",
    ]
    for start, size in _tiles(width):
        lines += [
            f"    column = {start} + tl.arange(0, {size})",
            (
                f"    w = tl.load(weight + column[None, :] * H + h[:, None], mask=(column < {width})[None, :]"
                " & (h < H)[:, None], other=0.0)"
            ),
            (
                '    z = tl.dot(d, w, input_precision="tf32x3") + tl.load(bias + column, mask=column <'
                f" {width}, other=0.0)[None, :]"
            ),
            f"    place = column // {4 * cp} * (EB * {4 * cp}) + column % {4 * cp}",
            f"    tl.store(line + place[None, :], z, mask=live & (column < {width})[None, :])",
        ]
    return "\n".join(lines) + "\n"


def _gradient(width: int, cp: int, ptx: bool) -> str:
    tiles = list(enumerate(_tiles(min(width, SPAN))))
    groups = spans(width)
    lines = [
        "@triton.jit",
        (
            "def radial_gradient(basis, mask, weight_in, bias_in, affine, weight, grad, grad_units, sums,"
            " partial, count, keep, B: tl.constexpr, STRIDE: tl.constexpr, NB: tl.constexpr, NBP:"
            " tl.constexpr, H: tl.constexpr, HP: tl.constexpr, EB: tl.constexpr):"
        ),
        (
            '    """Gradients of the last layer and of the hidden units before dropout; Σ g and Σ g·x̂ for'
            ' the batch norm."""'
        ),
        "    n_edges = tl.load(count)",
        "    span = tl.program_id(1)",
        f"    base = span * {SPAN}",
        "    h = tl.arange(0, HP)",
        "    mean = tl.load(affine + h)",
        "    inverse = tl.load(affine + HP + h)",
        "    scale = tl.load(affine + 2 * HP + h)",
        "    shift = tl.load(affine + 3 * HP + h)",
        "    sum_g = tl.zeros([B, HP], tl.float32)",
        "    sum_gx = tl.zeros([B, HP], tl.float32)",
    ]
    for k, (_, size) in tiles:
        lines += [
            f"    total{k} = tl.zeros([HP, {size}], tl.float32)",
            f"    bias{k} = tl.zeros([16, {size}], tl.float32)",
        ]
    # Staged, so that the next edges arrive while these are worked on; the interpreter knows no range of
    # tensors.
    lines += (
        ["    for start in tl.range(tl.program_id(0) * B, n_edges, tl.num_programs(0) * B, num_stages=3):"]
        if ptx
        else ["    start = tl.program_id(0) * B", "    while start < n_edges:"]
    )
    lines += [
        "        edge = start + tl.arange(0, B)",
        "        at = edge.to(tl.int64)[:, None]",
        "        live = (edge < n_edges)[:, None]",
        f"        line = grad + (edge.to(tl.int64) // EB * EB * {width} + edge % EB * {4 * cp})[:, None]",
        "        x, kept, b = _units(basis, mask, weight_in, bias_in, edge, n_edges, NB, NBP, H, HP)",
        "        d, d_rest = _split(tl.trans(kept * (x * scale[None, :] + shift[None, :])))",
        "        g = tl.zeros([HP, B], tl.float32)",
    ]
    for k, (start, size) in tiles:
        lines += [
            f"        column = base + {start} + tl.arange(0, {size})",
            f"        place = column // {4 * cp} * (EB * {4 * cp}) + column % {4 * cp}",
            f"        inside = live & (column < {width})[None, :]",
            # Triton stages only what goes through arithmetic before it goes to matrix units.
            "        z = tl.where(inside, tl.load(line + place[None, :], mask=inside), 0.0)",
            (
                "        w = tl.load(weight + column[None, :] * H + h[:, None], mask=(column <"
                f" {width})[None, :] & (h < H)[:, None], other=0.0)"
            ),
            f"        bias{k} += tl.sum(tl.reshape(z, [B // 16, 16, {size}]), axis=0)",
            "        z, z_rest = _split(z)",
            "        w, w_rest = _split(w)",
            '        g = tl.dot(w, tl.trans(z_rest), g, input_precision="tf32")',
            '        g = tl.dot(w_rest, tl.trans(z), g, input_precision="tf32")',
            '        g = tl.dot(w, tl.trans(z), g, input_precision="tf32")',
            # Added in float32: matrix units round sums towards zero.
            '        part = tl.dot(d_rest, z, input_precision="tf32")',
            '        part = tl.dot(d, z_rest, part, input_precision="tf32")',
            f'        total{k} += tl.dot(d, z, part, input_precision="tf32")',
        ]
    lines += [
        "        g = tl.trans(g) * kept / keep",
        f"        tl.store(grad_units + (at * {groups} + span) * HP + h[None, :], g, mask=live)",
        "        sum_g += g",
        "        sum_gx += g * (x - mean[None, :]) * inverse[None, :]",
    ]
    lines += [] if ptx else ["        start += tl.num_programs(0) * B"]
    lines += [
        f"    target = sums + (tl.program_id(0) * {groups} + span) * (2 * HP) + h",
        "    tl.store(target, tl.sum(sum_g, axis=0))",
        "    tl.store(target + HP, tl.sum(sum_gx, axis=0))",
        "    target = partial + tl.program_id(0) * STRIDE",
    ]
    for k, (start, size) in tiles:
        lines += [
            f"    column = base + {start} + tl.arange(0, {size})",
            (
                f"    tl.store(target + column[None, :] * HP + h[:, None], total{k}, mask=(column <"
                f" {width})[None, :])"
            ),
            f"    tl.store(target + {width} * HP + column, tl.sum(bias{k}, axis=0), mask=column < {width})",
        ]
    return "\n".join(lines) + "\n"
