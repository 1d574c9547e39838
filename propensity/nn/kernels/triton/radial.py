"""Source of the Triton kernels of the radial MLP in training: batch norm and dropout act edge by edge.

The 16 hidden units of an edge are computed again from its radial basis wherever they are needed, so
that only the output of the last layer (one layer of the network at a time) is ever written.

Symbols beside those of :mod:`propensity.nn.kernels.triton.source`
-------------------------------------------------------------------
=======  =======================================================  ==========================
letter   meaning                                                  shape
=======  =======================================================  ==========================
NB, NBP  radial basis functions; rounded up to a power of two
H, HP    hidden units; rounded up to a power of two
b        radial basis of an edge                                  (E, NB)
x        hidden units after their ReLU                            (E, HP)
kept     1 where dropout keeps a unit, packed as ``mask``         (E, HP/8) of bits
affine   mean, 1/σ, scale and shift of the batch norm             (4, HP)
units    basis, mask, weight_in, bias_in and affine, from which
         hidden units are computed again: weight_in and bias_in   (H, NB), (H,)
d        hidden units after batch norm and dropout                (E, HP)
z        radial weights, and their gradients going back           (E/EB, PQ, EB, CP, 4)
g        gradient of the hidden units                             (E, HP)
SPAN     columns of z whose gradients a program sums
STRIDE   numbers that a program leaves in ``partial``
=======  =======================================================  ==========================
"""

from __future__ import annotations

from propensity.nn.kernels.triton.plan import Plan, quads
from propensity.nn.kernels.triton.writer import described_inside, template

#: Columns of the last layer that one program makes, and whose gradients it sums in its registers.
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


def spans(width: int) -> int:
    """Groups of columns between which ``radial_output`` and ``radial_gradient`` are split."""
    return -(-width // SPAN)


def source(plan: Plan, ptx: bool) -> str:
    """Kernels ``radial_sums``, ``_statistics``, ``_output`` forward and ``radial_gradient``, ``_input`` back; where
    matrix units make radial weights ``_units`` for ``_output``, ``_outer`` and ``_inner`` for the last two.
    """
    width = quads(len(plan.paths)) * plan.padded_channels * 4
    return (
        template("radial")
        + "\n\n"
        + ("\n\n".join([template("fragments"), template("units"), ""]) if plan.in_matrix_units else "")
        + _output(width, plan.padded_channels)
        + "\n\n"
        + _gradient(width, plan.padded_channels, ptx)
    )


def _output(width: int, cp: int) -> str:
    lines = [
        "@triton.jit",
        (
            "def radial_output(units, weight, bias, out, count, B:"
            " tl.constexpr, NB: tl.constexpr, NBP: tl.constexpr, H: tl.constexpr, HP: tl.constexpr, EB:"
            " tl.constexpr):"
        ),
        *described_inside(
            "Radial weights before their ReLU, in blocks of EB edges.",
            "units, weight (width, H), bias (width,), count (1,).",
            "out (E/EB, PQ, EB, CP, 4).",
            "(edge, column); program_id(1) is a span of columns.",
        ),
        "    basis, mask, weight_in, bias_in, affine = units",
        "    n_edges = tl.load(count)",
        f"    base = {f'tl.program_id(1) * {SPAN}' if spans(width) > 1 else 0}",
        "    edge = tl.program_id(0) * B + tl.arange(0, B)",
        "    x, kept, b = _units(basis, mask, weight_in, bias_in, edge, n_edges, NB, NBP, H, HP)",
        "    h = tl.arange(0, HP)",
        "    d = kept * (x * tl.load(affine + 2 * HP + h)[None, :] + tl.load(affine + 3 * HP + h)[None, :])",
        f"    line = out + (edge.to(tl.int64) // EB * EB * {width} + edge % EB * {4 * cp})[:, None]",
        "    live = (edge < n_edges)[:, None]",
    ]
    for start, size in _tiles(min(width, SPAN)):
        lines += [
            f"    column = base + {start} + tl.arange(0, {size})",
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
            "def radial_gradient(units, weight, grad, grad_units, sums,"
            " partial, count, keep, B: tl.constexpr, STRIDE: tl.constexpr, NB: tl.constexpr, NBP:"
            " tl.constexpr, H: tl.constexpr, HP: tl.constexpr, EB: tl.constexpr):"
        ),
        *described_inside(
            "Gradients of the last layer and of the hidden units before dropout.",
            "units, weight (width, H), grad (E/EB, PQ, EB, CP, 4), count (1,).",
            "grad_units (E, spans, HP); sums (programs, spans, 2, HP): Σ g and Σ g·x̂; partial (programs, STRIDE).",
            "(edge, hidden unit); program_id(1) is a span of columns.",
        ),
        "    basis, mask, weight_in, bias_in, affine = units",
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
