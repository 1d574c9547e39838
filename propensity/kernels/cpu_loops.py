"""The tensor product on the CPU: numba loops over tiles of 16 particles, one SIMD lane a particle.

A tile walks its particles' neighbours together, neighbour k of each at step k (a "slot row"), so that
every number below is a vector of 16 lanes and sums over neighbours need no reduction across lanes.
Particles are sorted by degree, so that few lanes idle; idle lanes have zero harmonics.
"""

# mypy: disable-error-code="call-arg, var-annotated"
# numba hands typing contexts to intrinsics, which mypy cannot see.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange

from propensity.kernels.clebsch import terms
from propensity.kernels.simd import LANES, add, fma, load, mul, splat, store, where_positive
from propensity.nn.layout import ConvolutionLayout


class Tables(NamedTuple):
    """Index tables of a layout; a "pair" is an (m_in, m_out) of a path, with the terms that couple it."""

    path: np.ndarray  # (P, 10): see the columns below
    group_out: np.ndarray  # pairs of each (path, m_out), as offsets
    pair_out: np.ndarray  # (pairs, 2): position of the pair in its path, m_in
    group_in: np.ndarray  # pairs of each (path, m_in), as offsets
    pair_in: np.ndarray  # (pairs, 2): position of the pair in its path, m_out
    term: np.ndarray  # terms of each pair, as offsets
    term_m: np.ndarray  # harmonic of each term
    term_value: np.ndarray  # coefficient of each term


_PAIR, _N_PAIRS, _FEATURE, _STRIDE, _D_IN, _D_OUT, _CHANNELS, _WEIGHT, _SUM, _GROUPS = range(10)


def make_tables(layout: ConvolutionLayout, dtype: Any) -> Tables:
    """Index tables of ``layout`` with coefficients of ``dtype``."""
    paths, group_out, pair_out, group_in, pair_in, term, term_m, term_value = (
        [],
        [0],
        [],
        [0],
        [],
        [0],
        [],
        [],
    )
    total = 0
    for path in layout.paths:
        found = terms(path.l_in, path.l_filter, path.l_out)
        pairs = sorted({(t.m_in, t.m_out) for t in found})
        d_in, d_out = 2 * path.l_in + 1, 2 * path.l_out + 1
        feature = layout.dim_in if path.block else layout.channels_in * path.l_in**2
        paths.append(
            (len(term) - 1, len(pairs), feature, d_in, d_in, d_out, path.channels, path.weight, total,
             (len(group_out) - 1) * 4096 + len(group_in) - 1)
        )  # fmt: skip
        total += path.channels * d_out
        for m_in, m_out in pairs:
            for t in found:
                if (t.m_in, t.m_out) == (m_in, m_out):
                    term_m.append(path.l_filter**2 + t.m_filter)
                    term_value.append(t.value)
            term.append(len(term_m))
        for m in range(d_out):
            pair_out += [(k, pair[0]) for k, pair in enumerate(pairs) if pair[1] == m]
            group_out.append(len(pair_out))
        for m in range(d_in):
            pair_in += [(k, pair[1]) for k, pair in enumerate(pairs) if pair[0] == m]
            group_in.append(len(pair_in))

    def integers(values: list) -> np.ndarray:
        return np.array(values, dtype=np.int64)

    return Tables(
        integers(paths), integers(group_out), integers(pair_out).reshape(-1, 2), integers(group_in),
        integers(pair_in).reshape(-1, 2), integers(term), integers(term_m), np.array(term_value, dtype=dtype),
    )  # fmt: skip


@njit(inline="always")
def _couple(tables, first, count, harmonics, base, coupling):
    """Σ_m C·Y_m for each pair of a path."""
    for pair in range(count):
        total = splat(coupling, coupling.dtype.type(0))
        for t in range(tables.term[first + pair], tables.term[first + pair + 1]):
            y = load(harmonics, base + tables.term_m[t] * LANES)
            total = fma(splat(coupling, tables.term_value[t]), y, total)
        store(coupling, pair * LANES, total)


@njit(inline="always")
def _biased(weights, at, bias, row):
    return add(load(weights, at), splat(bias, bias[row]))


@njit(inline="always")
def _relu(value):
    return where_positive(value, value)


@njit(inline="always")
def _gather(features, source, row, gathered):
    """Features of the 16 neighbours of a slot row, feature by feature."""
    n = features.shape[1]
    for lane in range(LANES):
        j = source[row * LANES + lane]
        for f in range(n):
            gathered[f * LANES + lane] = features[j, f]


@njit(parallel=True, cache=True, nogil=True)
def forward(tables, features, harmonics, source, node, rows, first_tile, last_tile, radial, bias, summed):
    """Add Σ_j relu(radial + bias) · (Y ⊗ h_j) of tiles first_tile..last_tile to ``summed`` (N, rows of all l_O)."""
    width = radial.shape[1]
    weights = radial.reshape(-1)
    n_y = harmonics.shape[1]
    flat_y = harmonics.reshape(-1)
    for tile in prange(first_tile, last_tile):
        total = np.zeros(summed.shape[1] * LANES, summed.dtype)
        gathered = np.empty(features.shape[1] * LANES, features.dtype)
        coupling = np.empty(tables.path[:, _N_PAIRS].max() * LANES, features.dtype)
        for row in range(rows[tile], rows[tile + 1]):
            _gather(features, source, row, gathered)
            column = (row - rows[first_tile]) * LANES
            for p in range(tables.path.shape[0]):
                path = tables.path[p]
                _couple(tables, path[_PAIR], path[_N_PAIRS], flat_y, row * n_y * LANES, coupling)
                d_out, stride = path[_D_OUT], path[_STRIDE] * LANES
                group = path[_GROUPS] // 4096
                for c in range(0, path[_CHANNELS], 4):
                    n = min(4, path[_CHANNELS] - c)
                    h = (path[_FEATURE] * LANES) + c * stride
                    at = path[_SUM] * LANES + c * d_out * LANES
                    w = (path[_WEIGHT] + c) * width + column
                    b = path[_WEIGHT] + c
                    if n == 4:
                        w0 = _relu(_biased(weights, w, bias, b))
                        w1 = _relu(_biased(weights, w + width, bias, b + 1))
                        w2 = _relu(_biased(weights, w + 2 * width, bias, b + 2))
                        w3 = _relu(_biased(weights, w + 3 * width, bias, b + 3))
                    for m in range(d_out):
                        t0 = splat(coupling, coupling.dtype.type(0))
                        if n == 4:
                            t1, t2, t3 = t0, t0, t0
                            for k in range(tables.group_out[group + m], tables.group_out[group + m + 1]):
                                y = load(coupling, tables.pair_out[k, 0] * LANES)
                                i = h + tables.pair_out[k, 1] * LANES
                                t0 = fma(y, load(gathered, i), t0)
                                t1 = fma(y, load(gathered, i + stride), t1)
                                t2 = fma(y, load(gathered, i + 2 * stride), t2)
                                t3 = fma(y, load(gathered, i + 3 * stride), t3)
                            s = at + m * LANES
                            step = d_out * LANES
                            store(total, s, fma(w0, t0, load(total, s)))
                            store(total, s + step, fma(w1, t1, load(total, s + step)))
                            store(total, s + 2 * step, fma(w2, t2, load(total, s + 2 * step)))
                            store(total, s + 3 * step, fma(w3, t3, load(total, s + 3 * step)))
                        else:
                            for extra in range(n):
                                t0 = splat(coupling, coupling.dtype.type(0))
                                for k in range(tables.group_out[group + m], tables.group_out[group + m + 1]):
                                    y = load(coupling, tables.pair_out[k, 0] * LANES)
                                    i = h + tables.pair_out[k, 1] * LANES + extra * stride
                                    t0 = fma(y, load(gathered, i), t0)
                                w0 = _relu(_biased(weights, w + extra * width, bias, b + extra))
                                s = at + (m + extra * d_out) * LANES
                                store(total, s, fma(w0, t0, load(total, s)))
        for lane in range(LANES):
            i = node[tile * LANES + lane]
            if i >= 0:
                for s in range(summed.shape[1]):
                    summed[i, s] = total[s * LANES + lane]


@njit(parallel=True, cache=True, nogil=True)
def backward(
    tables, features, harmonics, source, node, rows, first_tile, last_tile, radial, bias, grad, grad_edges, grad_harmonics
):  # fmt: skip
    """Gradients of :func:`forward` for tiles first_tile..last_tile.

    ``radial`` is overwritten by its gradient, ``grad_edges`` (slots, features) gets the gradient of h_j
    edge by edge and ``grad_harmonics`` (rows, harmonics, LANES), unless empty, that of Y.
    """
    width = radial.shape[1]
    weights = radial.reshape(-1)
    n_y = harmonics.shape[1]
    flat_y = harmonics.reshape(-1)
    flat_grad_y = grad_harmonics.reshape(-1)
    wants_y = grad_harmonics.size > 0
    for tile in prange(first_tile, last_tile):
        g = np.zeros(grad.shape[1] * LANES, grad.dtype)
        gathered = np.empty(features.shape[1] * LANES, features.dtype)
        grad_h = np.empty(features.shape[1] * LANES, features.dtype)
        coupling = np.empty(tables.path[:, _N_PAIRS].max() * LANES, features.dtype)
        for lane in range(LANES):
            i = node[tile * LANES + lane]
            if i >= 0:
                for s in range(grad.shape[1]):
                    g[s * LANES + lane] = grad[i, s]
        for row in range(rows[tile], rows[tile + 1]):
            _gather(features, source, row, gathered)
            grad_h[:] = 0
            column = (row - rows[first_tile]) * LANES
            for p in range(tables.path.shape[0]):
                path = tables.path[p]
                _couple(tables, path[_PAIR], path[_N_PAIRS], flat_y, row * n_y * LANES, coupling)
                d_in, d_out, stride = path[_D_IN], path[_D_OUT], path[_STRIDE] * LANES
                group = path[_GROUPS] % 4096
                step = d_out * LANES
                for c in range(0, path[_CHANNELS], 4):
                    n = min(4, path[_CHANNELS] - c)
                    h = (path[_FEATURE] * LANES) + c * stride
                    at = path[_SUM] * LANES + c * step
                    w = (path[_WEIGHT] + c) * width + column
                    b = path[_WEIGHT] + c
                    if n == 4:
                        z0 = _biased(weights, w, bias, b)
                        z1 = _biased(weights, w + width, bias, b + 1)
                        z2 = _biased(weights, w + 2 * width, bias, b + 2)
                        z3 = _biased(weights, w + 3 * width, bias, b + 3)
                        w0, w1, w2, w3 = _relu(z0), _relu(z1), _relu(z2), _relu(z3)
                        q0 = splat(coupling, coupling.dtype.type(0))
                        q1, q2, q3 = q0, q0, q0
                        for m in range(d_in):
                            v0 = splat(coupling, coupling.dtype.type(0))
                            v1, v2, v3 = v0, v0, v0
                            for k in range(tables.group_in[group + m], tables.group_in[group + m + 1]):
                                y = load(coupling, tables.pair_in[k, 0] * LANES)
                                s = at + tables.pair_in[k, 1] * LANES
                                v0 = fma(y, load(g, s), v0)
                                v1 = fma(y, load(g, s + step), v1)
                                v2 = fma(y, load(g, s + 2 * step), v2)
                                v3 = fma(y, load(g, s + 3 * step), v3)
                            i = h + m * LANES
                            q0 = fma(v0, load(gathered, i), q0)
                            q1 = fma(v1, load(gathered, i + stride), q1)
                            q2 = fma(v2, load(gathered, i + 2 * stride), q2)
                            q3 = fma(v3, load(gathered, i + 3 * stride), q3)
                            store(grad_h, i, fma(w0, v0, load(grad_h, i)))
                            store(grad_h, i + stride, fma(w1, v1, load(grad_h, i + stride)))
                            store(grad_h, i + 2 * stride, fma(w2, v2, load(grad_h, i + 2 * stride)))
                            store(grad_h, i + 3 * stride, fma(w3, v3, load(grad_h, i + 3 * stride)))
                        store(weights, w, where_positive(z0, q0))
                        store(weights, w + width, where_positive(z1, q1))
                        store(weights, w + 2 * width, where_positive(z2, q2))
                        store(weights, w + 3 * width, where_positive(z3, q3))
                        if wants_y:
                            _couple_gradient(
                                tables, path, group, w0, gathered, h, g, at, flat_grad_y, row * n_y * LANES
                            )
                            _couple_gradient(
                                tables,
                                path,
                                group,
                                w1,
                                gathered,
                                h + stride,
                                g,
                                at + step,
                                flat_grad_y,
                                row * n_y * LANES,
                            )
                            _couple_gradient(
                                tables, path, group, w2, gathered, h + 2 * stride, g, at + 2 * step, flat_grad_y,
                                row * n_y * LANES,
                            )  # fmt: skip
                            _couple_gradient(
                                tables, path, group, w3, gathered, h + 3 * stride, g, at + 3 * step, flat_grad_y,
                                row * n_y * LANES,
                            )  # fmt: skip
                    else:
                        for extra in range(n):
                            z0 = _biased(weights, w + extra * width, bias, b + extra)
                            w0 = _relu(z0)
                            q0 = splat(coupling, coupling.dtype.type(0))
                            for m in range(d_in):
                                v0 = splat(coupling, coupling.dtype.type(0))
                                for k in range(tables.group_in[group + m], tables.group_in[group + m + 1]):
                                    y = load(coupling, tables.pair_in[k, 0] * LANES)
                                    v0 = fma(y, load(g, at + extra * step + tables.pair_in[k, 1] * LANES), v0)
                                i = h + extra * stride + m * LANES
                                q0 = fma(v0, load(gathered, i), q0)
                                store(grad_h, i, fma(w0, v0, load(grad_h, i)))
                            store(weights, w + extra * width, where_positive(z0, q0))
                            if wants_y:
                                _couple_gradient(
                                    tables, path, group, w0, gathered, h + extra * stride, g, at + extra * step,
                                    flat_grad_y, row * n_y * LANES,
                                )  # fmt: skip
            for lane in range(LANES):
                for f in range(features.shape[1]):
                    grad_edges[row * LANES + lane, f] = grad_h[f * LANES + lane]


@njit
def _couple_gradient(tables, path, group, weight, gathered, h, g, at, grad_y, base):
    """Add C · φ · h · g to the gradient of each harmonic, for one channel of one path."""
    for m in range(path[_D_IN]):
        scaled = mul(weight, load(gathered, h + m * LANES))
        for k in range(tables.group_in[group + m], tables.group_in[group + m + 1]):
            product = mul(scaled, load(g, at + tables.pair_in[k, 1] * LANES))
            pair = path[_PAIR] + tables.pair_in[k, 0]
            for t in range(tables.term[pair], tables.term[pair + 1]):
                y = base + tables.term_m[t] * LANES
                store(grad_y, y, fma(splat(grad_y, tables.term_value[t]), product, load(grad_y, y)))


@njit(parallel=True, cache=True, nogil=True)
def sum_by_source(grad_edges, offsets, slots, grad):
    """Sum rows of ``grad_edges`` (slots, F) that have the same source particle into ``grad`` (N, F)."""
    for j in prange(grad.shape[0]):
        for k in range(offsets[j], offsets[j + 1]):
            for f in range(grad.shape[1]):
                grad[j, f] += grad_edges[slots[k], f]
