"""One convolution on the CPU: numba loops over tiles of 16 particles, one SIMD lane a particle.

A tile walks its particles' neighbours together, neighbour k of each at step k (a "slot row"), so that
every number below is a vector of 16 lanes and sums over neighbours need no reduction across lanes.
Everything that belongs to an edge exists for ROWS slot rows at a time, in the processor's caches.

Work is cut into blocks of tiles or of slot rows whose number does not depend on the number of threads:
what a block adds to the gradient of a parameter has a place of its own, so that sums are reproducible.

Symbols (every number is a vector of LANES)
--------------------------------------------
===========  ================================================================  =========================
letter       meaning                                                           shape
===========  ================================================================  =========================
n_f          hidden features and scalars of a particle, padded
n_y          harmonics: (l_max+1)²
n_comb       radial weights of an edge
h            features of the neighbours in ROWS slot rows                      (ROWS, n_f)
x, u         hidden units before batch norm; after it, ReLU and dropout        (ROWS, hidden)
w            radial weights of two slot rows                                   (2, n_comb)
own, total   sums over neighbours of a tile, path by path, channel by channel  (n_sums,) from ``at``
mixed        features of a tile after mixing                                   (dim_out,) padded
before       features of a tile before the layer                               (dim_out,) padded
g            gradient of the sums of a tile                                    (n_sums,)
===========  ================================================================  =========================
"""

# mypy: disable-error-code="call-arg, var-annotated"
# numba hands typing contexts to intrinsics, which mypy cannot see.

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from propensity.compiling import njit
from propensity.nn.kernels.cpu.radial import (
    ROWS,
    EdgeSlots,
    Linear,
    Radial,
    add_outer,
    collect,
    dense,
    hidden_units,
    scratch,
)
from propensity.simd import (
    LANES,
    add,
    call,
    fma,
    gather,
    load,
    mul,
    scatter,
    scatter_add,
    splat,
    spread,
    store,
    where_bits,
    where_positive,
)


class Product(NamedTuple):
    """Tensor product and mixing."""

    functions: np.ndarray  # of :mod:`cpu_rows`, one a group of paths
    weights: np.ndarray  # where the radial weights of each group start, and their number
    n_sums: int
    l_max: int
    channels: int
    rows: np.ndarray  # input rows of the mixing matrix of each l
    mix: np.ndarray  # mixing matrices over √rows, flat


class Convolution(NamedTuple):
    """What one convolution reads beside the features."""

    edges: EdgeSlots
    radial: Radial
    product: Product


class After(NamedTuple):
    """What follows the mixing: scale · (mixed sums + residual · hidden features) + shift."""

    residual: bool
    scale: np.ndarray  # (dim_out padded,)
    shift: np.ndarray  # (dim_out padded,)


class Back(NamedTuple):
    """What going back reads beside the convolution."""

    harmonics_functions: np.ndarray  # of :mod:`cpu_rows`, for the gradient of the harmonics
    weight: np.ndarray  # (n_comb, hidden), last layer of the radial MLP
    moments: np.ndarray  # (2, hidden), mean and 1/σ of its batch norm
    keep: float  # dropout's 1/keep


class Passed(NamedTuple):
    """What went forward, and what comes back."""

    features: np.ndarray  # (N + 1, F)
    sums: np.ndarray  # (tiles · n_sums · LANES), over neighbours
    grad: np.ndarray  # (N + 1, dim_out padded), gradient of the mixed features


class EdgeGradients(NamedTuple):
    """Gradients slot by slot, but for those of features, which are summed where they come from."""

    features: np.ndarray  # (blocks, N, columns wanted), of h_j, block by block
    units: np.ndarray  # (slot rows · hidden · LANES), of the hidden units after batch norm, or empty
    harmonics: np.ndarray  # (slot rows · n_y · LANES), or empty


class ParameterGradients(NamedTuple):
    """Gradients of the parameters, block by block."""

    mix: np.ndarray  # (blocks, ·), of the mixing matrices
    outer: np.ndarray  # (blocks, n_comb · (hidden + 1)), of the last layer with its bias
    norm: np.ndarray  # (blocks, 2 · hidden), of bias and weight of the batch norm
    inner: np.ndarray  # (blocks, hidden · (n_basis + 1)): of the hidden units above zero, along basis and 1


class Room(NamedTuple):
    """Vectors of one thread going forward, letters as above."""

    h: np.ndarray
    x: np.ndarray
    u: np.ndarray
    w: np.ndarray
    own: np.ndarray
    mixed: np.ndarray
    before: np.ndarray


class BackRoom(NamedTuple):
    """Vectors of one thread going backward, letters as above; v and z: gradients of u and w."""

    h: np.ndarray
    gh: np.ndarray
    x: np.ndarray
    u: np.ndarray
    v: np.ndarray
    w: np.ndarray
    z: np.ndarray
    mixed: np.ndarray
    g: np.ndarray
    to_hidden: Linear  # transposed last layer of the radial MLP


@njit(nogil=True)
def forward(first, last, blocks, convolution, features, after, sums, out):
    """Convolve tiles.

    Reads   convolution, after; features (N+1, F): hidden ones, then scalars, each padded to whole vectors.
    Writes  out (N+1, ≥ dim_out padded); sums (tiles · n_sums · LANES), unless empty: those over neighbours.
    One lane is one particle; one call is a range of blocks of tiles.
    """
    n_f, hidden, n_comb = features.shape[1], len(convolution.radial.scale), len(convolution.radial.outer.bias)
    width = len(after.scale)
    room = Room(
        scratch(ROWS * n_f, features),
        scratch(ROWS * hidden, features),
        scratch(ROWS * hidden, features),
        scratch(2 * n_comb, features),
        scratch(convolution.product.n_sums, features),
        scratch(width, features),
        scratch(width, features),
    )
    tiles = len(convolution.edges.start) - 1
    for tile in range(tiles * first // blocks, tiles * last // blocks):
        _tile_forward(tile, convolution, features, after, room, sums, out)


@njit
def _tile_forward(tile, convolution, features, after, room, sums, out):
    """Convolve one tile.

    Reads   as :func:`forward`.
    Writes  as :func:`forward`; room.
    One lane is one particle.
    """
    edges, radial, product = convolution
    h, x, u, w, own, mixed, before = room
    n_f, hidden, n_comb = features.shape[1], len(radial.scale), len(radial.outer.bias)
    n_y, flat = (product.l_max + 1) ** 2, features.reshape(-1)
    zero = splat(features, features.dtype.type(0))
    total, at = own, 0
    if len(sums) > 0:
        total, at = sums, tile * product.n_sums * LANES
    for s in range(product.n_sums):
        store(total, at + s * LANES, zero)
    for row in range(edges.start[tile], edges.start[tile + 1], ROWS):
        n = min(ROWS, edges.start[tile + 1] - row)
        for r in range(n):
            for f in range(0, n_f, LANES):
                gather(flat, edges.source, (row + r) * LANES, n_f, f, h, (r * n_f + f) * LANES)
        hidden_units(radial, edges.basis, row, n, x, u)
        for k in range(len(product.functions)):
            columns = product.weights[k], product.weights[k + 1]
            for r in range(n):
                if r % 2 == 0:
                    dense(radial.outer, u, r * hidden, min(2, n - r), columns, w, True)
                places = r * n_f * LANES, (row + r) * n_y * LANES, r % 2 * n_comb * LANES, at, 0, 0
                call(product.functions[k], (h, edges.harmonics, w, total, w, w), places)
    _mix(product, total, at, mixed)
    for f in range(0, len(after.scale), LANES):
        if after.residual:
            gather(flat, edges.node, tile * LANES, n_f, f, before, f * LANES)
        for k in range(f, f + LANES):
            value = load(mixed, k * LANES)
            if after.residual:
                value = add(value, load(before, k * LANES))
            store(mixed, k * LANES, fma(spread(after.scale, k), value, spread(after.shift, k)))
        scatter(mixed, f * LANES, out.reshape(-1), edges.node, tile * LANES, out.shape[1], f)


@njit
def _mix(product, total, at, mixed):
    """Rows (triplets × channels) of each l to output channels.

    Reads   product, vectors (n_sums,) of total from ``at``.
    Writes  mixed, zero beyond dim_out.
    One lane is one particle.
    """
    channels, s, w, o = product.channels, at, 0, 0
    for l in range(product.l_max + 1):
        d = 2 * l + 1
        for c in range(channels):
            for m in range(d):
                value = splat(total, total.dtype.type(0))
                for row in range(product.rows[l]):
                    value = fma(
                        spread(product.mix, w + row * channels + c),
                        load(total, s + (row * d + m) * LANES),
                        value,
                    )
                store(mixed, (o + c * d + m) * LANES, value)
        s += product.rows[l] * d * LANES
        w += product.rows[l] * channels
        o += channels * d
    for k in range(o, len(mixed) // LANES):
        store(mixed, k * LANES, splat(total, total.dtype.type(0)))


@njit
def _mix_backward(product, total, at, grad, g, grad_mix):
    """From the gradient of the mixed features to that of the sums and of the matrices.

    Reads   product, vectors (n_sums,) of total from ``at``, grad (dim_out,).
    Writes  g (n_sums,); added to grad_mix, one vector a number of the matrices.
    One lane is one particle.
    """
    channels, s, w, o = product.channels, 0, 0, 0
    for l in range(product.l_max + 1):
        d = 2 * l + 1
        for row in range(product.rows[l]):
            for m in range(d):
                value = splat(total, total.dtype.type(0))
                for c in range(channels):
                    value = fma(
                        spread(product.mix, w + row * channels + c),
                        load(grad, (o + c * d + m) * LANES),
                        value,
                    )
                store(g, (s + row * d + m) * LANES, value)
            for c in range(channels):
                p = (w + row * channels + c) * LANES
                value = load(grad_mix, p)
                for m in range(d):
                    value = fma(
                        load(total, at + (s + row * d + m) * LANES),
                        load(grad, (o + c * d + m) * LANES),
                        value,
                    )
                store(grad_mix, p, value)
        s += product.rows[l] * d
        w += product.rows[l] * channels
        o += channels * d


@njit(nogil=True)
def backward(first, last, blocks, convolution, back, passed, of_edges, of_parameters):
    """Gradients of :func:`forward` for the same tiles, without residual, scale and shift.

    Reads   convolution, back, passed.
    Writes  of_edges and, block by block, of_parameters.
    One lane is one particle, or one of its edges; one call is a range of blocks of tiles.
    """
    like, n_comb, hidden = passed.features, len(back.weight), back.weight.shape[1]
    n_f, width = like.shape[1], passed.grad.shape[1]
    room = BackRoom(
        scratch(ROWS * n_f, like),
        scratch(ROWS * n_f, like),
        scratch(ROWS * hidden, like),
        scratch(ROWS * hidden, like),
        scratch(ROWS * hidden, like),
        scratch(2 * n_comb, like),
        scratch(ROWS * n_comb, like),
        scratch(width, like),
        scratch(convolution.product.n_sums, like),
        Linear(back.weight, np.zeros(hidden, like.dtype)),
    )
    mix, outer, norm, inner = of_parameters
    totals = ParameterGradients(
        scratch(mix.shape[1], like),
        scratch(outer.shape[1], like),
        scratch(norm.shape[1], like),
        scratch(inner.shape[1], like),
    )
    tiles = len(convolution.edges.start) - 1
    for block in range(first, last):
        of_edges.features[block] = 0
        for total in totals:
            total[:] = 0
        for tile in range(tiles * block // blocks, tiles * (block + 1) // blocks):
            _tile_backward((block, tile), convolution, back, passed, of_edges, totals, room)
        collect(totals.mix, mix[block])
        collect(totals.outer, outer[block])
        collect(totals.norm, norm[block])
        collect(totals.inner, inner[block])


@njit
def _tile_backward(place, convolution, back, passed, of_edges, totals, room):
    """Gradients of one tile.

    Reads   as :func:`backward`; place: block and tile.
    Writes  as :func:`backward`, to totals, lane by lane; room.
    One lane is one particle, or one of its edges.
    """
    (block, tile), (edges, radial, product) = place, convolution
    h, gh, x, u, v, w, z, mixed, g, to_hidden = room
    n_f, width, n_grad = passed.features.shape[1], passed.grad.shape[1], of_edges.features.shape[2]
    n_comb, hidden, n_basis = len(back.weight), len(radial.scale), radial.inner.matrix.shape[0]
    n_y, flat = (product.l_max + 1) ** 2, passed.features.reshape(-1)
    flat_grad, by_source = passed.grad.reshape(-1), of_edges.features[block].reshape(-1)
    zero = splat(h, h.dtype.type(0))
    for f in range(0, width, LANES):
        gather(flat_grad, edges.node, tile * LANES, width, f, mixed, f * LANES)
    _mix_backward(product, passed.sums, tile * product.n_sums * LANES, mixed, g, totals.mix)
    for row in range(edges.start[tile], edges.start[tile + 1], ROWS):
        n = min(ROWS, edges.start[tile + 1] - row)
        for r in range(n):
            for f in range(0, n_f, LANES):
                gather(flat, edges.source, (row + r) * LANES, n_f, f, h, (r * n_f + f) * LANES)
        hidden_units(radial, edges.basis, row, n, x, u)
        for k in range(n * n_f):
            store(gh, k * LANES, zero)
        for k in range(len(product.functions)):
            columns = product.weights[k], product.weights[k + 1]
            for r in range(n):
                if r % 2 == 0:
                    dense(radial.outer, u, r * hidden, min(2, n - r), columns, w, True)
                at, y, weights = r * n_f * LANES, (row + r) * n_y * LANES, r % 2 * n_comb * LANES
                places = at, y, weights, 0, at, r * n_comb * LANES
                call(product.functions[k], (h, edges.harmonics, w, g, gh, z), places)
                if len(of_edges.harmonics) > 0:
                    arrays = h, edges.harmonics, w, g, of_edges.harmonics, z
                    call(back.harmonics_functions[k], arrays, (at, y, weights, 0, y, 0))
        dense(to_hidden, z, 0, n, (0, hidden), v, False)
        for r in range(n):
            _hidden_backward((row, r), radial, back, x, v, of_edges.units, totals.norm)
            for f in range(0, n_grad, LANES):
                at = (r * n_f + f) * LANES
                scatter_add(gh, at, by_source, edges.source, (row + r) * LANES, n_grad, f)
        add_outer(n, z, 0, n_comb, u, 0, hidden, totals.outer)
        add_outer(n, v, 0, hidden, edges.basis, row * n_basis, n_basis, totals.inner)


@njit
def _hidden_backward(place, radial, back, x, v, of_units, total):
    """Gradients of the hidden units of a slot row, back through dropout, and through the ReLU where they go
    on to the first layer.

    Reads   place: first of the slot rows that are at work, and which of them this is; radial, back; vectors
            (·, hidden) of x, before batch norm, and of v, the gradient after dropout.
    Writes  v; of_units unless empty: before the ReLU; added to total (2·hidden,), those of bias and weight.
    One lane is one edge.
    """
    row, r = place
    hidden = len(radial.scale)
    for k in range(hidden):
        at = (r * hidden + k) * LANES
        value = where_bits(radial.kept[(row + r) * hidden + k], mul(splat(v, back.keep), load(v, at)))
        unit = load(x, at)
        store(v, at, where_positive(unit, value))
        if len(of_units) > 0:
            store(of_units, ((row + r) * hidden + k) * LANES, value)
        store(total, k * LANES, add(load(total, k * LANES), value))
        away = add(unit, splat(v, -back.moments[0, k]))
        along = (hidden + k) * LANES
        store(total, along, fma(away, mul(splat(v, back.moments[1, k]), value), load(total, along)))
