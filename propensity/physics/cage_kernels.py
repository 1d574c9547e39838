"""Steps of the restricted dynamics: 16 replicas of one structure side by side, lane by lane.

Neighbours of a particle come species by species, so that what acts between two species stays in registers.

Symbols (flat arrays in float32)
--------------------------------
======  ===============================================================  ================
letter  meaning                                                          shape
======  ===============================================================  ================
d       displacements from the inherent positions                        (N, 3, 16)
v       velocities                                                       (N, 3, 16)
f       forces                                                           (N, 3, 16)
sums    of displacements and of their products xx yy zz xy xz yz         (N, 9, 16)
mean    sums over all particles, of x y z and velocities                 (6, 16)
i, j    a pair of particles, which is listed once
s       species of j, 0 or 1
======  ===============================================================  ================
"""

# mypy: disable-error-code="misc, no-untyped-def, call-arg, type-arg"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from propensity.compiling import njit
from propensity.physics.cage_lanes import least, less, noise, pull, subtract, wall
from propensity.simd import LANES, add, fma, load, mul, splat, spread, store

ROW = 3 * LANES


class Pairs(NamedTuple):
    """Pairs of particles, each once, and what acts between them."""

    start: np.ndarray  # (2 N + 1,), first pair of each particle i with neighbours of each species
    other: np.ndarray  # (M,), its j
    vectors: np.ndarray  # (M · 3), R_j − R_i between inherent positions
    types: np.ndarray  # (N,), species 0 or 1
    within: np.ndarray  # (4,), squared distance below which a pair AA, AB, BA, BB is chosen for the list
    table: np.ndarray  # (4 · 5), squared cut, 6·4ε σ⁶, 12·4ε σ¹², slope and least r² of AA, AB, BA, BB


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


class Course(NamedTuple):
    """What happens at which of the steps."""

    skip: int  # steps before those that count
    every: int  # from one configuration that counts to the next
    outer: int  # from one action of the far pairs to the next
    renew: int  # from one choice of near and far pairs to the next
    centred: bool  # whether the centre of mass is moved back, whenever a configuration counts or would


@njit(nogil=True)
def restricted_dynamics(lists, replicas, motion, course, first, last):
    """Take steps ``first`` to ``last``; of those after ``skip`` every ``every``-th enters the sums.

    Where ``centred``, all particles of a replica are moved back together every ``every`` steps, so that its
    centre of mass rests where that of the minimum is, in all configurations that count.

    ``lists`` are all pairs, the near and the far ones; which of them are near, and which far, in any replica,
    is looked up every ``renew`` steps.  Forces of far pairs act every ``outer``-th step, ``outer``-fold as
    their table says (M. Tuckerman, B. J. Berne and G. J. Martyna, J. Chem. Phys. 97, 1990 (1992)): they
    change slowly and are the most.

    Reads   motion, course, the first of lists.
    Writes  replicas, the other lists.
    One lane is one replica.
    """
    pairs, near, far = lists
    for step in range(first, last):
        if step % course.renew == 0:
            _choose(pairs, near, far, replicas)
        replicas.f[:] = 0
        _add_forces(near, replicas)
        if step % course.outer == 0:
            _add_forces(far, replicas)
        _advance(replicas, motion, step)
        if (step - course.skip) % course.every == 0:
            if course.centred:
                _centre(replicas)
            if step >= course.skip:
                _count(replicas)


@njit
def _choose(pairs, near, far, replicas):
    """Choose the pairs that are near in any replica, and the far ones of the rest.

    Reads   pairs, replicas.d.
    Writes  near, far: start, other and vectors.
    One lane is one replica.
    """
    start, other, vectors, types, _, _ = pairs
    d = replicas.d
    at = beyond = 0
    for i in range(len(types)):
        a = i * ROW
        xi, yi, zi = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
        for s in range(2):
            row, kind = 2 * i + s, 2 * types[i] + s
            for k in range(start[row], start[row + 1]):
                b = other[k] * ROW
                x = subtract(add(spread(vectors, 3 * k), load(d, b)), xi)
                y = subtract(add(spread(vectors, 3 * k + 1), load(d, b + LANES)), yi)
                z = subtract(add(spread(vectors, 3 * k + 2), load(d, b + 2 * LANES)), zi)
                closest = least(fma(x, x, fma(y, y, mul(z, z))))
                if closest < near.within[kind]:
                    _put(near, at, other, vectors, k)
                    at += 1
                elif closest < far.within[kind]:
                    _put(far, beyond, other, vectors, k)
                    beyond += 1
            near.start[row + 1], far.start[row + 1] = at, beyond


@njit
def _put(pairs, at, other, vectors, k):
    """Write one pair of a list."""
    pairs.other[at] = other[k]
    for c in range(3):
        pairs.vectors[3 * at + c] = vectors[3 * k + c]


@njit
def _add_forces(pairs, replicas):
    """Add the forces of all pairs.

    Reads   pairs, replicas.d.
    Writes  replicas.f.
    One lane is one replica.
    """
    start, other, vectors, types, _, table = pairs
    d, f = replicas.d, replicas.f
    for i in range(len(types)):
        a = i * ROW
        xi, yi, zi = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
        fx, fy, fz = load(f, a), load(f, a + LANES), load(f, a + 2 * LANES)
        for s in range(2):
            t = 5 * (2 * types[i] + s)
            cut, c6, c12 = spread(table, t), spread(table, t + 1), spread(table, t + 2)
            slope, held = spread(table, t + 3), spread(table, t + 4)
            for k in range(start[2 * i + s], start[2 * i + s + 1]):
                b = other[k] * ROW
                x = subtract(add(spread(vectors, 3 * k), load(d, b)), xi)
                y = subtract(add(spread(vectors, 3 * k + 1), load(d, b + LANES)), yi)
                z = subtract(add(spread(vectors, 3 * k + 2), load(d, b + 2 * LANES)), zi)
                w = pull(fma(x, x, fma(y, y, mul(z, z))), cut, c6, c12, slope, held)
                fx, fy, fz = fma(w, x, fx), fma(w, y, fy), fma(w, z, fz)
                store(f, b, less(w, x, load(f, b)))
                store(f, b + LANES, less(w, y, load(f, b + LANES)))
                store(f, b + 2 * LANES, less(w, z, load(f, b + 2 * LANES)))
        store(f, a, fx)
        store(f, a + LANES, fy)
        store(f, a + 2 * LANES, fz)


@njit
def _advance(replicas, motion, step):
    """Wall, kick, half a drift, friction and noise, half a drift.

    Reads   replicas.f, motion, step, which numbers the noise.
    Writes  replicas.d, replicas.v.
    One lane is one replica.
    """
    d, v, f = replicas.d, replicas.v, replicas.f
    dt, ou, amplitude, radius, stiffness, seed = motion
    n = len(d) // ROW
    whole, half, keep = splat(d, np.float32(dt)), splat(d, np.float32(dt / 2)), splat(d, np.float32(ou))
    strength, minus = splat(d, np.float32(amplitude)), splat(d, np.float32(-1))
    reach = load(radius, 0)
    for i in range(n):
        a = i * ROW
        x, y, z = load(d, a), load(d, a + LANES), load(d, a + 2 * LANES)
        w = mul(minus, wall(fma(x, x, fma(y, y, mul(z, z))), reach, np.float32(stiffness)))
        for c in range(3):
            at = a + c * LANES
            x = load(d, at)
            speed = fma(whole, fma(w, x, load(f, at)), load(v, at))
            x = fma(half, speed, x)
            speed = fma(strength, noise((step * n + i) * 3 + c, seed), mul(keep, speed))
            store(v, at, speed)
            store(d, at, fma(half, speed, x))


@njit
def _centre(replicas):
    """Take the means over all particles off displacements and velocities.

    Reads   nothing else.
    Writes  replicas.d, replicas.v, replicas.mean.
    One lane is one replica.
    """
    d, v, mean = replicas.d, replicas.v, replicas.mean
    n = len(d) // ROW
    mean[:] = 0
    for i in range(n):
        for c in range(0, ROW, LANES):
            store(mean, c, add(load(mean, c), load(d, i * ROW + c)))
            store(mean, ROW + c, add(load(mean, ROW + c), load(v, i * ROW + c)))
    share = splat(d, np.float32(1 / n))
    for i in range(n):
        for c in range(0, ROW, LANES):
            store(d, i * ROW + c, subtract(load(d, i * ROW + c), mul(share, load(mean, c))))
            store(v, i * ROW + c, subtract(load(v, i * ROW + c), mul(share, load(mean, ROW + c))))


@njit
def _count(replicas):
    """Add displacements and their products xx yy zz xy xz yz to the sums.

    Reads   replicas.d.
    Writes  replicas.sums.
    One lane is one replica.
    """
    d, sums = replicas.d, replicas.sums
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
