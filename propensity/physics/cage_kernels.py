"""Steps of the restricted dynamics: 16 replicas of one structure side by side, lane by lane.

Symbols (flat arrays in float32)
--------------------------------
======  ===============================================================  ================
letter  meaning                                                          shape
======  ===============================================================  ================
d       displacements from the inherent positions                        (N, 3, 16)
v       velocities                                                       (N, 3, 16)
f       forces, whose sum over blocks counts: each block writes its own  (BLOCKS, N·3·16)
sums    of displacements and of their products xx yy zz xy xz yz         (N, 9, 16)
mean    sums over the particles of each block, of x y z and velocities   (BLOCKS, 6, 16)
i, j    a pair of particles, which is listed once
======  ===============================================================  ================
"""

# mypy: disable-error-code="misc, no-untyped-def, call-arg, type-arg"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from propensity.compiling import njit
from propensity.physics.cage_lanes import noise, pull, subtract, wall
from propensity.simd import LANES, add, fma, load, mul, splat, store
from propensity.threads import share

ROW = 3 * LANES
#: Particles are cut into so many parts, on as many threads at most; fixed, so that sums never depend on them.
BLOCKS = 4


class Pairs(NamedTuple):
    """Pairs of particles, each once, and what acts between them."""

    start: np.ndarray  # (N + 1,), first pair of each particle i
    other: np.ndarray  # (M,), its j
    vectors: np.ndarray  # (M, 3), R_j − R_i between inherent positions
    types: np.ndarray  # (N,), species 0 or 1
    table: np.ndarray  # (4 · 6), squared cut, σ², 6·4ε, 12·4ε, slope and least r² of AA, AB, BA, BB


class Replicas(NamedTuple):
    """State of the replicas: see the symbols."""

    d: np.ndarray
    v: np.ndarray
    f: np.ndarray
    sums: np.ndarray
    mean: np.ndarray


class Motion(NamedTuple):
    """How replicas move, in Lennard-Jones units."""

    time_step: float
    keep: float  # what friction leaves of a velocity
    amplitude: float  # of the noise
    radius: np.ndarray  # (16,), of each lane's wall
    stiffness: float  # of the walls
    seed: int


def restricted_dynamics(
    near: Pairs,
    far: Pairs,
    replicas: Replicas,
    motion: Motion,
    *,
    steps: int,
    skip: int,
    every: int,
    outer: int,
    centred: bool,
) -> int:
    """Advance the replicas; of the steps after ``skip`` every ``every``-th enters their sums.

    Where ``centred``, all particles of a replica are moved back together every ``every`` steps, so that its
    centre of mass rests where that of the minimum is, in all configurations that count.

    Forces of the pairs ``far`` act every ``outer``-th step, ``outer``-fold (M. Tuckerman, B. J. Berne and
    G. J. Martyna, J. Chem. Phys. 97, 1990 (1992)): they change slowly and are the most.  Returns the number
    of configurations in the sums.
    """
    counted = 0
    for step in range(steps):
        share(_forces, BLOCKS, near, replicas, 1.0, True)
        if step % outer == 0:
            share(_forces, BLOCKS, far, replicas, float(outer), False)
        share(_advance, BLOCKS, replicas, motion, step)
        if (step - skip) % every == 0:
            if centred:
                share(_total, BLOCKS, replicas)
            share(_count, BLOCKS, replicas, step >= skip)
            counted += step >= skip
    return counted


@njit(nogil=True)
def _forces(first, last, blocks, pairs, replicas, scale, fresh):
    """Add the forces of all pairs of some blocks, times ``scale``, to zero (``fresh``) or what is there.

    Reads   pairs, replicas.d.
    Writes  replicas.f.
    One lane is one replica; one call is a range of blocks of particles.
    """
    start, other, vectors, types, table = pairs
    d, f = replicas.d, replicas.f
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
                w = pull(fma(x, x, fma(y, y, mul(z, z))), table, (2 * types[i] + types[j]) * 6)
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
def _advance(first, last, blocks, replicas, motion, step):
    """Wall, kick, half a drift, friction and noise, half a drift of some blocks of particles.

    Reads   replicas, motion, step, which numbers the noise.
    Writes  replicas.d, replicas.v.
    One lane is one replica; one call is a range of blocks of particles.
    """
    d, v, f = replicas.d, replicas.v, replicas.f
    dt, ou, amplitude, radius, stiffness, seed = motion
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


@njit(nogil=True)
def _total(first, last, blocks, replicas):
    """Sum displacements and velocities over the particles of each of some blocks.

    Reads   replicas.d, replicas.v.
    Writes  replicas.mean.
    One lane is one replica; one call is a range of blocks of particles.
    """
    d, v, mean = replicas.d, replicas.v, replicas.mean
    n = len(d) // ROW
    for block in range(first, last):
        own = mean[block]
        own[:] = 0
        for i in range(n * block // blocks, n * (block + 1) // blocks):
            for c in range(0, ROW, LANES):
                store(own, c, add(load(own, c), load(d, i * ROW + c)))
                store(own, ROW + c, add(load(own, ROW + c), load(v, i * ROW + c)))


@njit(nogil=True)
def _count(first, last, blocks, replicas, counts):
    """Take the mean off displacements and velocities of some blocks of particles; where ``counts``, add
    where they are to the sums.

    Reads   replicas.mean.
    Writes  replicas.d, replicas.v and, where ``counts``, replicas.sums.
    One lane is one replica; one call is a range of blocks of particles.
    """
    d, v, sums, mean = replicas.d, replicas.v, replicas.sums, replicas.mean
    n = len(d) // ROW
    share = splat(d, np.float32(1 / n))
    for i in range(n * first // blocks, n * last // blocks):
        for c in range(0, ROW, LANES):
            away, speed = load(mean[0], c), load(mean[0], ROW + c)
            for block in range(1, len(mean)):
                away, speed = add(away, load(mean[block], c)), add(speed, load(mean[block], ROW + c))
            store(d, i * ROW + c, subtract(load(d, i * ROW + c), mul(share, away)))
            store(v, i * ROW + c, subtract(load(v, i * ROW + c), mul(share, speed)))
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
