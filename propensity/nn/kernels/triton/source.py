"""Source of the two Triton kernels of the tensor product: Clebsch–Gordan sums, written out term by term.

One thread works for one (particle or edge, channel).  Numbers that a thread needs together lie in
groups of four, "quads", so that it reads 16 bytes at a time and the channels of an edge share a line.

Symbols of all generated kernels
--------------------------------
======  =================================================================  ==============================
letter  meaning                                                            shape or value
======  =================================================================  ==============================
N, E    particles; edges, sorted by destination
CP      channels, rounded up to a power of two
DQ      quads of the (l, m) of features: ⌈(l_max+1)²/4⌉
NQ      quads of blocks of CP scalars
PQ      quads of paths
EB      edges whose radial weights lie together: 1, or a warp's (backward)
B       particles or edges of a program
h       features before the layer (``hidden``)                             (N, DQ, CP, 4)
x       what joins every layer (``scalars``)                               (N, NQ, CP, 4)
v       unit vector of an edge and its place in the table (``edges``)      (E, 4)
y       spherical harmonics of an edge, component normalised               ((l_max+1)²,) a thread
w, f    radial weights before and after their ReLU (``radial``)            (E/EB, PQ, EB, CP, 4)
u       the next line of the table of radial weights, to interpolate       as w
p       product of an input and a harmonic                                 one a thread
s       sums over neighbours (``sums``), one block an l_out                (N, m_out, quads of paths, CP, 4)
g       gradient of the sums (``grad``)                                    as s
dh, dw  gradients of h, w and y on an edge; dy likewise                    as h, w, y
k       neighbour number of a particle
======  =================================================================  ==============================
"""

from __future__ import annotations

from propensity.nn.kernels.clebsch import terms
from propensity.nn.kernels.triton import summing
from propensity.nn.kernels.triton.fragments import add_affine, add_fragments, add_hidden_units, add_made_quad
from propensity.nn.kernels.triton.harmonics import add_harmonics
from propensity.nn.kernels.triton.plan import KernelPath, Plan, quads
from propensity.nn.kernels.triton.writer import Writer, template


def source(plan: Plan, ptx: bool) -> str:
    """Module text with the kernels ``forward``, ``layer`` and ``backward`` of a layout; ``ptx`` where they run on an
    NVIDIA GPU.
    """
    loads = template("quads_ptx" if ptx else "quads")
    return "\n\n".join([loads, summing.source(plan), _backward(plan), template("sums")])


def _backward(plan: Plan) -> str:
    w = Writer()
    w.add("@triton.jit")
    w.add(
        "def backward(features, edges, radial, ends, grad, gradients, count, n_nodes, HARMONICS: tl.constexpr, B: tl.constexpr, CP: tl.constexpr, DQ: tl.constexpr, PQ:"
        " tl.constexpr, NQ: tl.constexpr, EB: tl.constexpr, MADE: tl.constexpr):"
    )
    w.depth = 1
    w.describe(
        "Gradients of f·Σ C·y·h·g with respect to w, h and y, edge by edge.",
        "features: hidden and scalars; edges; radial (with MADE also x, affine, weight as halves, bias and weight_back in two parts, of which"
        " it is made); ends: source (E,), destination (E,); grad (as sums); count (1,).",
        "radial, in place; gradients: of hidden (E, DQ, CP, 4) and, if HARMONICS, of harmonics (E, (l_max+1)²); with"
        " MADE those of the hidden units (E, 16) too.",
        "(edge, channel).",
    )
    w.add("hidden, scalars = features")
    w.add("source, destination = ends")
    w.add("grad_hidden, grad_harmonics, grad_units = gradients")
    w.add("n_edges = tl.load(count)")
    w.add("thread = tl.arange(0, B * CP)")
    w.add("edge = tl.program_id(0) * B + thread // CP")
    w.add("live = edge < n_edges")
    w.add("at = edge.to(tl.int64)")
    w.add("j = _index(source + edge, live).to(tl.int64)")
    w.add("n = _index(destination + edge, live).to(tl.int64)")
    w.add("ci = thread % CP * 4")
    # Many registers leave few warps to hide the wait for the sums' gradients, of which few edges share a particle's.
    for l in range(plan.layout.l_max + 1):
        rows = (2 * l + 1) * plan.quads_of(l) * plan.padded_channels * 4
        start = f"n_nodes.to(tl.int64) * {plan.first_sum(l)} * (CP * 4) + n * {rows}"
        w.ask_ahead(f"grad + {start}", rows, plan.padded_channels, "live")
    w.add("zero = tl.zeros([B * CP], tl.float32)")
    w.add("vx, vy, vz, place = _quad(edges + at * 4, live)")
    add_harmonics(plan.layout.l_max, w)
    has_hidden = plan.layout.channels_in > 0
    if has_hidden:
        place = "j * (DQ * CP * 4) + ci"
        w.load_quads("h", set(range(plan.harmonics)), f"hidden + {place}", "(CP * 4)", "live")
        for k in range(quads(plan.harmonics) * 4):
            w.add(f"dh{k} = zero")
    blocks = set(range(plan.scalar_blocks))
    w.load_quads("x", blocks, "scalars + j * (NQ * CP * 4) + ci", "(CP * 4)", "live")
    w.add("if HARMONICS:")
    w.depth += 1
    for k in range(plan.harmonics):
        w.add(f"dy{k} = zero")
    w.depth -= 1
    made = plan.in_matrix_units
    if made:
        w.add("if MADE:")
        w.depth += 1
        w.add("units, affine, weight, bias, back, back_rest, radial = radial")
        add_fragments(w)
        add_affine(w)
        w.add("n0, n1, n2, n3 = _quad(units + at * 16 + ci, live)")
        add_hidden_units(w, "n")
        w.add("back_of, back_rest_of = back + thread % 32 * 4, back_rest + thread % 32 * 4")
        w.add("u0, u1, u2, u3 = zero, zero, zero, zero")
        w.depth -= 1
    w.add("weights = radial + (at // EB * (PQ * EB * CP * 4) + at % EB * (CP * 4)) + ci")
    # Each quad of paths is loaded before the one ahead of it is used, to hide the wait for memory.
    n = quads(len(plan.paths))
    if made:
        w.add("if not MADE:")
        w.depth += 1
    _load_ahead(plan, 0, w)
    if made:
        w.depth -= 1
    for q in range(n):
        if made:
            w.add("if MADE:")
            w.depth += 1
            add_made_quad(w, q, {0, 1})
            _load_gradients(plan, q, w)
            w.depth -= 1
        if q + 1 < n:
            if made:
                w.add("else:")
                w.depth += 1
            _load_ahead(plan, q + 1, w)
            if made:
                w.depth -= 1
        for slot in range(4):
            w.add(f"dw{slot} = zero")
        for path in plan.paths[4 * q : 4 * q + 4]:
            _backward_path(path, w)
        for slot in range(4):
            w.add(f"dw{slot} = tl.where(w{4 * q + slot} > 0.0, dw{slot}, 0.0)")
        w.add(f"_store_quad(weights + {q} * (EB * CP * 4), live, dw0, dw1, dw2, dw3)")
        if made:
            w.add("if MADE:")
            w.depth += 1
            for a in (0, 2):
                place = (2 * q + a // 2) * 128
                w.add(
                    f"u0, u1, u2, u3 = _back(back_of + {place}, back_rest_of + {place}, dw{a}, dw{a + 1},"
                    " (u0, u1, u2, u3))"
                )
            w.depth -= 1
    if made:
        w.add("if MADE:")
        w.depth += 1
        w.add("first = tl.program_id(0) * B + thread // 32 * 8 + thread % 4 * 2")
        w.add("target = grad_units + first.to(tl.int64) * 16 + i")
        for k, place in enumerate((0, 16, 8, 24)):
            w.add(f"_store(target + {place}, first{' + 1' if k % 2 else ''} < n_edges, u{k})")
        w.depth -= 1
    if has_hidden:
        for q in range(quads(plan.harmonics)):
            names = ", ".join(f"dh{4 * q + i}" for i in range(4))
            w.add(f"_store_quad(grad_hidden + at * (DQ * CP * 4) + {q} * (CP * 4) + ci, live, {names})")
    w.add("if HARMONICS:")
    w.depth += 1
    w.add("own = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)")
    for k in range(plan.harmonics):
        w.add(
            f"_store(grad_harmonics + own * {plan.harmonics} + {k}, own < n_edges, tl.sum(tl.reshape(dy{k},"
            " [B, CP]), axis=1))"
        )
    w.depth -= 1
    return w.text()


def _load_ahead(plan: Plan, q: int, w: Writer) -> None:
    """Radial weights of a quad of paths, and the sums' gradients of the quads of sums that begin in it."""
    w.load_quads("w", {4 * q}, "weights", "(EB * CP * 4)", "live")
    _load_gradients(plan, q, w)


def _load_gradients(plan: Plan, q: int, w: Writer) -> None:
    for path in plan.paths[4 * q : 4 * q + 4]:
        if path.rank % 4 == 0:
            l, rows = path.l_out, (2 * path.l_out + 1) * plan.quads_of(path.l_out)
            w.add(f"sums = grad + (n_nodes.to(tl.int64) * {plan.first_sum(l)} + n * {rows}) * (CP * 4) + ci")
            for m in range(2 * l + 1):
                names = ", ".join(f"g{l}_{path.rank + i}_{m}" for i in range(4))
                w.add(f"{names} = _quad(sums + {plan.sum_quad(path, m)} * (CP * 4), live)")


def _backward_path(path: KernelPath, w: Writer) -> None:
    """Gradients of φ·Σ C·Y·h·g with respect to φ, h and Y."""
    slot, grad = path.index % 4, f"g{path.l_out}_{path.rank}"
    found = terms(path.l_in, path.l_filter, path.l_out)
    pairs: dict[tuple[int, int], list[str]] = {}
    for t in found:
        pairs.setdefault((t.m_in, t.m_out), []).append(f"y{path.l_filter**2 + t.m_filter} * {t.value!r}")
    w.add(f"f = tl.maximum(w{path.index}, 0.0)")
    for m in range(2 * path.l_in + 1):
        summands = [
            f"({' + '.join(coupling)}) * {grad}_{m_out}"
            for (m_in, m_out), coupling in pairs.items()
            if m_in == m
        ]
        w.add(f"v = {' + '.join(summands)}")
        if path.scalar < 0:
            w.add(f"dw{slot} += h{path.l_in**2 + m} * v")
            w.add(f"dh{path.l_in**2 + m} += f * v")
        else:
            w.add(f"dw{slot} += x{path.scalar} * v")
    w.add("if HARMONICS:")
    w.depth += 1
    for m in range(2 * path.l_filter + 1):
        inputs = [
            f"({f'x{path.scalar}' if path.scalar >= 0 else f'h{path.l_in**2 + t.m_in}'} * {grad}_{t.m_out}) *"
            f" {t.value!r}"
            for t in found
            if t.m_filter == m
        ]
        if inputs:
            w.add(f"dy{path.l_filter**2 + m} += f * ({' + '.join(inputs)})")
    w.depth -= 1
