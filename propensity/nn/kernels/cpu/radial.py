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
    positive_block,
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


class EdgeSlots(NamedTuple):
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


@njit(nogil=True)
def scratch(vectors, like):
    """Flat array for ``vectors`` vectors that starts at a cache line, lest every load touches two.

    Reads   the dtype of like.
    Writes  nothing.
    One call is one array.
    """
    array = np.empty((vectors + 8) * LANES, like.dtype)
    skip = (-array.ctypes.data % 64) // array.itemsize
    return array[skip : skip + vectors * LANES]


@njit
def dense(layer, vectors, at, rows, columns, out, relu):
    """Outputs of a layer for several slot rows, two at a time: bias + Σ_k matrix[k, o] · vectors[at + k],
    after a ReLU or not.

    Reads   layer, vectors (rows, inputs) from ``at``.
    Writes  vectors o of out (rows, outputs), for columns[0] ≤ o < columns[1].
    One lane is one edge.
    """
    matrix, bias = layer
    n_in, width = matrix.shape
    first, last = columns
    flat = matrix.reshape(-1)
    for r in range(0, rows, 2):
        s = min(r + 1, rows - 1)
        for start in range(first, last, WIDE):
            # The last block overlaps the one before where it is not whole.
            o = max(min(start, last - WIDE), first)
            if last - first >= WIDE:
                block = spread_block(bias, o)
                for k in range(n_in):
                    p, q = (at + r * n_in + k) * LANES, (at + s * n_in + k) * LANES
                    block = add_products(block, flat, k * width + o, vectors, p, q)
                if relu:
                    block = positive_block(block)
                write_block(block, out, (r * width + o) * LANES, (s * width + o) * LANES)
            else:
                for o in range(first, last):
                    for each in range(r, s + 1):
                        t = spread(bias, o)
                        for k in range(n_in):
                            vector = load(vectors, (at + each * n_in + k) * LANES)
                            t = fma(spread(flat, k * width + o), vector, t)
                        if relu:
                            t = where_positive(t, t)
                        store(out, (each * width + o) * LANES, t)


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
def hidden_units(radial, basis, row, rows, x, u):
    """Hidden units of slot rows before batch norm and after dropout.

    Reads   radial, basis (slot rows · n_basis · LANES) from ``row``.
    Writes  vectors (rows, hidden) of x, before batch norm, and of u, after dropout.
    One lane is one edge.
    """
    n_basis, hidden = radial.inner.matrix.shape
    dense(radial.inner, basis, row * n_basis, rows, (0, hidden), x, True)
    for r in range(rows):
        for h in range(hidden):
            place = (r * hidden + h) * LANES
            value = fma(spread(radial.scale, h), load(x, place), spread(radial.shift, h))
            store(u, place, where_bits(radial.kept[(row + r) * hidden + h], value))


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
    x, ones, total = (
        scratch(ROWS * hidden, centre),
        scratch(ROWS * hidden, centre),
        scratch(2 * hidden, centre),
    )
    counts, sums = scratch(hidden * (n_basis + 1), centre), scratch(hidden * (n_basis + 1), centre)
    n_rows = len(edges.live)
    for block in range(first, last):
        total[:] = 0
        counts[:] = 0
        sums[:] = 0
        end = n_rows * (block + 1) // blocks
        for row in range(n_rows * block // blocks, end, ROWS):
            n = min(ROWS, end - row)
            _add_moments((row, n), edges, radial, centre, x, ones, total)
            add_outer(n, ones, 0, hidden, edges.basis, row * n_basis, n_basis, counts)
            add_outer(n, x, 0, hidden, edges.basis, row * n_basis, n_basis, sums)
        collect(total, partial[block])
        collect(counts, along[block, 0])
        collect(sums, along[block, 1])


@njit
def _add_moments(place, edges, radial, centre, x, ones, total):
    """Hidden units of slot rows and their moments.

    Reads   place: first slot row, and how many; edges, radial, centre.
    Writes  vectors (rows, hidden) of x and ones: the units, and 1 where they are above zero; added to total.
    One lane is one edge.
    """
    (row, n), (n_basis, hidden) = place, radial.inner.matrix.shape
    one = splat(centre, centre.dtype.type(1))
    dense(radial.inner, edges.basis, row * n_basis, n, (0, hidden), x, True)
    for r in range(n):
        bits = edges.live[row + r]
        for h in range(hidden):
            at, along = (r * hidden + h) * LANES, (hidden + h) * LANES
            unit = where_bits(bits, load(x, at))
            store(x, at, unit)
            store(ones, at, where_positive(unit, one))
            away = where_bits(bits, add(unit, splat(x, -centre[h])))
            store(total, h * LANES, add(load(total, h * LANES), away))
            store(total, along, fma(away, away, load(total, along)))


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
    x, v = scratch(ROWS * hidden, gamma), scratch(ROWS * hidden, gamma)
    back = Linear(weight, np.zeros(n_basis, gamma.dtype))
    n_rows, out = len(edges.live), scratch(ROWS * n_basis, gamma)
    end = n_rows * last // blocks
    for row in range(n_rows * first // blocks, end, ROWS):
        n = min(ROWS, end - row)
        dense(radial.inner, edges.basis, row * n_basis, n, (0, hidden), x, True)
        for r in range(n):
            for h in range(hidden):
                unit = load(x, (r * hidden + h) * LANES)
                along = mul(add(unit, splat(x, -moments[0, h])), splat(x, moments[1, h]))
                value = add(load(grad_units, ((row + r) * hidden + h) * LANES), splat(x, -means[0, h]))
                value = mul(fma(along, splat(x, -means[1, h]), value), splat(x, gamma[h] * moments[1, h]))
                value = where_bits(edges.live[row + r], where_positive(unit, value))
                store(v, (r * hidden + h) * LANES, value)
        dense(back, v, 0, n, (0, n_basis), out, False)
        for k in range(n * n_basis):
            store(grad_basis, (row * n_basis + k) * LANES, load(out, k * LANES))
