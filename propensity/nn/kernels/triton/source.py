"""Source of the Triton kernels of one layout: the Clebsch–Gordan sums, written out term by term.

One thread works for one (particle or edge, channel).  Numbers that a thread needs together lie in
groups of four, "quads", so that it reads 16 bytes at a time and the channels of an edge share a line:

- hidden features    (N, quads of (l, m), CP, 4)
- scalars            (N, quads of blocks of CP, CP, 4)
- edges              (E, 4): unit vector and place in the table of radial weights
- radial weights     (E / EB, quads of paths, EB, CP, 4): EB is 1, or the edges of a warp going backward
- sums               (N, for each l_out one block (N, m_out, quads of its paths, CP, 4), which a matrix
product mixes

CP is the number of channels rounded up to a power of two.
"""

from __future__ import annotations

from functools import cache

import torch
from e3nn.o3 import spherical_harmonics

from propensity.nn.kernels.clebsch import terms
from propensity.nn.kernels.triton.plan import KernelPath, Plan, quads

_HEADER = """
import triton
import triton.language as tl

"""

_QUADS = '''
@triton.jit
def _index(pointer, live):
    """A 32-bit integer a thread."""
    return tl.load(pointer, mask=live, other=0)


@triton.jit
def _store(pointer, live, x):
    """A number a thread."""
    tl.store(pointer, x, mask=live)


@triton.jit
def _quad(pointer, live):
    """Four numbers a thread, as four (T,) tensors."""
    four = tl.load(pointer[:, None] + tl.arange(0, 4)[None, :], mask=live[:, None], other=0.0)
    even, odd = tl.split(tl.reshape(four, [four.shape[0], 2, 2]))
    x0, x2 = tl.split(even)
    x1, x3 = tl.split(odd)
    return x0, x1, x2, x3


@triton.jit
def _store_quad(pointer, live, x0, x1, x2, x3):
    """Inverse of _quad."""
    pairs = tl.join(tl.join(x0, x2), tl.join(x1, x3))
    tl.store(pointer[:, None] + tl.arange(0, 4)[None, :], tl.reshape(pairs, [x0.shape[0], 4]), mask=live[:, None])

'''

# The same in PTX.  Triton compiles a load in a time that grows with the square of the size of the whole
# kernel
# (its pass TritonGPUCoalesce: 200 s for ``backward`` at l_max = 5), and leaves these alone.
_QUADS_PTX = '''
@triton.jit
def _index(pointer, live):
    """A 32-bit integer a thread."""
    return tl.inline_asm_elementwise(
        "mov.b32 $0, 0; @$2 ld.global.b32 $0, [$1];", "=&r,l,b", [pointer.to(tl.int64), live], dtype=tl.int32,
        is_pure=False, pack=1,
    )


@triton.jit
def _store(pointer, live, x):
    """A number a thread."""
    tl.inline_asm_elementwise(
        "@$2 st.global.f32 [$1], $3; mov.b32 $0, 0;", "=r,l,b,f", [pointer.to(tl.int64), live, x], dtype=tl.int32,
        is_pure=False, pack=1,
    )


@triton.jit
def _quad(pointer, live):
    """Four numbers a thread, as four (T,) tensors."""
    return tl.inline_asm_elementwise(
        "mov.f32 $0, 0f00000000; mov.f32 $1, 0f00000000; mov.f32 $2, 0f00000000; mov.f32 $3, 0f00000000; "
        "@$5 ld.global.v4.f32 {$0, $1, $2, $3}, [$4];",
        "=&f,=&f,=&f,=&f,l,b", [pointer.to(tl.int64), live], dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
        is_pure=False, pack=1,
    )


@triton.jit
def _store_quad(pointer, live, x0, x1, x2, x3):
    """Inverse of _quad."""
    tl.inline_asm_elementwise(
        "@$2 st.global.v4.f32 [$1], {$3, $4, $5, $6}; mov.b32 $0, 0;",
        "=r,l,b,f,f,f,f", [pointer.to(tl.int64), live, x0, x1, x2, x3], dtype=tl.int32, is_pure=False, pack=1,
    )

'''

_SUM = '''

@triton.jit
def sum_by_source(grad_edges, rows, edge_order, residual, grad, n_nodes, B: tl.constexpr, W: tl.constexpr, WIDTH: tl.constexpr):
    """Sum rows of ``grad_edges`` (E, WIDTH) that have the same source particle, and the residual's gradient."""
    node = tl.program_id(0) * B + tl.arange(0, B)
    inside = node < n_nodes
    begin = tl.load(rows + node, mask=inside, other=0)
    end = tl.load(rows + node + 1, mask=inside, other=0)
    column = tl.arange(0, W)[None, :]
    at = (node.to(tl.int64) * WIDTH)[:, None] + column
    held = inside[:, None] & (column < WIDTH)
    total = tl.load(residual + at, mask=held, other=0.0)
    steps = tl.max(end - begin, axis=0)
    k = 0
    while k < steps:
        live = begin + k < end
        edge = tl.load(edge_order + begin + k, mask=live, other=0).to(tl.int64)
        total += tl.load(grad_edges + (edge * WIDTH)[:, None] + column, mask=live[:, None] & (column < WIDTH), other=0.0)
        k += 1
    tl.store(grad + at, total, mask=held)
'''


def source(plan: Plan, ptx: bool) -> str:
    """Module text with the kernels ``forward`` and ``backward`` of a layout; ``ptx`` where they run on an
    NVIDIA GPU.
    """
    return _HEADER + (_QUADS_PTX if ptx else _QUADS) + _forward(plan) + "\n\n" + _backward(plan) + _SUM


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def load_quads(self, name: str, wanted: set[int], pointer: str, quad_stride: str, live: str) -> None:
        """Load the quads that hold the ``wanted`` numbers into name0, name1, …"""
        for q in sorted({k // 4 for k in wanted}):
            names = ", ".join(f"{name}{4 * q + i}" for i in range(4))
            self.add(f"{names} = _quad({pointer} + {q} * {quad_stride}, {live})")

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def _forward(plan: Plan) -> str:
    w = _Writer()
    w.add("@triton.jit")
    w.add(
        "def forward(hidden, scalars, edges, radial, order, rows, source, sums, first, n_nodes, TABLE:"
        " tl.constexpr, B: tl.constexpr, CP: tl.constexpr, DQ: tl.constexpr, PQ: tl.constexpr, NQ:"
        " tl.constexpr):"
    )
    w.depth = 1
    w.add('"""Σ_j relu(φ) · (Y ⊗ h_j) for B particles of ``order``."""')
    w.add("thread = tl.arange(0, B * CP)")
    w.add("slot = tl.program_id(0) * B + thread // CP")
    w.add("inside = slot < n_nodes")
    w.add("node = _index(order + slot, inside)")
    w.add("begin = _index(rows + node, inside)")
    w.add("end = _index(rows + node + 1, inside)")
    w.add("steps = tl.max(end - begin, axis=0)")
    w.add("ci = thread % CP * 4")
    w.add("zero = tl.zeros([B * CP], tl.float32)")
    w.add("group = tl.program_id(1)")
    for number, group in enumerate(plan.groups):
        w.add(f"if group == {number}:")
        w.depth = 2
        _forward_group(plan, group, w)
        w.depth = 1
    return w.text()


def _forward_group(plan: Plan, group: tuple[KernelPath, ...], w: _Writer) -> None:
    for path in group:
        for m in range(2 * path.l_out + 1):
            w.add(f"s{path.index}_{m} = zero")
    w.add("k = 0")
    # The source is known one edge ahead, so that reading it and then its features does not wait twice.
    w.add("following = _index(source + begin, begin < end)")
    w.add("while k < steps:")
    w.depth += 1
    w.add("edge = begin + k")
    w.add("k += 1")
    w.add("live = edge < end")
    w.add("j = following.to(tl.int64)")
    w.add("following = _index(source + edge + 1, edge + 1 < end)")
    w.add("at = edge.to(tl.int64)")
    _harmonics(max(path.l_filter for path in group), w)
    features = {path.l_in**2 + m for path in group if path.scalar < 0 for m in range(2 * path.l_in + 1)}
    w.load_quads("h", features, "hidden + j * (DQ * CP * 4) + ci", "(CP * 4)", "live")
    blocks = {path.scalar for path in group if path.scalar >= 0}
    w.load_quads("x", blocks, "scalars + j * (NQ * CP * 4) + ci", "(CP * 4)", "live")
    weights = {path.index for path in group}
    w.add("if TABLE:")
    w.depth += 1
    w.add("below = place.to(tl.int32)")
    w.add("part = place - below.to(tl.float32)")
    w.add("line = radial + below * (PQ * CP * 4) + ci")
    for q in sorted({k // 4 for k in weights}):
        names = [f"w{4 * q + i}" for i in range(4)]
        uppers = [f"u{i}" for i in range(4)]
        w.add(f"{', '.join(names)} = _quad(line + {q} * (CP * 4), live)")
        w.add(f"{', '.join(uppers)} = _quad(line + ((PQ + {q}) * CP * 4), live)")
        for name, upper in zip(names, uppers, strict=True):
            w.add(f"{name} = {name} + part * ({upper} - {name})")
    w.depth -= 1
    w.add("else:")
    w.depth += 1
    w.load_quads("w", weights, "radial + at * (PQ * CP * 4) + ci", "(CP * 4)", "live")
    w.depth -= 1
    for (l_in, scalar, l_filter), paths in _by_input(group).items():
        products: dict[tuple[int, int], str] = {}
        for path in paths:
            w.add(f"f = tl.maximum(w{path.index}, 0.0)")
            found = terms(l_in, l_filter, path.l_out)
            for t in found:
                key = (t.m_in, t.m_filter)
                if key not in products:
                    products[key] = f"p{t.m_in}_{t.m_filter}"
                    source_name = f"x{scalar}" if scalar >= 0 else f"h{l_in**2 + t.m_in}"
                    w.add(f"{products[key]} = {source_name} * y{l_filter**2 + t.m_filter}")
            for m in range(2 * path.l_out + 1):
                summands = [f"{products[t.m_in, t.m_filter]} * {t.value!r}" for t in found if t.m_out == m]
                w.add(f"s{path.index}_{m} += f * ({' + '.join(summands)})")
    w.depth -= 1
    w.add("row = (node - first).to(tl.int64)")
    for start in {(path.l_out, path.rank // 4): path for path in reversed(group)}.values():
        rows = (2 * start.l_out + 1) * plan.quads_of(start.l_out)
        w.add(
            f"target = sums + (n_nodes.to(tl.int64) * {plan.first_sum(start.l_out)} + row * {rows}) * (CP *"
            " 4) + ci"
        )
        for m in range(2 * start.l_out + 1):
            held = {path.rank: f"s{path.index}_{m}" for path in group if path.l_out == start.l_out}
            four = ", ".join(held.get(start.rank + k, "zero") for k in range(4))
            w.add(f"_store_quad(target + {plan.sum_quad(start, m)} * (CP * 4), inside, {four})")


def _harmonics(l_max: int, w: _Writer) -> None:
    """Y_l from Y_(l−1) and Y_1 by Clebsch–Gordan coupling, component normalised; zero where not live."""
    w.add("vx, vy, vz, place = _quad(edges + at * 4, live)")
    w.add("y0 = tl.where(live, 1.0, 0.0)")
    for m, name in enumerate(("vx", "vy", "vz")):
        if l_max:
            w.add(f"y{1 + m} = {name} * {3**0.5!r}")
    for l in range(2, l_max + 1):
        found = terms(1, l - 1, l)
        factor = _coupling_norm(l)
        for m in range(2 * l + 1):
            summands = [
                f"{('vx', 'vy', 'vz')[t.m_in]} * y{(l - 1) ** 2 + t.m_filter} * {t.value * factor!r}"
                for t in found
                if t.m_out == m
            ]
            w.add(f"y{l**2 + m} = {' + '.join(summands)}")


@cache
def _coupling_norm(l: int) -> float:
    """Factor that makes the coupling of a unit vector with Y_(l−1) equal Y_l."""
    vector = torch.tensor([[0.36, 0.48, 0.8]], dtype=torch.float64)
    lower, upper = (spherical_harmonics(k, vector, True, "component")[0] for k in (l - 1, l))
    coupled = torch.zeros(2 * l + 1, dtype=torch.float64)
    for t in terms(1, l - 1, l):
        coupled[t.m_out] += t.value * vector[0, t.m_in] * lower[t.m_filter]
    return float(upper @ coupled / (coupled @ coupled))


def _by_input(group: tuple[KernelPath, ...]) -> dict[tuple[int, int, int], list[KernelPath]]:
    found: dict[tuple[int, int, int], list[KernelPath]] = {}
    for path in sorted(group, key=lambda p: (p.scalar, p.l_in, p.l_filter, p.l_out)):
        found.setdefault((path.l_in, path.scalar, path.l_filter), []).append(path)
    return found


def _backward(plan: Plan) -> str:
    w = _Writer()
    w.add("@triton.jit")
    w.add(
        "def backward(hidden, scalars, edges, radial, source, destination, grad, grad_hidden, grad_harmonics,"
        " count, n_nodes, HARMONICS: tl.constexpr, B: tl.constexpr, CP: tl.constexpr, DQ: tl.constexpr, PQ:"
        " tl.constexpr, NQ: tl.constexpr, EB: tl.constexpr):"
    )
    w.depth = 1
    w.add('"""Edge by edge: ``radial`` becomes its gradient, and that of h_j is written for every edge."""')
    w.add("n_edges = tl.load(count)")
    w.add("thread = tl.arange(0, B * CP)")
    w.add("edge = tl.program_id(0) * B + thread // CP")
    w.add("live = edge < n_edges")
    w.add("at = edge.to(tl.int64)")
    w.add("j = _index(source + edge, live).to(tl.int64)")
    w.add("n = _index(destination + edge, live).to(tl.int64)")
    w.add("ci = thread % CP * 4")
    w.add("zero = tl.zeros([B * CP], tl.float32)")
    _harmonics(plan.layout.l_max, w)
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
    w.add("weights = radial + (at // EB * (PQ * EB * CP * 4) + at % EB * (CP * 4)) + ci")
    # Each quad of paths is loaded before the one ahead of it is used, to hide the wait for memory.
    n = quads(len(plan.paths))
    _load_ahead(plan, 0, w)
    for q in range(n):
        if q + 1 < n:
            _load_ahead(plan, q + 1, w)
        for slot in range(4):
            w.add(f"dw{slot} = zero")
        for path in plan.paths[4 * q : 4 * q + 4]:
            _backward_path(path, w)
        masked = ", ".join(f"tl.where(w{4 * q + slot} > 0.0, dw{slot}, 0.0)" for slot in range(4))
        w.add(f"_store_quad(weights + {q} * (EB * CP * 4), live, {masked})")
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


def _load_ahead(plan: Plan, q: int, w: _Writer) -> None:
    """Radial weights of a quad of paths, and the sums' gradients of the quads of sums that begin in it."""
    w.load_quads("w", {4 * q}, "weights", "(EB * CP * 4)", "live")
    for path in plan.paths[4 * q : 4 * q + 4]:
        if path.rank % 4 == 0:
            l, rows = path.l_out, (2 * path.l_out + 1) * plan.quads_of(path.l_out)
            w.add(f"sums = grad + (n_nodes.to(tl.int64) * {plan.first_sum(l)} + n * {rows}) * (CP * 4) + ci")
            for m in range(2 * l + 1):
                names = ", ".join(f"g{l}_{path.rank + i}_{m}" for i in range(4))
                w.add(f"{names} = _quad(sums + {plan.sum_quad(path, m)} * (CP * 4), live)")


def _backward_path(path: KernelPath, w: _Writer) -> None:
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
