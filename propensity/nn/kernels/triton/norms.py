"""Source of the Triton kernels of the equivariant batch norm; symbols as in :mod:`.nodes`.

Statistics of a batch are combined from those of blocks (Chan's formula), so that their error does not grow with
the mean.
"""

from __future__ import annotations

from propensity.nn.kernels.triton.nodes import _PROLOGUE, _degrees, _load, _store
from propensity.nn.kernels.triton.plan import Plan
from propensity.nn.kernels.triton.writer import described_inside


def source(plan: Plan) -> str:
    """Kernels ``statistics``, ``normalise``, ``norm_sums`` and ``norm_backward``."""
    return "\n\n".join([_statistics(plan), _normalise(plan), _norm_sums(plan), _norm_backward(plan)])


def _statistics(plan: Plan) -> str:
    kinds = plan.layout.l_max + 2
    lines = [
        "@triton.jit",
        (
            "def statistics(partial, norm, found, n_nodes, n_blocks, momentum, eps, B: tl.constexpr, CP:"
            " tl.constexpr, C: tl.constexpr, R: tl.constexpr):"
        ),
        *described_inside(
            "Combine blocks into the batch norm's scale and shift; update the running statistics.",
            "partial (blocks, L+1, CP), norm: weight (L, C), bias (C,), running mean (C,) and variance (L, C).",
            "found: scale (L, CP), shift (CP,), mean (CP,) and inverse (L, CP); and the running statistics.",
            "channel; there is one program.",
        ),
        "    weight, bias, running_mean, running_var = norm",
        "    scale, shift, mean, inverse = found",
        "    c = tl.arange(0, CP)",
        "    held = c < C",
        "    r = tl.arange(0, R)",
        "    total = tl.zeros([CP], tl.float32)",
        "    start = 0",
        "    while start < n_blocks:",
        "        block = start + r",
        "        count = tl.maximum(tl.minimum(n_nodes - block * B, B), 0).to(tl.float32)",
        f"        at = partial + (block * ({kinds} * CP))[:, None] + c[None, :]",
        (
            "        total += tl.sum(tl.load(at, mask=(block < n_blocks)[:, None], other=0.0) * count[:,"
            " None], axis=0)"
        ),
        "        start += R",
        "    average = total / n_nodes",
    ]
    lines += [f"    t{k} = tl.zeros([CP], tl.float32)" for k in range(1, kinds)]
    lines += [
        "    start = 0",
        "    while start < n_blocks:",
        "        block = start + r",
        "        count = tl.maximum(tl.minimum(n_nodes - block * B, B), 0).to(tl.float32)",
        f"        at = partial + (block * ({kinds} * CP))[:, None] + c[None, :]",
        "        there = (block < n_blocks)[:, None]",
        "        away = tl.load(at, mask=there, other=0.0) - average[None, :]",
        "        t1 += tl.sum(away * away * count[:, None], axis=0)",
    ]
    lines += [
        f"        t{k} += tl.sum(tl.load(at + {k} * CP, mask=there, other=0.0), axis=0)"
        for k in range(1, kinds)
    ]
    lines += ["        start += R"]
    for l in range(plan.layout.l_max + 1):
        lines += [
            f"    variance = t{l + 1} / (n_nodes.to(tl.float32) * {2 * l + 1})",
            "    power = 1.0 / tl.sqrt(variance + eps)",
            f"    factor = power * tl.load(weight + {l} * C + c, mask=held, other=0.0)",
            f"    tl.store(inverse + {l} * CP + c, power)",
            f"    tl.store(scale + {l} * CP + c, factor)",
            f"    old = tl.load(running_var + {l} * C + c, mask=held, other=0.0)",
            f"    tl.store(running_var + {l} * C + c, old + momentum * (variance - old), mask=held)",
        ]
        if l == 0:
            lines += [
                "    tl.store(mean + c, average)",
                "    tl.store(shift + c, tl.load(bias + c, mask=held, other=0.0) - average * factor)",
                "    old = tl.load(running_mean + c, mask=held, other=0.0)",
                "    tl.store(running_mean + c, old + momentum * (average - old), mask=held)",
            ]
    return "\n".join(lines) + "\n"


def _normalise(plan: Plan) -> str:
    lines = [
        "@triton.jit",
        (
            "def normalise(features, scale, shift, out, n_nodes, B: tl.constexpr, CP: tl.constexpr, DQ:"
            " tl.constexpr):"
        ),
        *described_inside(
            "scale · features + shift.",
            "features, scale (L, CP), shift (CP,).",
            "out.",
            "(particle, channel).",
        ),
        _PROLOGUE,
        *_load("o", "features + at", plan),
    ]
    for l, components in _degrees(plan):
        lines += [f"    a = tl.load(scale + {l} * CP + own)"]
        lines += [f"    o{k} = o{k} * a" + (" + tl.load(shift + own)" if k == 0 else "") for k in components]
    return "\n".join(lines + _store("o", "out + at", plan)) + "\n"


def _norm_sums(plan: Plan) -> str:
    lines = [
        "@triton.jit",
        (
            "def norm_sums(grad, features, mean, inverse, partial, n_nodes, B: tl.constexpr, CP:"
            " tl.constexpr, DQ: tl.constexpr):"
        ),
        *described_inside(
            "Σ g and Σ g·û of a block: gradients of bias and weight of the batch norm.",
            "grad, features, mean (CP,), inverse (L, CP).",
            "partial (blocks, L+1, CP).",
            "(particle, channel).",
        ),
        _PROLOGUE,
        *_load("g", "grad + at", plan),
        *_load("u", "features + at", plan),
        "    u0 = u0 - tl.load(mean + own)",
        f"    target = partial + tl.program_id(0) * ({plan.layout.l_max + 2} * CP) + tl.arange(0, CP)",
        "    tl.store(target, tl.sum(tl.reshape(g0, [B, CP]), axis=0))",
    ]
    for l, components in _degrees(plan):
        products = " + ".join(f"g{k} * u{k}" for k in components)
        lines += [
            f"    product = ({products}) * tl.load(inverse + {l} * CP + own)",
            f"    tl.store(target + {l + 1} * CP, tl.sum(tl.reshape(product, [B, CP]), axis=0))",
        ]
    return "\n".join(lines) + "\n"


def _norm_backward(plan: Plan) -> str:
    kinds = plan.layout.l_max + 2
    lines = [
        "@triton.jit",
        (
            "def norm_backward(grad, features, mean, inverse, scale, totals, out, n_nodes, "
            "B: tl.constexpr, CP: tl.constexpr, DQ: tl.constexpr):"
        ),
        *described_inside(
            f"Gradient before the batch norm from the {kinds} totals of norm_sums.",
            "grad, features, mean (CP,), inverse and scale (L, CP), totals (L+1, CP).",
            "out.",
            "(particle, channel).",
        ),
        _PROLOGUE,
        *_load("g", "grad + at", plan),
        *_load("u", "features + at", plan),
        "    u0 = u0 - tl.load(mean + own)",
        "    g0 = g0 - tl.load(totals + own) / n_nodes",
    ]
    for l, components in _degrees(plan):
        lines += [
            f"    a = tl.load(scale + {l} * CP + own)",
            f"    power = tl.load(inverse + {l} * CP + own)",
            f"    b = power * tl.load(totals + {l + 1} * CP + own) / (n_nodes.to(tl.float32) * {2 * l + 1})",
        ]
        lines += [f"    o{k} = a * (g{k} - b * u{k})" for k in components]
    return "\n".join(lines + _store("o", "out + at", plan)) + "\n"
