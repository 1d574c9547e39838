"""Polydisperse soft spheres, compiled: forces, dynamics, minima, and swaps of diameters.

The non-additive mixture of A. Ninarello, L. Berthier and D. Coslovich, Phys. Rev. X 7, 021039 (2017):
v(r) = (σ_ij/r)¹² + c₀ + c₂(r/σ_ij)² + c₄(r/σ_ij)⁴ below 1.25 σ_ij, smooth to its second derivative, with
σ_ij = ½(σ_i + σ_j)(1 − 0.2|σ_i − σ_j|).

Symbols
-------
=======  ====================================================  ==========
letter   meaning                                               shape
=======  ====================================================  ==========
x, v, f  positions, velocities, forces                         (N, 3)
box      lengths of the box; the third is 1 in two dimensions  (3,)
listed   neighbours: the first counts[i] of each row           (N, most)
s, u     σ_ij of a pair, and (r/σ_ij)²                         one a pair
=======  ====================================================  ==========
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np

from propensity.compiling import njit

#: Range in σ_ij, and non-additivity.
CUT, NON_ADDITIVE = 1.25, 0.2
C0, C2, C4 = -28.0 / CUT**12, 48.0 / CUT**14, -21.0 / CUT**16
#: Range of the neighbour list beyond the largest cutoff.
SKIN = 0.35


class Spheres(NamedTuple):
    """State, in units of the mean diameter, the mass and the energy of a pair."""

    x: np.ndarray  # (N, 3), positions
    v: np.ndarray  # (N, 3), velocities
    box: np.ndarray  # (3,), lengths; the third is 1 in two dimensions
    diameters: np.ndarray  # (N,)


class Bath(NamedTuple):
    """What holds the temperature, and exchanges diameters."""

    first: float  # temperature at the start; 0: constant energy
    last: float  # temperature at the end
    tau: float  # damping time
    swap_every: int  # steps between rounds of swaps, of as many pairs as there are particles; 0: none


class Schedule(NamedTuple):
    """Steps, and when something is recorded."""

    steps: int
    dt: float  # time step
    frames: np.ndarray  # (F,), steps whose positions are kept
    every: int  # steps between records of energies and virial


def sizes(n: int, spread: float) -> np.ndarray:
    """Diameters of P(σ) ∝ σ⁻³ with mean 1, at equal steps of probability, shape (n,).

    Parameters
    ----------
    n
        Particles.
    spread
        Standard deviation relative to the mean; 0.23 makes σ_max/σ_min = 2.22.
    """
    from scipy.optimize import brentq

    def of_ratio(q: float) -> float:
        mean, square = 2 * q / (1 + q), 2 * math.log(q) / (1 - q**-2)
        return math.sqrt(square / mean**2 - 1) - spread

    q = brentq(of_ratio, 1 + 1e-6, 1e3)
    low = (1 + q) / (2 * q)
    share = (np.arange(n) + 0.5) / n
    return cast("np.ndarray", 1 / np.sqrt(low**-2 - share * (low**-2 - (q * low) ** -2)))


@njit(cache=True, nogil=True)
def list_neighbours(x, box, reach, counts, listed):  # type: ignore[no-untyped-def]
    """List all particles within ``reach`` of each; False when a row is too short for them.

    Reads   x, box, reach.
    Writes  counts, listed.
    One call is all particles: sorted into cells at least ``reach`` wide, so that the time is linear in their
    number; a direction of less than three such cells is one cell.
    """
    n, inverse = len(x), 1 / box
    across, cell = np.ones(3, np.int64), np.zeros(n, np.int64)
    for k in range(3):
        if box[k] >= 3 * reach:
            across[k] = int(box[k] / reach)
    first = np.zeros(across.prod() + 1, np.int64)
    for i in range(n):
        for k in range(3):
            share = x[i, k] * inverse[k]
            cell[i] = cell[i] * across[k] + min(int((share - math.floor(share)) * across[k]), across[k] - 1)
        first[cell[i] + 1] += 1
    first = np.cumsum(first)
    order, filled = np.zeros(n, np.int64), first[:-1].copy()
    for i in range(n):
        order[filled[cell[i]]] = i
        filled[cell[i]] += 1
    inside = x[order]  # in the order of the cells
    counts[:] = 0
    for own in range(len(first) - 1):
        for step in range(14):  # this cell and half of those around it, so that a pair is met once
            a, b, c = (step + 13) // 9 - 1, (step + 13) // 3 % 3 - 1, (step + 13) % 3 - 1
            if (a != 0 and across[0] == 1) or (b != 0 and across[1] == 1) or (c != 0 and across[2] == 1):
                continue
            other = (own // (across[1] * across[2]) + a) % across[0]
            other = other * across[1] + (own // across[2] + b) % across[1]
            other = other * across[2] + (own + c) % across[2]
            for p in range(first[own], first[own + 1]):
                for q in range(p + 1 if step == 0 else first[other], first[other + 1]):
                    d2 = 0.0
                    for k in range(3):
                        d = inside[p, k] - inside[q, k]
                        d -= box[k] * np.rint(d * inverse[k])
                        d2 += d * d
                    if d2 < reach * reach:
                        i, j = order[p], order[q]
                        if counts[i] >= listed.shape[1] or counts[j] >= listed.shape[1]:
                            return False
                        listed[i, counts[i]] = j
                        counts[i] += 1
                        listed[j, counts[j]] = i
                        counts[j] += 1
    return True


@njit(cache=True, nogil=True)
def particle_energy(i, size, x, box, diameters, counts, listed):  # type: ignore[no-untyped-def]
    """Energy of particle ``i`` with its neighbours, were its diameter ``size``.

    Reads   x, box, diameters (N,), counts, listed.
    One call is one particle.
    """
    total = 0.0
    ax, ay, az = 1 / box[0], 1 / box[1], 1 / box[2]
    for m in range(counts[i]):
        j = listed[i, m]
        dx, dy, dz = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2]
        dx -= box[0] * np.rint(dx * ax)
        dy -= box[1] * np.rint(dy * ay)
        dz -= box[2] * np.rint(dz * az)
        d2 = dx * dx + dy * dy + dz * dz
        most = 0.5 * CUT * (size + diameters[j])
        if d2 >= most * most:  # beyond the range of an additive pair, and so of this one
            continue
        s = 0.5 * (size + diameters[j]) * (1 - NON_ADDITIVE * abs(size - diameters[j]))
        u = d2 / (s * s)
        if u < CUT * CUT:
            total += 1 / (u * u * u * u * u * u) + C0 + C2 * u + C4 * u * u
    return total


@njit(cache=True, nogil=True)
def forces(x, box, diameters, counts, listed, f):  # type: ignore[no-untyped-def]
    """Forces; returns potential energy and virial Σ r·f over pairs.

    Reads   x, box, diameters (N,), counts, listed.
    Writes  f.
    One call is all particles.
    """
    energy = virial = 0.0
    f[:] = 0.0
    dr, inverse = np.empty(3), 1 / box
    for i in range(len(x)):
        for m in range(counts[i]):
            j = listed[i, m]
            if j < i:
                continue
            d2 = 0.0
            for k in range(3):
                d = x[i, k] - x[j, k]
                d -= box[k] * np.rint(d * inverse[k])
                dr[k] = d
                d2 += d * d
            most = 0.5 * CUT * (diameters[i] + diameters[j])
            if d2 >= most * most:
                continue
            s = 0.5 * (diameters[i] + diameters[j]) * (1 - NON_ADDITIVE * abs(diameters[i] - diameters[j]))
            u = d2 / (s * s)
            if u < CUT * CUT:
                twelfth = 1 / (u * u * u * u * u * u)
                energy += twelfth + C0 + C2 * u + C4 * u * u
                # −v′/r
                pull = (12 * twelfth / u - 2 * C2 - 4 * C4 * u) / (s * s)
                virial += pull * d2
                for k in range(3):
                    f[i, k] += pull * dr[k]
                    f[j, k] -= pull * dr[k]
    return energy, virial


@njit(cache=True, nogil=True)
def farthest_move(x, listed_at):  # type: ignore[no-untyped-def]
    """Square of the longest way of a particle since the list was made."""
    most = 0.0
    for i in range(len(x)):
        d2 = 0.0
        for k in range(3):
            d2 += (x[i, k] - listed_at[i, k]) ** 2
        most = max(most, d2)
    return most


@njit(cache=True, nogil=True)
def rescaled(kinetic, wanted, degrees, dt, tau, rng):  # type: ignore[no-untyped-def]
    """Factor of the velocities by stochastic rescaling, G. Bussi et al., JCP 126, 014101 (2007)."""
    c = math.exp(-dt / tau)
    first = rng.standard_normal()
    rest = 2 * rng.gamma((degrees - 1) / 2)
    ratio = (1 - c) * wanted / (kinetic * degrees)
    return math.sqrt(c + ratio * (rest + first * first) + 2 * first * math.sqrt(c * ratio))


@njit(cache=True, nogil=True)
def swaps(number, temperature, x, box, diameters, counts, listed, rng):  # type: ignore[no-untyped-def]
    """Try to exchange the diameters of ``number`` random pairs (Metropolis); returns how many were.

    Reads   x, box, counts, listed; numbers from rng.
    Writes  diameters (N,).
    """
    n, done = len(x), 0
    for _ in range(number):
        i, j = rng.integers(0, n), rng.integers(0, n)
        a, b = diameters[i], diameters[j]
        if i == j:
            continue
        before = particle_energy(i, a, x, box, diameters, counts, listed)
        before += particle_energy(j, b, x, box, diameters, counts, listed)
        diameters[i], diameters[j] = b, a
        after = particle_energy(i, b, x, box, diameters, counts, listed)
        after += particle_energy(j, a, x, box, diameters, counts, listed)
        # A pair of neighbours is counted twice in both sums; σ_ij is the same before and after.
        if after > before and rng.random() >= math.exp(-(after - before) / temperature):
            diameters[i], diameters[j] = a, b
        else:
            done += 1
    return done


@njit(cache=True, nogil=True)
def dynamics(spheres, schedule, bath, most, rng):  # type: ignore[no-untyped-def]
    """Velocity Verlet of unit masses, in a bath.

    Reads   spheres, schedule, bath; ``most``, room for neighbours of a particle in the list.
    Writes  x, v and diameters of the spheres.
    One call is one run.

    Returns
    -------
    Positions (F, N, 3) at the schedule's frames, and records (M, 3) of potential energy, kinetic energy and
    virial each ``every`` steps.  The flag says whether the list was long enough.
    """
    x, v, box, diameters = spheres
    steps, dt, frames, every = schedule
    first, last, tau, swap_every = bath
    n = len(x)
    dimension = 2 if box[2] == 1.0 and np.all(x[:, 2] == 0.0) else 3
    degrees = dimension * (n - 1)
    reach = CUT * diameters.max() + SKIN
    counts, listed = np.zeros(n, np.int64), np.zeros((n, most), np.int64)
    f, at = np.zeros((n, 3)), x.copy()
    taken = np.zeros((len(frames), n, 3))
    records = np.zeros((steps // every + 1, 3))
    if not list_neighbours(x, box, reach, counts, listed):
        return taken, records, False
    energy, virial = forces(x, box, diameters, counts, listed, f)
    records[0] = energy, 0.5 * (v * v).sum(), virial
    frame = 0
    for step in range(1, steps + 1):
        v += 0.5 * dt * f
        x += dt * v
        if farthest_move(x, at) > (SKIN / 2) ** 2:
            if not list_neighbours(x, box, reach, counts, listed):
                return taken, records, False
            at[:] = x
        energy, virial = forces(x, box, diameters, counts, listed, f)
        v += 0.5 * dt * f
        if first > 0:
            temperature = first + (last - first) * step / steps
            kinetic = 0.5 * (v * v).sum()
            v *= rescaled(kinetic, 0.5 * degrees * temperature, degrees, dt, tau, rng)
            if swap_every > 0 and step % swap_every == 0:
                swaps(n, temperature, x, box, diameters, counts, listed, rng)
                energy, virial = forces(x, box, diameters, counts, listed, f)
        if frame < len(frames) and step == frames[frame]:
            taken[frame] = x
            frame += 1
        if step % every == 0:
            records[step // every] = energy, 0.5 * (v * v).sum(), virial
    return taken, records, True


@njit(cache=True, nogil=True)
def fire(x, box, diameters, iterations, tolerance, most):  # type: ignore[no-untyped-def]
    """FIRE to a largest force component of ``tolerance``; returns first and last energy, that component, and
    whether the list was long enough.

    Reads   box, diameters (N,); ``most``, room for neighbours of a particle in the list.
    Writes  x.
    """
    n = len(x)
    reach = CUT * diameters.max() + SKIN
    counts, listed = np.zeros(n, np.int64), np.zeros((n, most), np.int64)
    f, v, at = np.zeros((n, 3)), np.zeros((n, 3)), x.copy()
    if not list_neighbours(x, box, reach, counts, listed):
        return 0.0, 0.0, 0.0, False
    energy, _ = forces(x, box, diameters, counts, listed, f)
    start, dt, alpha, good = energy, 0.002, 0.1, 0
    for _ in range(iterations):
        if np.abs(f).max() < tolerance:
            break
        power = (f * v).sum()
        if power > 0:
            length, strength = math.sqrt((v * v).sum()), math.sqrt((f * f).sum())
            v = (1 - alpha) * v + alpha * f * (length / strength)
            good += 1
            if good > 5:
                dt, alpha = min(1.1 * dt, 0.03), 0.99 * alpha
        else:
            v[:] = 0.0
            dt, alpha, good = max(0.5 * dt, 1e-5), 0.1, 0
        v += dt * f
        step = dt * v
        longest = np.abs(step).max()
        if longest > 0.05:
            step *= 0.05 / longest
        x += step
        if farthest_move(x, at) > (SKIN / 2) ** 2:
            if not list_neighbours(x, box, reach, counts, listed):
                return start, energy, 0.0, False
            at[:] = x
        energy, _ = forces(x, box, diameters, counts, listed, f)
    return start, energy, np.abs(f).max(), True


def as_float(array: Any) -> np.ndarray:
    """Contiguous copy in float64, as the compiled code takes it."""
    return np.array(array, dtype=np.float64, order="C")
