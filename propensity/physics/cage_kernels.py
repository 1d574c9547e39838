"""Steps of the restricted dynamics: 16 replicas of one structure side by side, lane by lane.

Symbols: ``d`` displacements from the inherent positions and ``v`` velocities, flat arrays of (N, 3, 16) in
float32; ``f`` forces, (BLOCKS, N·3·16), whose sum over blocks counts, since each block writes its own; a pair
(i, j) is listed once, with the vector R_j − R_i between inherent positions.
"""

# mypy: disable-error-code="misc, no-untyped-def, call-arg, type-arg"

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.compiling import njit
from propensity.physics.cage_lanes import noise, pull, subtract, wall
from propensity.simd import LANES, add, fma, load, mul, splat, store
from propensity.threads import share

ROW = 3 * LANES
Lists = tuple[np.ndarray, np.ndarray, np.ndarray]
#: Particles are cut into so many parts, on as many threads at most; fixed, so that sums never depend on them.
BLOCKS = 4


def restricted_dynamics(
    near: Lists,
    far: Lists,
    types: np.ndarray,
    pairs: np.ndarray,
    d: np.ndarray,
    v: np.ndarray,
    sums: np.ndarray,
    *,
    steps: int,
    skip: int,
    every: int,
    outer: int,
    motion: tuple[Any, ...],
) -> int:
    """Advance ``d`` and ``v``; of the steps after ``skip`` every ``every``-th enters ``sums`` (N, 9, 16).

    Lists are start (N + 1,), other (M,) and vectors (M, 3).  Forces of the pairs ``far`` act every
    ``outer``-th step, ``outer``-fold (M. Tuckerman, B. J. Berne and G. J. Martyna, J. Chem. Phys. 97, 1990
    (1992)): they change slowly and are the most.  ``motion``: time step, what friction leaves of a velocity,
    amplitude of the noise, radius of each lane's wall, its stiffness, and seed.  Returns the number of
    configurations in the sums.
    """
    f = np.zeros((BLOCKS, len(d)), dtype=np.float32)
    counted = 0
    for step in range(steps):
        share(_forces, BLOCKS, *near, types, pairs, d, f, 1.0, True)
        if step % outer == 0:
            share(_forces, BLOCKS, *far, types, pairs, d, f, float(outer), False)
        now = step >= skip and (step - skip) % every == 0
        share(_advance, BLOCKS, d, v, f, sums, now, step, *motion)
        counted += now
    return counted


@njit(nogil=True)
def _forces(first, last, blocks, start, other, vectors, types, pairs, d, f, scale, fresh):
    """Add the forces of all pairs of some blocks, times ``scale``, to zero (``fresh``) or what is there."""
    n = len(types)
    factor = splat(d, np.float32(scale))
    for block in range(first, last):
        own = f[block]
        if fresh:
            own[:] = 0
        for i in range(n * block // blocks, n * (block + 1) // blocks):
            a = i * ROW
            xi, yi, zi = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
            fx, fy, fz = load(own, a), load(own, a + LANES), load(own, a + 2 * LANES)
            for k in range(start[i], start[i + 1]):
                j = other[k]
                b = j * ROW
                x = subtract(add(splat(d, vectors[k, 0]), load(d, b)), xi)
                y = subtract(add(splat(d, vectors[k, 1]), load(d, b + LANES)), yi)
                z = subtract(add(splat(d, vectors[k, 2]), load(d, b + 2 * LANES)), zi)
                w = pull(fma(x, x, fma(y, y, mul(z, z))), pairs, (2 * types[i] + types[j]) * 5)
                w = mul(factor, w)
                x, y, z = mul(w, x), mul(w, y), mul(w, z)
                fx, fy, fz = add(fx, x), add(fy, y), add(fz, z)
                store(own, b, subtract(load(own, b), x))
                store(own, b + LANES, subtract(load(own, b + LANES), y))
                store(own, b + 2 * LANES, subtract(load(own, b + 2 * LANES), z))
            store(own, a, fx)
            store(own, a + LANES, fy)
            store(own, a + 2 * LANES, fz)


@njit(nogil=True)
def _advance(first, last, blocks, d, v, f, sums, counts, step, dt, ou, amplitude, radius, stiffness, seed):
    """Wall, kick, half a drift, friction and noise, half a drift of some blocks of particles, whose places
    enter the sums where ``counts``.
    """
    n = len(d) // ROW
    whole, half, keep = splat(d, np.float32(dt)), splat(d, np.float32(dt / 2)), splat(d, np.float32(ou))
    strength, minus = splat(d, np.float32(amplitude)), splat(d, np.float32(-1))
    reach = load(radius, 0)
    for i in range(n * first // blocks, n * last // blocks):
        a = i * ROW
        x, y, z = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
        w = mul(minus, wall(fma(x, x, fma(y, y, mul(z, z))), reach, np.float32(stiffness)))
        for c in range(3):
            at = a + c * LANES
            x = load(d, at)
            force = mul(w, x)
            for block in range(len(f)):
                force = add(force, load(f[block], at))
            speed = fma(whole, force, load(v, at))
            x = fma(half, speed, x)
            speed = fma(strength, noise((step * n + i) * 3 + c, seed), mul(keep, speed))
            store(v, at, speed)
            store(d, at, fma(half, speed, x))
        if counts:
            _accumulate(i, d, sums)


@njit(nogil=True)
def _accumulate(i, d, sums):
    """Add the displacements of particle ``i`` and their products xx yy zz xy xz yz."""
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
