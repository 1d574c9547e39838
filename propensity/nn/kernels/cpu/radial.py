"""The radial MLP on the CPU, 16 edges at a time: batch norm and dropout act edge by edge.

Hidden units are computed again from the radial basis wherever they are needed.

Symbols (every number is a vector of LANES edges)
-------------------------------------------------
===========  =====================================================  ==================
letter       meaning                                                shape
===========  =====================================================  ==================
basis        Bessel functions of the edges of a slot row            (n_basis,)
x            hidden units before batch norm                         (hidden,)
u            after batch norm, ReLU and dropout                     (hidden,)
inner        first layer of the MLP                                 (n_basis, hidden)
outer        last layer of the MLP                                  (hidden, n_comb)
at, to       where a matrix or its result begins in a flat array
===========  =====================================================  ==================
"""

# mypy: disable-error-code="call-arg, var-annotated"
# numba hands typing contexts to intrinsics, which mypy cannot see.

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from propensity.compiling import njit
from propensity.nn.kernels.cpu.blocks import (
    WIDE,
    add_outer_products,
    add_products,
    read_block,
    spread_block,
    write_block,
)
from propensity.simd import (
    LANES,
    add,
    fma,
    lane_sum,
    load,
    mul,
    splat,
    spread,
    store,
    where_bits,
    where_positive,
)

#: Slot rows whose features, hidden units and gradients exist at the same time in each thread: about 0.4 MB.
ROWS = 16


# numba's cache on disk names the classes of arguments: one that is renamed breaks caches of older versions.
class Edges(NamedTuple):
    """Edges in slots: tile, neighbour number, lane."""

    node: np.ndarray  # particle of each lane of each tile; idle lanes: N
    start: np.ndarray  # first slot row of each tile
    source: np.ndarray  # neighbour in each slot, 0 where idle
    live: np.ndarray  # lanes of each slot row that hold an edge, one bit each
    harmonics: np.ndarray  # (slot rows · harmonics · LANES), 0 where idle
    basis: np.ndarray  # (slot rows · n_basis · LANES)


class Linear(NamedTuple):
    """One layer of an MLP."""

    matrix: np.ndarray  # (inputs, outputs)
    bias: np.ndarray  # (outputs,)


class Radial(NamedTuple):
    """Radial MLP: relu(outer(kept(scale · relu(inner(basis)) + shift)))."""

    kept: np.ndarray  # (slot rows · hidden): lanes that dropout keeps, one bit each
    inner: Linear  # n_basis to hidden
    scale: np.ndarray  # (hidden,), batch norm and dropout's 1/keep in one
    shift: np.ndarray  # (hidden,)
    outer: Linear  # hidden to n_comb


class Norm(NamedTuple):
    """Batch norm of the hidden units, to go back through."""

    moments: np.ndarray  # (2, hidden), mean and 1/σ
    gamma: np.ndarray  # (hidden,), weight
    means: np.ndarray  # (2, hidden), what it takes away: mean gradient, and that along the normalised units


class InnerGradients(NamedTuple):
    """Gradients around the first layer."""

    units: np.ndarray  # (slot rows · hidden · LANES), read: of the hidden units after batch norm
    basis: np.ndarray  # (slot rows · n_basis · LANES)


@njit
def scratch(vectors, like):
    """Flat array for ``vectors`` vectors that starts at a cache line, lest every load touches two."""
    array = np.empty((vectors + 8) * LANES, like.dtype)
    skip = (-array.ctypes.data % 64) // array.itemsize
    return array[skip : skip + vectors * LANES]


@njit
def dense(layer, vectors, at, first, last, out, to, relu):
    """Outputs of a layer for a slot row: bias + Σ_k matrix[k, o] · vectors[at + k], after a ReLU or not.

    Reads   layer, the vectors from ``at``.
    Writes  vectors ``to`` + o of out, for first ≤ o < last.
    One lane is one edge.
    """
    matrix, bias = layer
    n_in, width = matrix.shape
    flat = matrix.reshape(-1)
    o = first
    while o < last:
        if o + 8 <= last:
            t0, t1, t2, t3 = spread(bias, o), spread(bias, o + 1), spread(bias, o + 2), spread(bias, o + 3)
            t4, t5, t6, t7 = (
                spread(bias, o + 4),
                spread(bias, o + 5),
                spread(bias, o + 6),
                spread(bias, o + 7),
            )
            for k in range(n_in):
                v = load(vectors, (at + k) * LANES)
                m = k * width + o
                t0 = fma(spread(flat, m), v, t0)
                t1 = fma(spread(flat, m + 1), v, t1)
                t2 = fma(spread(flat, m + 2), v, t2)
                t3 = fma(spread(flat, m + 3), v, t3)
                t4 = fma(spread(flat, m + 4), v, t4)
                t5 = fma(spread(flat, m + 5), v, t5)
                t6 = fma(spread(flat, m + 6), v, t6)
                t7 = fma(spread(flat, m + 7), v, t7)
            if relu:
                t0, t1, t2, t3 = (
                    where_positive(t0, t0),
                    where_positive(t1, t1),
                    where_positive(t2, t2),
                    where_positive(t3, t3),
                )
                t4, t5, t6, t7 = (
                    where_positive(t4, t4),
                    where_positive(t5, t5),
                    where_positive(t6, t6),
                    where_positive(t7, t7),
                )
            p = (to + o) * LANES
            store(out, p, t0)
            store(out, p + LANES, t1)
            store(out, p + 2 * LANES, t2)
            store(out, p + 3 * LANES, t3)
            store(out, p + 4 * LANES, t4)
            store(out, p + 5 * LANES, t5)
            store(out, p + 6 * LANES, t6)
            store(out, p + 7 * LANES, t7)
            o += 8
        else:
            t0 = spread(bias, o)
            for k in range(n_in):
                t0 = fma(spread(flat, k * width + o), load(vectors, (at + k) * LANES), t0)
            if relu:
                t0 = where_positive(t0, t0)
            store(out, (to + o) * LANES, t0)
            o += 1


@njit
def dense_rows(layer, vectors, rows, out):
    """As :func:`dense` for all outputs of several rows, two at a time, without a ReLU.

    Reads   layer, vectors (rows, inputs).
    Writes  vectors (rows, outputs) of out.
    One lane is one edge.
    """
    matrix, bias = layer
    n_in, width = matrix.shape
    flat, whole = matrix.reshape(-1), width // WIDE * WIDE
    for r in range(0, rows, 2):
        s = min(r + 1, rows - 1)
        for o in range(0, whole, WIDE):
            block = spread_block(bias, o)
            for k in range(n_in):
                place = k * width + o
                block = add_products(
                    block, flat, place, vectors, (r * n_in + k) * LANES, (s * n_in + k) * LANES
                )
            write_block(block, out, (r * width + o) * LANES, (s * width + o) * LANES)
        for each in range(r, s + 1):
            dense(layer, vectors, each * n_in, whole, width, out, each * width, False)


@njit
def add_outer(rows, a, at_a, n_a, b, at_b, n_b, total):
    """Outer products Σ_row a[row, i] · b[row, j], and Σ_row a[row, i].

    Reads   vectors (rows, n_a) of a from ``at_a`` and (rows, n_b) of b from ``at_b``.
    Writes  added to vectors i·(n_b+1) + j of total, and to the one after those of i.
    One lane is one edge.
    """
    for first in range(0, n_a, 2):
        i, k = (at_a + first) * LANES, (at_a + min(first + 1, n_a - 1)) * LANES
        p, q = first * (n_b + 1) * LANES, min(first + 1, n_a - 1) * (n_b + 1) * LANES
        for j in range(0, n_b // WIDE * WIDE, WIDE):
            block = read_block(total, p + j * LANES, q + j * LANES)
            for r in range(rows):
                row = r * n_a * LANES
                block = add_outer_products(block, a, i + row, k + row, b, (at_b + r * n_b + j) * LANES)
            write_block(block, total, p + j * LANES, q + j * LANES)
        for j in range(n_b // WIDE * WIDE, n_b):
            s, t = load(total, p + j * LANES), load(total, q + j * LANES)
            for r in range(rows):
                row, factor = r * n_a * LANES, load(b, (at_b + r * n_b + j) * LANES)
                s, t = fma(load(a, i + row), factor, s), fma(load(a, k + row), factor, t)
            store(total, p + j * LANES, s)
            store(total, q + j * LANES, t)
        s, t = load(total, p + n_b * LANES), load(total, q + n_b * LANES)
        for r in range(rows):
            row = r * n_a * LANES
            s, t = add(s, load(a, i + row)), add(t, load(a, k + row))
        store(total, p + n_b * LANES, s)
        store(total, q + n_b * LANES, t)


@njit
def hidden_units(radial, basis, row, x, at, u, to):
    """Hidden units of a slot row before batch norm and after dropout.

    Reads   radial, basis (slot rows · n_basis · LANES).
    Writes  vectors ``at``.. of x, before batch norm, and ``to``.. of u, after dropout.
    One lane is one edge.
    """
    n_basis, hidden = radial.inner.matrix.shape
    dense(radial.inner, basis, row * n_basis, 0, hidden, x, at, True)
    for h in range(hidden):
        value = fma(spread(radial.scale, h), load(x, (at + h) * LANES), spread(radial.shift, h))
        store(u, (to + h) * LANES, where_bits(radial.kept[row * hidden + h], value))


@njit
def collect(vectors, partial):
    """Sum of the lanes of each vector.

    Reads   vectors (·, LANES), flat.
    Writes  partial (·,).
    One call is all of them.
    """
    for k in range(len(partial)):
        partial[k] = lane_sum(load(vectors, k * LANES))


@njit(nogil=True)
def hidden_moments(first, last, blocks, edges, radial, centre, partial, along):
    """Σ (x − centre) and Σ (x − centre)² over edges of the hidden units before batch norm; sums along the
    basis, and 1, of those above zero: of how many there are, and of x.

    Reads   edges, radial, centre (hidden,).
    Writes  partial (blocks, 2·hidden), along (blocks, 2, hidden · (n_basis + 1)).
    One lane is one edge; one call is a range of blocks of slot rows.
    """
    n_basis, hidden = radial.inner.matrix.shape
    x, total = scratch(ROWS * hidden, centre), scratch(2 * hidden, centre)
    ones, one = scratch(ROWS * hidden, centre), splat(centre, centre.dtype.type(1))
    counts, sums = scratch(hidden * (n_basis + 1), centre), scratch(hidden * (n_basis + 1), centre)
    n_rows = len(edges.live)
    for block in range(first, last):
        total[:] = 0
        counts[:] = 0
        sums[:] = 0
        end = n_rows * (block + 1) // blocks
        for row in range(n_rows * block // blocks, end, ROWS):
            n = min(ROWS, end - row)
            for r in range(n):
                dense(radial.inner, edges.basis, (row + r) * n_basis, 0, hidden, x, r * hidden, True)
                bits = edges.live[row + r]
                for h in range(hidden):
                    at = (r * hidden + h) * LANES
                    unit = where_bits(bits, load(x, at))
                    store(x, at, unit)
                    store(ones, at, where_positive(unit, one))
                    away = where_bits(bits, add(unit, splat(x, -centre[h])))
                    store(total, h * LANES, add(load(total, h * LANES), away))
                    place = (hidden + h) * LANES
                    store(total, place, fma(away, away, load(total, place)))
            add_outer(n, ones, 0, hidden, edges.basis, row * n_basis, n_basis, counts)
            add_outer(n, x, 0, hidden, edges.basis, row * n_basis, n_basis, sums)
        collect(total, partial[block])
        collect(counts, along[block, 0])
        collect(sums, along[block, 1])


@njit(nogil=True)
def inner_backward(first, last, blocks, edges, radial, weight, norm, gradients):
    """From the gradient of the hidden units after batch norm to that of the basis.

    Reads   edges, radial, weight (hidden, n_basis), first layer; norm; gradients.units.
    Writes  gradients.basis.
    One lane is one edge; one call is a range of blocks of slot rows.
    """
    moments, gamma, means = norm
    grad_units, grad_basis = gradients
    n_basis, hidden = radial.inner.matrix.shape
    x, v = scratch(hidden, gamma), scratch(hidden, gamma)
    back = Linear(weight, np.zeros(n_basis, gamma.dtype))
    n_rows = len(edges.live)
    for row in range(n_rows * first // blocks, n_rows * last // blocks):
        dense(radial.inner, edges.basis, row * n_basis, 0, hidden, x, 0, True)
        for h in range(hidden):
            unit = load(x, h * LANES)
            along = mul(add(unit, splat(x, -moments[0, h])), splat(x, moments[1, h]))
            value = add(load(grad_units, (row * hidden + h) * LANES), splat(x, -means[0, h]))
            value = mul(fma(along, splat(x, -means[1, h]), value), splat(x, gamma[h] * moments[1, h]))
            store(v, h * LANES, where_bits(edges.live[row], where_positive(unit, value)))
        dense(back, v, 0, 0, n_basis, grad_basis, row * n_basis, False)
