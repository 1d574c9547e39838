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
x, u         hidden units before batch norm; after it, ReLU and dropout        (hidden,), (ROWS, hidden)
w            radial weights of a slot row                                      (n_comb,)
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
    Edges,
    Linear,
    Radial,
    add_outer,
    collect,
    dense,
    dense_rows,
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

    edges: Edges
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


@njit(nogil=True)
def forward(first, last, blocks, convolution, features, after, sums, out):
    """Convolve the tiles first, first + blocks, ..; then first + 1, first + 1 + blocks, ..; up to ``last``.

    Reads   convolution, after; features (N+1, F): hidden ones, then scalars, each padded to whole vectors.
    Writes  out (N+1, ≥ dim_out padded); sums (tiles · n_sums · LANES), unless empty: those over neighbours.
    One lane is one particle; one call is every so-manyth tile.
    """
    edges, radial, product = convolution
    residual, scale, shift = after
    n_f, hidden, n_comb = features.shape[1], len(radial.inner.bias), len(radial.outer.bias)
    n_y = (product.l_max + 1) ** 2
    width = len(scale)
    flat_features, flat_out = features.reshape(-1), out.reshape(-1)
    h, x, u = scratch(ROWS * n_f, features), scratch(hidden, features), scratch(ROWS * hidden, features)
    w, mixed, before = scratch(n_comb, features), scratch(width, features), scratch(width, features)
    own = scratch(product.n_sums, features)
    zero = splat(features, features.dtype.type(0))
    for block in range(first, last):
        for tile in range(block, len(edges.start) - 1, blocks):
            total, at = own, 0
            if len(sums) > 0:
                total, at = sums, tile * product.n_sums * LANES
            for s in range(product.n_sums):
                store(total, at + s * LANES, zero)
            for row in range(edges.start[tile], edges.start[tile + 1], ROWS):
                n = min(ROWS, edges.start[tile + 1] - row)
                for r in range(n):
                    for f in range(0, n_f, LANES):
                        gather(
                            flat_features, edges.source, (row + r) * LANES, n_f, f, h, (r * n_f + f) * LANES
                        )
                    hidden_units(radial, edges.basis, row + r, x, 0, u, r * hidden)
                for g in range(len(product.functions)):
                    for r in range(n):
                        first_weight, last_weight = product.weights[g], product.weights[g + 1]
                        dense(radial.outer, u, r * hidden, first_weight, last_weight, w, 0, True)
                        call(
                            product.functions[g],
                            (h, edges.harmonics, w, total, w, w),
                            (r * n_f * LANES, (row + r) * n_y * LANES, 0, at, 0, 0),
                        )
            _mix(product, total, at, mixed)
            for f in range(0, width, LANES):
                if residual:
                    gather(flat_features, edges.node, tile * LANES, n_f, f, before, f * LANES)
                for k in range(f, f + LANES):
                    value = load(mixed, k * LANES)
                    if residual:
                        value = add(value, load(before, k * LANES))
                    store(mixed, k * LANES, fma(spread(scale, k), value, spread(shift, k)))
                scatter(mixed, f * LANES, flat_out, edges.node, tile * LANES, out.shape[1], f)


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
    One lane is one particle, or one of its edges; one call is every so-manyth tile.
    """
    edges, radial, product = convolution
    harmonics_functions, weight, moments, keep = back
    features, sums, grad = passed
    grad_features, grad_units, grad_harmonics = of_edges
    grad_mix, grad_outer, grad_norm, grad_inner = of_parameters
    n_basis = radial.inner.matrix.shape[0]
    n_f, hidden, n_comb = features.shape[1], len(radial.inner.bias), len(radial.outer.bias)
    n_y = (product.l_max + 1) ** 2
    width, n_grad = grad.shape[1], grad_features.shape[2]
    flat_features, flat_grad = features.reshape(-1), grad.reshape(-1)
    to_hidden = Linear(weight, np.zeros(hidden, features.dtype))
    h, gh = scratch(ROWS * n_f, features), scratch(ROWS * n_f, features)
    x, u = scratch(ROWS * hidden, features), scratch(ROWS * hidden, features)
    w, z, v = scratch(n_comb, features), scratch(ROWS * n_comb, features), scratch(ROWS * hidden, features)
    mixed, g = scratch(width, features), scratch(product.n_sums, features)
    total_mix, total_outer = scratch(grad_mix.shape[1], features), scratch(grad_outer.shape[1], features)
    total_norm, total_inner = scratch(2 * hidden, features), scratch(grad_inner.shape[1], features)
    zero = splat(features, features.dtype.type(0))
    for block in range(first, last):
        by_source = grad_features[block].reshape(-1)
        by_source[:] = 0
        total_mix[:] = 0
        total_outer[:] = 0
        total_norm[:] = 0
        total_inner[:] = 0
        for tile in range(block, len(edges.start) - 1, blocks):
            for f in range(0, width, LANES):
                gather(flat_grad, edges.node, tile * LANES, width, f, mixed, f * LANES)
            _mix_backward(product, sums, tile * product.n_sums * LANES, mixed, g, total_mix)
            for row in range(edges.start[tile], edges.start[tile + 1], ROWS):
                n = min(ROWS, edges.start[tile + 1] - row)
                for r in range(n):
                    for f in range(0, n_f, LANES):
                        gather(
                            flat_features, edges.source, (row + r) * LANES, n_f, f, h, (r * n_f + f) * LANES
                        )
                    hidden_units(radial, edges.basis, row + r, x, r * hidden, u, r * hidden)
                for k in range(n * n_f):
                    store(gh, k * LANES, zero)
                for k in range(len(product.functions)):
                    for r in range(n):
                        first_weight, last_weight = product.weights[k], product.weights[k + 1]
                        dense(radial.outer, u, r * hidden, first_weight, last_weight, w, 0, True)
                        place, y = r * n_f * LANES, (row + r) * n_y * LANES
                        call(
                            product.functions[k],
                            (h, edges.harmonics, w, g, gh, z),
                            (place, y, 0, 0, place, r * n_comb * LANES),
                        )
                        if len(grad_harmonics) > 0:
                            call(
                                harmonics_functions[k],
                                (h, edges.harmonics, w, g, grad_harmonics, z),
                                (place, y, 0, 0, y, 0),
                            )
                dense_rows(to_hidden, z, n, v)
                for r in range(n):
                    for k in range(hidden):
                        value = mul(splat(v, keep), load(v, (r * hidden + k) * LANES))
                        value = where_bits(radial.kept[(row + r) * hidden + k], value)
                        unit = load(x, (r * hidden + k) * LANES)
                        store(v, (r * hidden + k) * LANES, where_positive(unit, value))
                        if len(grad_units) > 0:
                            store(grad_units, ((row + r) * hidden + k) * LANES, value)
                        store(total_norm, k * LANES, add(load(total_norm, k * LANES), value))
                        away = add(unit, splat(v, -moments[0, k]))
                        place = (hidden + k) * LANES
                        scaled = mul(splat(v, moments[1, k]), value)
                        store(total_norm, place, fma(away, scaled, load(total_norm, place)))
                    for f in range(0, n_grad, LANES):
                        scatter_add(
                            gh, (r * n_f + f) * LANES, by_source, edges.source, (row + r) * LANES, n_grad, f
                        )
                add_outer(n, z, 0, n_comb, u, 0, hidden, total_outer)
                add_outer(n, v, 0, hidden, edges.basis, row * n_basis, n_basis, total_inner)
        collect(total_mix, grad_mix[block])
        collect(total_outer, grad_outer[block])
        collect(total_norm, grad_norm[block])
        collect(total_inner, grad_inner[block])
