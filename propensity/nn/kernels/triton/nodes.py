"""Source of the Triton kernels that work on particles: mixing and residual, and back.

Symbols beside those of :mod:`propensity.nn.kernels.triton.source`
-------------------------------------------------------------------
======  ==========================================================  ==========================
letter  meaning                                                     shape
======  ==========================================================  ==========================
C       channels, of which CP − C are padding
L       l_max + 1, the kinds of irreps; statistics have L + 1 rows
o       features of a particle, (l, m) by (l, m)                    ((l_max+1)²,) a thread
r       residual: features before the layer                         as o
w       mixing matrices, one an l, rows by quads                    (quads of rows, CP, 4)
a       scale of the batch norm                                     (L, CP)
g, u    gradient and centred features                               as o
t       variance of each l, summed over blocks                      (CP,)
R       rows of statistics that a program adds at a time
======  ==========================================================  ==========================
"""

from __future__ import annotations

import math

from propensity.nn.kernels.triton.mixing import add_mixing
from propensity.nn.kernels.triton.plan import Plan
from propensity.nn.kernels.triton.writer import Writer, described_inside

#: Channels up to which loops over them are written out, which keeps what they read in registers.
UNROLLED = 8
#: Gradients of mixing matrices that a program sums.
GRADIENTS = 8192

_PROLOGUE = """
    thread = tl.arange(0, B * CP)
    node = tl.program_id(0) * B + thread // CP
    own = thread % CP
    inside = node < n_nodes
    row = node.to(tl.int64)
    zero = tl.zeros([B * CP], tl.float32)
    at = (row * (DQ * CP * 4)) + (own * 4)
"""


def source(plan: Plan) -> str:
    """Kernels ``mix``, ``spread`` and ``mix_gradient``."""
    return "\n\n".join(
        [
            _mix(plan),
            _spread(plan),
            _mix_gradient(plan),
        ]
    )


def _degrees(plan: Plan) -> list[tuple[int, range]]:
    return [(l, range(l * l, (l + 1) ** 2)) for l in range(plan.layout.l_max + 1)]


def _load(name: str, pointer: str, plan: Plan) -> list[str]:
    lines = []
    for q in range(-(-plan.harmonics // 4)):
        names = ", ".join(f"{name}{4 * q + i}" for i in range(4))
        lines.append(f"    {names} = _quad({pointer} + {q} * (CP * 4), inside)")
    return lines


def _store(name: str, pointer: str, plan: Plan) -> list[str]:
    lines = []
    for q in range(-(-plan.harmonics // 4)):
        held = [f"{name}{4 * q + i}" if 4 * q + i < plan.harmonics else "zero" for i in range(4)]
        lines.append(f"    _store_quad({pointer} + {q} * (CP * 4), inside, {', '.join(held)})")
    return lines


def _mix(plan: Plan) -> str:
    lines = [
        "@triton.jit",
        (
            "def mix(sums, mixing, residual, scale, shift, out, partial, n_nodes, RESIDUAL: tl.constexpr, "
            "AFFINE: tl.constexpr, B: tl.constexpr, CP: tl.constexpr, DQ: tl.constexpr):"
        ),
        *described_inside(
            "Eq. 11 and the residual; then a given batch norm (AFFINE) or the statistics of this block.",
            "sums, mixing, residual (RESIDUAL); scale (L, CP) and shift (CP,) (AFFINE).",
            "out (N, DQ, CP, 4); partial (blocks, L+1, CP): mean and squares (unless AFFINE).",
            "(particle, channel).",
        ),
        _PROLOGUE,
    ]
    lines += _mixed(plan) if plan.mixes_sums else _mixed_in_loops(plan)
    lines += ["    if RESIDUAL:"] + ["    " + line for line in _load("r", "residual + at", plan)]
    lines += [f"        o{k} += r{k}" for k in range(plan.harmonics)]
    lines += ["    if AFFINE:"]
    for l, components in _degrees(plan):
        lines += [f"        a = tl.load(scale + {l} * CP + own)"]
        lines += [
            f"        o{k} = o{k} * a" + (" + tl.load(shift + own)" if k == 0 else "") for k in components
        ]
    lines += [
        "    else:",
        f"        target = partial + tl.program_id(0) * ({plan.layout.l_max + 2} * CP) + tl.arange(0, CP)",
        "        count = tl.minimum(n_nodes - tl.program_id(0) * B, B).to(tl.float32)",
        "        mean = tl.sum(tl.reshape(tl.where(inside, o0, 0.0), [B, CP]), axis=0) / count",
        (
            "        deviation = tl.where(tl.reshape(inside, [B, CP]), tl.reshape(o0, [B, CP]) - mean[None,"
            " :], 0.0)"
        ),
        "        tl.store(target, mean)",
        "        tl.store(target + CP, tl.sum(deviation * deviation, axis=0))",
    ]
    for l, components in _degrees(plan)[1:]:
        squares = " + ".join(f"o{k} * o{k}" for k in components)
        lines += [
            f"        squares = tl.where(inside, {squares}, 0.0)",
            f"        tl.store(target + {l + 1} * CP, tl.sum(tl.reshape(squares, [B, CP]), axis=0))",
        ]
    return "\n".join(lines + _store("o", "out + at", plan)) + "\n"


def _mixed(plan: Plan) -> list[str]:
    w = Writer()
    w.depth = 1
    w.add("ci = own * 4")
    for k in range(plan.harmonics):
        w.add(f"o{k} = zero")
    add_mixing(plan, plan.paths, {}, True, w)
    return w.lines


def _mixed_in_loops(plan: Plan) -> list[str]:
    """The same where a thread has no room for all channels: each reads the sums of all."""
    lines: list[str] = []
    offset = 0
    for l, components in _degrees(plan):
        rows = plan.quads_of(l) * plan.padded_channels
        lines += [f"    o{k} = zero" for k in components]
        lines += [
            (
                f"    line = sums + (n_nodes.to(tl.int64) * {plan.first_sum(l)} + row *"
                f" {(2 * l + 1) * plan.quads_of(l)}) * (CP * 4)"
            ),
            f"    matrix = mixing + {offset} * (CP * 4) + (own * 4)",
        ]
        step = math.gcd(rows, 4)
        lines.append(f"    for q in range(0, {rows}, {step}):")
        for k in range(step):
            lines.append(f"        w0, w1, w2, w3 = _quad(matrix + (q + {k}) * (CP * 4), inside)")
            for m, component in enumerate(components):
                lines.append(f"        s0, s1, s2, s3 = _quad(line + ({m * rows + k} + q) * 4, inside)")
                lines.append(f"        o{component} += s0 * w0 + s1 * w1 + s2 * w2 + s3 * w3")
        offset += rows
    return lines


def _spread(plan: Plan) -> str:
    cp = plan.padded_channels
    lines = [
        "@triton.jit",
        "def spread(grad, mixing, out, n_nodes, B: tl.constexpr, CP: tl.constexpr, DQ: tl.constexpr):",
        *described_inside(
            "Gradient of the sums from that of the mixed features.",
            "grad (N, DQ, CP, 4), mixing, transposed.",
            "out, as sums.",
            "(particle, channel).",
        ),
        _PROLOGUE,
        "    mine = row * (DQ * CP * 4)",
    ]
    total = plan.first_mixing(plan.layout.l_max + 1)
    for l, components in _degrees(plan):
        n = plan.quads_of(l)
        if cp <= UNROLLED:
            for own in range(cp):
                lines += ["    " + line for line in _channel_of_grad(components, cp, own)]
        lines += [
            (
                f"    line = out + (n_nodes.to(tl.int64) * {plan.first_sum(l)} + row * {(2 * l + 1) * n}) *"
                " (CP * 4) + (own * 4)"
            ),
            f"    matrix = mixing + {plan.first_mixing(l)} * (CP * 4) + (own * 4)",
            f"    for q in range({n}):",
        ]
        for m in range(len(components)):
            lines += [f"        s{m}_{i} = zero" for i in range(4)]
        channels: list[int | str] = [*range(cp)] if cp <= UNROLLED else ["d"]
        for d in channels:
            indent = "        "
            if d == "d":
                lines.append("        for d in range(CP):")
                indent += "    "
                lines += [indent + line for line in _channel_of_grad(components, cp, d)]
            place = f"({d * total if isinstance(d, int) else f'd * {total}'} + q)"
            lines.append(f"{indent}w0, w1, w2, w3 = _quad(matrix + {place} * (CP * 4), inside)")
            for m in range(len(components)):
                lines += [f"{indent}s{m}_{i} += g{m}_{d} * w{i}" for i in range(4)]
        for m in range(len(components)):
            four = ", ".join(f"s{m}_{i}" for i in range(4))
            lines.append(f"        _store_quad(line + ({m * n} + q) * (CP * 4), inside, {four})")
    return "\n".join(lines) + "\n"


def _channel_of_grad(components: range, cp: int, d: int | str) -> list[str]:
    """Read the components of one channel of a particle's gradient, into g0_d, g1_d, …"""
    if d == "d":
        places = [f"({k // 4 * cp} + d) * 4 + {k % 4}" for k in components]
        return [
            f"g{m}_d = tl.load(grad + mine + {place}, mask=inside, other=0.0)"
            for m, place in enumerate(places)
        ]
    found = []
    for q in sorted({k // 4 for k in components}):
        held = [f"g{k - components[0]}_{d}" if k in components else "none" for k in range(4 * q, 4 * q + 4)]
        found.append(f"{', '.join(held)} = _quad(grad + mine + {(q * cp + int(d)) * 4}, inside)")
    return found


def mixing_rows(plan: Plan, l: int) -> tuple[int, int]:
    """Rows of the mixing matrix of l, and how many of them a program of ``mix_gradient`` sums."""
    rows = plan.quads_of(l) * plan.padded_channels * 4
    return rows, min(1 << (rows - 1).bit_length(), max(GRADIENTS // plan.padded_channels, 1))


def mixing_shares(plan: Plan) -> int:
    """Programs of ``mix_gradient`` between which the rows of the largest matrix are split."""
    found = (mixing_rows(plan, l) for l in range(plan.layout.l_max + 1))
    return max(-(-rows // share) for rows, share in found)


def _mix_gradient(plan: Plan) -> str:
    cp = plan.padded_channels
    lines = [
        "@triton.jit",
        (
            "def mix_gradient(sums, grad, partial, n_nodes, CP: tl.constexpr, DQ: tl.constexpr, START:"
            " tl.constexpr, STRIDE: tl.constexpr):"
        ),
        *described_inside(
            "Gradient of the mixing matrices from an equal share of the particles.",
            "sums, grad (N, DQ, CP, 4).",
            "partial (programs, STRIDE) from START.",
            "(row, channel); program_id(1) is an l_out, program_id(2) a share of its rows.",
        ),
        "    share = (n_nodes + tl.num_programs(0) - 1) // tl.num_programs(0)",
        "    first = tl.program_id(0) * share",
        "    last = tl.minimum(first + share, n_nodes)",
        "    d = tl.arange(0, CP)[None, :]",
    ]
    for l, components in _degrees(plan):
        rows, share = mixing_rows(plan, l)
        lines += [
            f"    if (tl.program_id(1) == {l}) & (tl.program_id(2) * {share} < {rows}):",
            f"        r = tl.program_id(2) * {share} + tl.arange(0, {share})[:, None]",
            f"        total = tl.zeros([{share}, CP], tl.float32)",
            "        node = first",
            "        while node < last:",
            "            at = node.to(tl.int64)",
            (
                f"            line = sums + (n_nodes.to(tl.int64) * {plan.first_sum(l)} + at *"
                f" {(2 * l + 1) * plan.quads_of(l)}) * (CP * 4) + r"
            ),
        ]
        for m, k in enumerate(components):
            lines += [
                f"            s = tl.load(line + {m * rows}, mask=r < {rows}, other=0.0)",
                (
                    f"            total += s * tl.load(grad + at * (DQ * CP * 4) + {k // 4} * (CP * 4) + d *"
                    f" 4 + {k % 4})"
                ),
            ]
        lines += [
            "            node += 1",
            (
                "        tl.store(partial + tl.program_id(0) * STRIDE + START +"
                f" ({plan.first_mixing(l) * cp * 4} + r) * CP + d, total, mask=r < {rows})"
            ),
        ]
    return "\n".join(lines) + "\n"
