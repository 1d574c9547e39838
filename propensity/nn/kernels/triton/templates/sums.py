"""Sums over edges of a source and over the rows that programs left; symbols as in
:mod:`propensity.nn.kernels.triton.source`.
"""

# mypy: ignore-errors
# ruff: noqa: F821
# Read as text, never imported: Triton compiles it together with the kernels of a layout.

import triton
import triton.language as tl


@triton.jit
def _over_slots(x, CP: tl.constexpr, SLOTS: tl.constexpr):
    """Sum over the slots of a particle, the same for each of them."""
    for bit in tl.static_range(5):
        if SLOTS > (1 << bit):
            x += _partner(x, CP << bit)
    return x


@triton.jit
def _halved(x, y, upper, BIT: tl.constexpr):
    """Sum over two threads: of x for the lower, of y for the upper."""
    return tl.where(upper != 0, y, x) + _partner(tl.where(upper != 0, x, y), BIT)


@triton.jit
def sum_by_source(
    grad_edges,
    rows,
    edge_order,
    residual,
    grad,
    n_nodes,
    B: tl.constexpr,
    W: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Gradient of the features of each particle: rows of its edges as a source, and the residual's.

    Reads   grad_edges (E, WIDTH), rows (N+1,) and edge_order (E,) by source, residual (N, WIDTH).
    Writes  grad (N, WIDTH).
    One program is B particles, one element a column.
    """
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
        total += tl.load(
            grad_edges + (edge * WIDTH)[:, None] + column, mask=live[:, None] & (column < WIDTH), other=0.0
        )
        k += 1
    tl.store(grad + at, total, mask=held)


@triton.jit
def total(partial, out, first_rows, n_rows, split, width, T: tl.constexpr, R: tl.constexpr):
    """Sums over rows: of columns before ``split`` over the first rows, of the others over all.

    Reads   partial (n_rows, width).
    Writes  out (width,).
    One program is T columns, one element a row and column.
    """
    column = tl.program_id(0) * T + tl.arange(0, T)
    rows = tl.where(column < split, first_rows, n_rows)
    found = tl.zeros([R, T], tl.float32)
    start = 0
    while start < n_rows:
        row = start + tl.arange(0, R)
        at = partial + row.to(tl.int64)[:, None] * width + column[None, :]
        found += tl.load(at, mask=(row[:, None] < rows[None, :]) & (column < width)[None, :], other=0.0)
        start += R
    tl.store(out + column, tl.sum(found, axis=0), mask=column < width)
