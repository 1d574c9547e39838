"""Source of the two Triton kernels that sum over neighbours: ``forward``, and ``layer``, which mixes the sums too.

Symbols as in :mod:`propensity.nn.kernels.triton.source`, and beside those
----------------------------------------------------------------------------
=======  ================================================================  ==============================
letter   meaning                                                           shape
=======  ================================================================  ==============================
SLOTS    neighbours of a particle that are summed side by side
d        hidden units of the radial MLP that the thread makes weights of   4 a thread
l, u     two lines of a table of hidden units, to interpolate              as d
e        unit vector of the next edge, and its place in the table          as v
W        mixing matrices, one an l, rows by quads                          (quads of rows, CP, CP, 4)
o        features of a particle after mixing, (l, m) by (l, m)             ((l_max+1)²,) a thread
a        scale of the batch norm                                           (L, CP)
=======  ================================================================  ==============================

Radial weights come from one of four sources: a table of them (``TABLE``), hidden units of each edge (``MADE``), a table
of hidden units (both), or memory (neither).
"""

from __future__ import annotations

from propensity.nn.kernels.clebsch import terms
from propensity.nn.kernels.triton.fragments import (
    add_affine,
    add_fragments,
    add_halves,
    add_hidden_units,
    add_made_quad,
)
from propensity.nn.kernels.triton.harmonics import add_harmonics
from propensity.nn.kernels.triton.mixing import add_mixing
from propensity.nn.kernels.triton.plan import KernelPath, Plan, quads
from propensity.nn.kernels.triton.writer import Writer

Group = tuple[KernelPath, ...]
CONSTANTS = ", ".join(
    f"{name}: tl.constexpr" for name in ("TABLE", "MADE", "B", "SLOTS", "CP", "DQ", "PQ", "NQ")
)
RADIAL = (
    "radial (a table with TABLE; with MADE x, affine, weight as halves and bias, of which they are made; with both a table"
    " of d, weight as halves and bias)"
)


def source(plan: Plan) -> str:
    """Kernel ``forward``, and ``layer`` where a thread has room for what it mixes."""
    return "\n\n".join([_forward(plan), _layer(plan)] if plan.mixes_sums else [_forward(plan)])


def _forward(plan: Plan) -> str:
    w = Writer()
    w.add("@triton.jit")
    w.add(f"def forward(features, edges, radial, lists, sums, first, n_nodes, {CONSTANTS}):")
    w.depth = 1
    w.describe(
        "Σ_j relu(φ) · (Y ⊗ h_j) for the particles of ``order``.",
        f"features: hidden and scalars; edges; {RADIAL}; lists: order (N,), rows (N+1,), source (E,).",
        "sums.",
        "(particle, slot, channel); program_id(1) is a group of paths.",
    )
    _add_particles(plan, w)
    w.add("group = tl.program_id(1)")
    for number, group in enumerate(plan.groups):
        w.add(f"if group == {number}:")
        w.depth = 2
        _store_sums(plan, group, _add_sums(plan, group, w), w)
        w.depth = 1
    return w.text()


def _layer(plan: Plan) -> str:
    w = Writer()
    w.add("@triton.jit")
    w.add(
        "def layer(features, edges, radial, lists, mixing, norm, after, n_nodes, RESIDUAL: tl.constexpr,"
        f" {CONSTANTS}):"
    )
    w.depth = 1
    w.describe(
        "``forward`` and ``mix`` of a layer whose batch norm is given.",
        f"features: hidden and scalars; edges; {RADIAL}; lists: order (N,), rows (N+1,), source (E,); mixing; norm: scale"
        " (L, CP) and shift (CP,).",
        "after, as hidden.",
        "(particle, slot, channel), for one group of paths after the other.",
    )
    _add_particles(plan, w)
    for k in range(quads(plan.harmonics) * 4):
        w.add(f"o{k} = zero")
    for group in plan.groups:
        add_mixing(plan, group, _add_sums(plan, group, w), False, w)
    w.add("scale, shift = norm")
    w.add("own = thread % CP")
    w.add("at = node.to(tl.int64) * (DQ * CP * 4) + ci")
    for k in range(plan.harmonics):
        w.add(f"o{k} = _over_slots(o{k}, CP, SLOTS)")
    w.add("if RESIDUAL:")
    w.depth += 1
    w.load_quads("r", set(range(plan.harmonics)), "hidden + at", "(CP * 4)", "mine")
    for k in range(plan.harmonics):
        w.add(f"o{k} += r{k}")
    w.depth -= 1
    for l in range(plan.layout.l_max + 1):
        w.add(f"a = _number(scale + {l} * CP + own, inside)")
        for k in range(l * l, (l + 1) ** 2):
            w.add(f"o{k} = o{k} * a" + (" + _number(shift + own, inside)" if k == 0 else ""))
    for q in range(quads(plan.harmonics)):
        names = ", ".join(f"o{4 * q + i}" for i in range(4))
        w.add(f"_store_quad(after + at + {q} * (CP * 4), mine, {names})")
    return w.text()


def _add_particles(plan: Plan, w: Writer) -> None:
    """Which particle a thread works for, and where its edges lie."""
    w.add("hidden, scalars = features")
    w.add("order, rows, source = lists")
    w.add("thread = tl.arange(0, B * SLOTS * CP)")
    w.add("number = tl.program_id(0) * B + thread // (SLOTS * CP)")
    w.add("inside = number < n_nodes")
    w.add("node = _index(order + number, inside)")
    w.add("slot = thread // CP % SLOTS")
    w.add("mine = inside & (slot == 0)")
    w.add("begin = _index(rows + node, inside)")
    w.add("end = _index(rows + node + 1, inside)")
    w.add("steps = tl.max(end - begin, axis=0)")
    w.add("begin += slot")
    w.add("ci = thread % CP * 4")
    w.add("zero = tl.zeros([B * SLOTS * CP], tl.float32)")
    if plan.in_matrix_units:
        w.add("if MADE:")
        w.depth += 1
        w.add("if TABLE:")
        w.add("    units, weight, bias = radial")
        w.add("else:")
        w.add("    units, affine, weight, bias = radial")
        add_fragments(w)
        w.add("if not TABLE:")
        w.depth += 1
        add_affine(w)
        w.depth -= 2


def _add_sums(plan: Plan, group: Group, w: Writer) -> dict[tuple[int, int], float]:
    """The loop over neighbours; factors by which the sums of (path, m) are still to be multiplied."""
    for path in group:
        for m in range(2 * path.l_out + 1):
            w.add(f"s{path.index}_{m} = zero")
    # The edge's vector and source are known one step ahead, so that what they lead to is not waited for twice.
    w.add("k = 0")
    w.add("following = _index(source + begin, begin < end)")
    w.add("vx, vy, vz, place = _quad(edges + begin.to(tl.int64) * 4, begin < end)")
    if plan.in_matrix_units:
        _add_first_units(w)
    w.add("while k < steps:")
    w.depth += 1
    w.add("edge = begin + k")
    w.add("k += SLOTS")
    w.add("live = edge < end")
    w.add("ahead = edge + SLOTS")
    w.add("more = ahead < end")
    w.add("j = following.to(tl.int64)")
    w.add("following = _index(source + ahead, more)")
    w.add("ex, ey, ez, eplace = _quad(edges + ahead.to(tl.int64) * 4, more)")
    add_harmonics(max(path.l_filter for path in group), w)
    features = {path.l_in**2 + m for path in group if path.scalar < 0 for m in range(2 * path.l_in + 1)}
    w.load_quads("h", features, "hidden + j * (DQ * CP * 4) + ci", "(CP * 4)", "live")
    blocks = {path.scalar for path in group if path.scalar >= 0}
    w.load_quads("x", blocks, "scalars + j * (NQ * CP * 4) + ci", "(CP * 4)", "live")
    _add_weights(plan, {path.index for path in group}, w)
    # Sums leave out the coefficient of their first term until they are mixed or stored.
    scale: dict[tuple[int, int], float] = {}
    for (l_in, scalar, l_filter), paths in _by_input(group).items():
        products: dict[tuple[int, int], str] = {}
        for path in paths:
            w.add(f"f = tl.maximum(w{path.index}, 0.0)")
            found = terms(l_in, l_filter, path.l_out)
            for t in found:
                key = (t.m_in, t.m_filter)
                source_name = f"x{scalar}" if scalar >= 0 else f"h{l_in**2 + t.m_in}"
                if key not in products and l_filter:
                    products[key] = f"p{t.m_in}_{t.m_filter}"
                    w.add(f"{products[key]} = {source_name} * y{l_filter**2 + t.m_filter}")
                products.setdefault(key, source_name)  # Y_0 = 1
            for m in range(2 * path.l_out + 1):
                of_m = [t for t in found if t.m_out == m]
                first = scale[path.index, m] = of_m[0].value
                summands = [f"{products[t.m_in, t.m_filter]} * {t.value / first!r}" for t in of_m[1:]]
                summands.insert(0, products[of_m[0].m_in, of_m[0].m_filter])
                w.add(f"s{path.index}_{m} += f * ({' + '.join(summands)})")
    if plan.in_matrix_units:
        w.add("if MADE and TABLE:")
        for k in range(4):
            w.add(f"    d{k} = l{k} + part * (u{k} - l{k})")
    w.add("vx, vy, vz, place = ex, ey, ez, eplace")
    w.depth -= 1
    return scale


def _add_first_units(w: Writer) -> None:
    """Hidden units of a thread's first edge."""
    w.add("if MADE:")
    w.depth += 1
    w.add("if TABLE:")
    w.depth += 1
    _add_two_lines("place", "begin < end", w)
    for k in range(4):
        w.add(f"d{k} = l{k} + part * (u{k} - l{k})")
    w.depth -= 1
    w.add("else:")
    w.add("    n0, n1, n2, n3 = _quad(units + begin.to(tl.int64) * 16 + ci, begin < end)")
    w.depth -= 1


def _add_two_lines(place: str, live: str, w: Writer) -> None:
    """Two lines of a table of hidden units."""
    w.add(f"below = {place}.to(tl.int32)")
    w.add(f"part = {place} - below.to(tl.float32)")
    w.add(f"l0, l1, l2, l3 = _quad(units + below * 16 + ci, {live})")
    w.add(f"u0, u1, u2, u3 = _quad(units + below * 16 + 16 + ci, {live})")


def _add_weights(plan: Plan, weights: set[int], w: Writer) -> None:
    """Radial weights of an edge, before their ReLU."""
    held = sorted({k // 4 for k in weights})
    if plan.in_matrix_units:
        w.add("if MADE:")
        w.depth += 1
        w.add("if TABLE:")
        w.depth += 1
        add_halves(w)
        _add_two_lines("eplace", "more", w)
        w.depth -= 1
        w.add("else:")
        w.depth += 1
        add_hidden_units(w, "n")
        w.add("n0, n1, n2, n3 = _quad(units + ahead.to(tl.int64) * 16 + ci, more)")
        w.depth -= 1
        for q in held:
            add_made_quad(w, q, {k % 4 // 2 for k in weights if k // 4 == q})
        w.depth -= 1
        w.add("elif TABLE:")
    else:
        w.add("if TABLE:")
    w.depth += 1
    w.add("below = place.to(tl.int32)")
    w.add("part = place - below.to(tl.float32)")
    w.add("line = radial + below * (PQ * CP * 4) + ci")
    for q in held:
        names = [f"w{4 * q + i}" for i in range(4)]
        uppers = [f"u{i}" for i in range(4)]
        w.add(f"{', '.join(names)} = _quad(line + {q} * (CP * 4), live)")
        w.add(f"{', '.join(uppers)} = _quad(line + ((PQ + {q}) * CP * 4), live)")
        for name, upper in zip(names, uppers, strict=True):
            w.add(f"{name} = {name} + part * ({upper} - {name})")
    w.depth -= 1
    w.add("else:")
    w.depth += 1
    w.load_quads("w", weights, "radial + edge.to(tl.int64) * (PQ * CP * 4) + ci", "(CP * 4)", "live")
    w.depth -= 1


def _store_sums(plan: Plan, group: Group, scale: dict[tuple[int, int], float], w: Writer) -> None:
    for path in group:
        for m in range(2 * path.l_out + 1):
            w.add(f"s{path.index}_{m} = _over_slots(s{path.index}_{m}, CP, SLOTS)")
    w.add("row = (node - first).to(tl.int64)")
    for start in {(path.l_out, path.rank // 4): path for path in reversed(group)}.values():
        rows = (2 * start.l_out + 1) * plan.quads_of(start.l_out)
        w.add(
            f"target = sums + (n_nodes.to(tl.int64) * {plan.first_sum(start.l_out)} + row * {rows}) * (CP *"
            " 4) + ci"
        )
        four = plan.quad_of_sums(start)
        others = any(path not in group for path in four if path)
        for m in range(2 * start.l_out + 1):
            held = [f"s{p.index}_{m} * {scale[p.index, m]!r}" if p in group else "zero" for p in four]
            place = f"target + {plan.sum_quad(start, m)} * (CP * 4)"
            if not others:
                w.add(f"_store_quad({place}, mine, {', '.join(held)})")
                continue
            # Who has the first path fills the places that no path has.
            own = [k for k, path in enumerate(four) if path in group or (path is None and four[0] in group)]
            for k in own:
                w.add(f"_store({place} + {k}, mine, {held[k]})")


def _by_input(group: Group) -> dict[tuple[int, int, int], list[KernelPath]]:
    found: dict[tuple[int, int, int], list[KernelPath]] = {}
    for path in sorted(group, key=lambda p: (p.scalar, p.l_in, p.l_filter, p.l_out)):
        found.setdefault((path.l_in, path.scalar, path.l_filter), []).append(path)
    return found
