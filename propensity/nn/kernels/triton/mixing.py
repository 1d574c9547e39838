"""Lines that mix sums where each thread holds those of its own channel: products with all, then sums over threads."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from propensity.nn.kernels.triton.plan import KernelPath, Plan
from propensity.nn.kernels.triton.writer import Writer


def add_mixing(
    plan: Plan, group: Collection[KernelPath], scale: Mapping[tuple[int, int], float], loaded: bool, w: Writer
) -> None:
    """Add to o what the sums s of a group of paths contribute to Eq. 11; ``scale`` are factors of (path, m), if any.

    With ``loaded`` the sums are read from memory.
    """
    cp = plan.padded_channels
    for l in range(plan.layout.l_max + 1):
        begun: set[str] = set()
        n = plan.quads_of(l)
        if loaded:
            first = f"n_nodes.to(tl.int64) * {plan.first_sum(l)} + row * {(2 * l + 1) * n}"
            w.add(f"line = sums + ({first}) * (CP * 4) + ci")
        for quad in range(n):
            paths = [path for path in group if path.l_out == l and path.rank // 4 == quad]
            if not paths:
                continue
            if loaded:
                for m in range(2 * l + 1):
                    names = {path.rank % 4: f"s{path.index}_{m}" for path in paths}
                    four = ", ".join(names.get(slot, f"none{slot}") for slot in range(4))
                    w.add(f"{four} = _quad(line + {m * n + quad} * (CP * 4), inside)")
            for d in range(cp):
                row = (plan.first_mixing(l) + quad) * cp * cp + d
                w.add(f"W0, W1, W2, W3 = _quad(mixing + {row * 4} + ci * CP, inside)")
                for path in paths:
                    for m in range(2 * l + 1):
                        name, factor = f"t{m}_{d}", scale.get((path.index, m))
                        held = f"s{path.index}_{m}" if factor is None else f"s{path.index}_{m} * {factor!r}"
                        w.add(f"{name} {'+=' if name in begun else '='} {held} * W{path.rank % 4}")
                        begun.add(name)
        for m in range(2 * l + 1 if begun else 0):
            parts = [f"t{m}_{d}" for d in range(cp)]
            bit = 1
            while len(parts) > 1:
                for x, y in zip(parts[::2], parts[1::2], strict=True):
                    w.add(f"{x} = _halved({x}, {y}, thread & {bit}, {bit})")
                parts, bit = parts[::2], 2 * bit
            w.add(f"o{l * l + m} += {parts[0]}")
