"""Steps of the restricted dynamics: 16 replicas of one structure side by side, lane by lane.

Symbols: ``d`` displacements from the inherent positions, ``v`` velocities and ``f`` forces, flat arrays of
(N, 3, 16) in float32; a pair (i, j) is listed once, with the vector R_j − R_i between inherent positions.
"""

# mypy: disable-error-code="misc, no-untyped-def, call-arg, type-arg"

from __future__ import annotations

import math

import numpy as np

from propensity.compiling import njit
from propensity.physics.cage_lanes import lane_min, largest, noise, pull, subtract, wall
from propensity.simd import LANES, add, fma, load, mul, splat, store

ROW = 3 * LANES


@njit(nogil=True)
def restricted_dynamics(
    start,
    source,
    vectors,
    types,
    pairs,
    d,
    v,
    sums,
    steps,
    skip,
    every,
    dt,
    ou,
    amplitude,
    radius,
    stiffness,
    skin,
    seed,
):
    """Advance ``d`` and ``v`` by ``steps`` steps of dt; of those after ``skip`` every ``every``-th enters
    ``sums``.

    ``radius`` holds that of each lane.  Reads the list of all pairs that can come within reach; writes d, v
    and sums (N, 9, 16).  Returns the number of configurations in the sums.
    """
    n = len(types)
    f, base = np.zeros_like(d), d.copy()
    end, near, near_vectors = np.zeros(n, np.int64), np.empty_like(source), np.empty_like(vectors)
    moved, counted = np.inf, 0
    for step in range(steps):
        if not moved < (skin / 2) ** 2:
            _select(start, source, vectors, types, pairs, d, skin, end, near, near_vectors)
            base[:] = d
        _forces(start, end, near, near_vectors, types, pairs, d, f)
        moved = _advance(d, v, f, base, step, dt, ou, amplitude, radius, stiffness, seed)
        if step >= skip and (step - skip) % every == 0:
            _accumulate(d, sums)
            counted += 1
    return counted


@njit(nogil=True)
def _apart(d, i, j, x, y, z, out):
    """Vectors from i to j in all lanes, into three rows of ``out``; returns their squared lengths."""
    dx = add(splat(d, x), subtract(load(d, j * ROW), load(d, i * ROW)))
    dy = add(splat(d, y), subtract(load(d, j * ROW + LANES), load(d, i * ROW + LANES)))
    dz = add(splat(d, z), subtract(load(d, j * ROW + 2 * LANES), load(d, i * ROW + 2 * LANES)))
    store(out, 0, dx)
    store(out, LANES, dy)
    store(out, 2 * LANES, dz)
    return fma(dx, dx, fma(dy, dy, mul(dz, dz)))


@njit(nogil=True)
def _select(start, source, vectors, types, pairs, d, skin, end, near, near_vectors):
    """Of all pairs those that a lane has within cut + skin: the list of the next steps."""
    out = np.empty(ROW, np.float32)
    for i in range(len(types)):
        at = start[i]
        for k in range(start[i], start[i + 1]):
            j = source[k]
            reach = math.sqrt(pairs[(2 * types[i] + types[j]) * 5]) + skin
            square = _apart(d, i, j, vectors[k, 0], vectors[k, 1], vectors[k, 2], out)
            if lane_min(square) < reach * reach:
                near[at] = j
                near_vectors[at] = vectors[k]
                at += 1
        end[i] = at


@njit(nogil=True)
def _forces(start, end, near, near_vectors, types, pairs, d, f):
    """Forces of all pairs of the list."""
    f[:] = 0
    for i in range(len(types)):
        a = i * ROW
        xi, yi, zi = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
        fx, fy, fz = load(f, a), load(f, a + LANES), load(f, a + 2 * LANES)
        for k in range(start[i], end[i]):
            j = near[k]
            b = j * ROW
            x = subtract(add(splat(d, near_vectors[k, 0]), load(d, b)), xi)
            y = subtract(add(splat(d, near_vectors[k, 1]), load(d, b + LANES)), yi)
            z = subtract(add(splat(d, near_vectors[k, 2]), load(d, b + 2 * LANES)), zi)
            w = pull(fma(x, x, fma(y, y, mul(z, z))), pairs, (2 * types[i] + types[j]) * 5)
            x, y, z = mul(w, x), mul(w, y), mul(w, z)
            fx, fy, fz = add(fx, x), add(fy, y), add(fz, z)
            store(f, b, subtract(load(f, b), x))
            store(f, b + LANES, subtract(load(f, b + LANES), y))
            store(f, b + 2 * LANES, subtract(load(f, b + 2 * LANES), z))
        store(f, a, fx)
        store(f, a + LANES, fy)
        store(f, a + 2 * LANES, fz)


@njit(nogil=True)
def _advance(d, v, f, base, step, dt, ou, amplitude, radius, stiffness, seed):
    """Wall, kick, half a drift, friction and noise, half a drift; returns the largest squared way since
    ``base``.
    """
    n = len(d) // ROW
    most = splat(d, np.float32(0))
    whole, half, keep = splat(d, np.float32(dt)), splat(d, np.float32(dt / 2)), splat(d, np.float32(ou))
    strength, minus = splat(d, np.float32(amplitude)), splat(d, np.float32(-1))
    reach = load(radius, 0)
    for i in range(n):
        a = i * ROW
        x, y, z = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
        w = mul(minus, wall(fma(x, x, fma(y, y, mul(z, z))), reach, np.float32(stiffness)))
        way = splat(d, np.float32(0))
        for c in range(3):
            at = a + c * LANES
            x = load(d, at)
            speed = fma(whole, fma(w, x, load(f, at)), load(v, at))
            x = fma(half, speed, x)
            speed = fma(strength, noise((step * n + i) * 3 + c, seed), mul(keep, speed))
            x = fma(half, speed, x)
            store(v, at, speed)
            store(d, at, x)
            x = subtract(x, load(base, at))
            way = fma(x, x, way)
        most = largest(most, way)
    return -lane_min(mul(minus, most))


@njit(nogil=True)
def _accumulate(d, sums):
    """Add displacements and their products xx yy zz xy xz yz."""
    for i in range(len(d) // ROW):
        a, s = i * ROW, 3 * i * ROW
        x, y, z = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
        store(sums, s, add(load(sums, s), x))
        store(sums, s + LANES, add(load(sums, s + LANES), y))
        store(sums, s + 2 * LANES, add(load(sums, s + 2 * LANES), z))
        store(sums, s + 3 * LANES, fma(x, x, load(sums, s + 3 * LANES)))
        store(sums, s + 4 * LANES, fma(y, y, load(sums, s + 4 * LANES)))
        store(sums, s + 5 * LANES, fma(z, z, load(sums, s + 5 * LANES)))
        store(sums, s + 6 * LANES, fma(x, y, load(sums, s + 6 * LANES)))
        store(sums, s + 7 * LANES, fma(x, z, load(sums, s + 7 * LANES)))
        store(sums, s + 8 * LANES, fma(y, z, load(sums, s + 8 * LANES)))
