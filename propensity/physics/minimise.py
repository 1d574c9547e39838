"""L-BFGS on the Kob–Andersen mixture: fused forces by lists with a skin, no interpreter within a step.

The steps are those of ASE's ``LBFGS`` without a line search (J. Nocedal, Math. Comput. 35, 773 (1980)), and
so are the minima.

Symbols
-------
============  ===============================================================  ==========
letter        meaning                                                          shape
============  ===============================================================  ==========
n, i          particles, and one of them
j             a neighbour: a particle, or from n on an image of one
b             species of the neighbours
r2, sixth     squared distance, and (σ/r)⁶                                     one a pair
s, y          a step that is remembered, and the change of the gradient in it  (3n,)
k, age, slot  step, how many steps ago, and its place in the ring
============  ===============================================================  ==========
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from propensity.compiling import njit
from propensity.neighbours import neighbour_list
from propensity.structure import Structure
from propensity.threads import blocks_of, share

#: Range of the list beyond that of the potential, in σ: it serves until a particle has moved half of it.
SKIN = 0.4


@dataclass(frozen=True)
class NeighboursBySpecies:
    """Neighbours of each particle by their species, images in place as particles of their own.

    Parameters
    ----------
    at
        Positions for which the list was made, shape (N, 3).
    start, other
        Neighbours of particle i and species b are ``other[start[2 i + b]:start[2 i + b + 1]]``: unsigned,
        since signed indices could count from the end.
    owner, shift
        Of which particle each image is, shape (M,), and how far away, shape (M, 3); it is number N + its row.
    """

    at: np.ndarray
    start: np.ndarray
    other: np.ndarray
    owner: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, structure: Structure, pairs: np.ndarray) -> NeighboursBySpecies:
        """List neighbours within the cutoff of their species and the skin."""
        at, types, cell = structure.positions, structure.types, structure.cell
        reach = np.sqrt(pairs[:, :, 0]) + SKIN
        edge_index, edge_vec = neighbour_list(structure, float(reach.max()))
        (j, i), vectors = edge_index.numpy(), edge_vec.numpy()
        # Open directions may have no cell vector, and no images.
        inverse = np.linalg.pinv(cell)
        # How many cells an image can be away.
        most = 1 + int(np.ceil((reach.max() + 2 * np.ptp(at, axis=0).max()) * np.linalg.norm(inverse, 2)))
        start, other, owner, wraps = _group(i, j, vectors, at, inverse, types, reach**2, most)
        return cls(at.copy(), start, other, owner, wraps @ cell)


@njit(nogil=True)
def _group(i, j, vectors, at, inverse, types, reach2, most):
    """Neighbours by particle and species, and the images among them: see :class:`NeighboursBySpecies`.

    Reads   edges (i, j, vectors), positions ``at``, inverse cell, types, squared reach of each pair of
            species and ``most``, how many cells an image can be away.
    Writes  nothing; returns start, other, owner and wraps, cells by which each image is away.
    One call is all edges.
    """
    n = len(at)
    start = np.zeros(2 * n + 1, dtype=np.int64)
    for e in range(len(i)):
        x, y, z = vectors[e, 0], vectors[e, 1], vectors[e, 2]
        if x * x + y * y + z * z < reach2[types[i[e]], types[j[e]]]:
            start[2 * i[e] + types[j[e]] + 1] += 1
    for k in range(2 * n):
        start[k + 1] += start[k]
    other, place = np.empty(start[-1], dtype=np.uint32), start[:-1].copy()
    side = 2 * most + 1
    known = {np.int64(-1): np.uint32(0)}  # one entry shows numba the types
    owner, wraps = np.empty(len(i), dtype=np.int64), np.empty((len(i), 3))
    n_images = 0
    wrap = np.empty(3, dtype=np.int64)
    for e in range(len(i)):
        x, y, z = vectors[e, 0], vectors[e, 1], vectors[e, 2]
        if not x * x + y * y + z * z < reach2[types[i[e]], types[j[e]]]:
            continue
        x, y, z = x - at[j[e], 0] + at[i[e], 0], y - at[j[e], 1] + at[i[e], 1], z - at[j[e], 2] + at[i[e], 2]
        number = np.uint32(j[e])
        if abs(x) + abs(y) + abs(z) > 1e-9:
            for d in range(3):
                wrap[d] = round(x * inverse[0, d] + y * inverse[1, d] + z * inverse[2, d])
            code = ((j[e] * side + wrap[0] + most) * side + wrap[1] + most) * side + wrap[2] + most
            if code not in known:
                known[code] = np.uint32(n + n_images)
                owner[n_images] = j[e]
                for d in range(3):
                    wraps[n_images, d] = wrap[d]
                n_images += 1
            number = known[code]
        group = 2 * i[e] + types[j[e]]
        other[place[group]] = number
        place[group] += 1
    return start, other, owner[:n_images].copy(), wraps[:n_images].copy()


class _Places(NamedTuple):
    """Coordinates of particles and images, one array each."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


class _Lists(NamedTuple):
    """Neighbours by particle and species."""

    start: np.ndarray  # first neighbour of each particle and species
    other: np.ndarray


class _Past(NamedTuple):
    """Steps that are remembered, in a ring."""

    moves: np.ndarray  # (memory, 3N)
    changes: np.ndarray  # of the gradient, likewise
    inverse: np.ndarray  # 1 / (change · move)
    weights: np.ndarray  # room for the first loop's


class Search:
    """L-BFGS from one structure.

    Parameters
    ----------
    structure
        Where it begins; types 0 and 1, periodic.
    pairs
        Of :func:`propensity.physics.kob_andersen.pair_table`.
    maxstep
        Longest way of a particle in a step.
    alpha
        First guess of the curvature.
    memory
        Steps that are remembered.
    """

    def __init__(
        self, structure: Structure, pairs: np.ndarray, *, maxstep: float, alpha: float, memory: int
    ) -> None:
        self.structure, self.pairs, self.maxstep, self.alpha = structure, pairs, maxstep, alpha
        self.positions = structure.positions.copy()
        n = self.positions.size
        self._list = NeighboursBySpecies.of(structure, pairs)
        self._forces, self._before = np.empty_like(self.positions), np.empty_like(self.positions)
        self._past = _Past(np.empty((memory, n)), np.empty((memory, n)), np.empty(memory), np.empty(memory))
        self._step = np.empty(n)

    def run(self, force: float, steps: int) -> float:
        """Go on until no force is larger than ``force``; returns the largest one."""
        largest = self._evaluate()
        for k in range(steps):
            if not force <= largest < np.inf:
                break
            past = self._past
            known = min(k, len(past.moves))
            _direction(self._forces.reshape(-1), past, k, known, 1 / self.alpha, self._step)
            slot = k % len(past.moves)
            self._before[:] = self._forces
            moved = _advance(self.positions, self._step, self.maxstep, self._list.at, past.moves[slot])
            if moved > SKIN / 2:
                self._list = NeighboursBySpecies.of(self.structure.with_positions(self.positions), self.pairs)
            largest = self._evaluate()
            past.inverse[slot] = _change(self._before, self._forces, past.moves[slot], past.changes[slot])
        return largest

    def forces(self, positions: np.ndarray) -> np.ndarray:
        """Go to these positions; forces there, shape (N, 3)."""
        self.positions[:] = positions
        if np.linalg.norm(positions - self._list.at, axis=1).max() > SKIN / 2:
            self._list = NeighboursBySpecies.of(self.structure.with_positions(self.positions), self.pairs)
        self._evaluate()
        return self._forces.copy()

    def _evaluate(self) -> float:
        """Forces at the positions; returns the largest."""
        pairs, n = self._list, len(self.positions)
        x, y, z = np.empty((3, n + len(pairs.owner)))
        _place(self.positions, pairs.owner, pairs.shift, x, y, z)
        share(
            _pull,
            blocks_of(n),
            _Places(x, y, z),
            self.structure.types,
            _Lists(pairs.start, pairs.other),
            self.pairs,
            self._forces,
        )
        return float(np.sqrt(np.einsum("nd,nd->n", self._forces, self._forces).max()))


@njit(nogil=True)
def _place(positions, owner, shift, x, y, z):
    """Coordinates of particles, then of images.

    Reads   positions (N, 3), owner (M,), shift (M, 3).
    Writes  x, y and z (N + M,).
    One call is all of them.
    """
    n = len(positions)
    for i in range(n):
        x[i], y[i], z[i] = positions[i, 0], positions[i, 1], positions[i, 2]
    for k in range(len(owner)):
        i = owner[k]
        x[n + k], y[n + k], z[n + k] = x[i] + shift[k, 0], y[i] + shift[k, 1], z[i] + shift[k, 2]


# With Python's rules each division asks for a zero first, and nothing becomes SIMD.
@njit(nogil=True, fastmath=True, error_model="numpy")
def _pull(first, last, blocks, places, types, lists, pairs, forces):
    """Forces on the particles of some blocks.

    Reads   places, types (N,), lists, pairs (2, 2, 5) of the pair table.
    Writes  forces (N, 3).
    One call is a range of blocks of particles.
    """
    x, y, z = places
    start, other = lists
    n = len(types)
    for i in range(n * first // blocks, n * last // blocks):
        fx = fy = fz = 0.0
        xi, yi, zi = x[i], y[i], z[i]
        for b in range(2):
            cut, square, four = pairs[types[i], b, 0], pairs[types[i], b, 1], pairs[types[i], b, 2]
            slope = pairs[types[i], b, 4]
            for k in range(start[2 * i + b], start[2 * i + b + 1]):
                j = other[k]
                dx, dy, dz = x[j] - xi, y[j] - yi, z[j] - zi
                r2 = dx * dx + dy * dy + dz * dz
                inverse = 1.0 / r2
                sixth = square * inverse
                sixth = sixth * sixth * sixth
                pull = four * (6 - 12 * sixth) * sixth * inverse - slope * math.sqrt(inverse)  # u′/r
                # A choice of values and not of ways: most neighbours are within.
                pull = pull if r2 < cut else 0.0
                fx += pull * dx
                fy += pull * dy
                fz += pull * dz
        forces[i, 0], forces[i, 1], forces[i, 2] = fx, fy, fz


@njit(nogil=True, fastmath=True)
def _direction(forces, past, k, known, scale, step):
    """Two-loop recursion: ``step`` becomes the inverse curvature, as the last ``known`` steps show it, times
    the forces.
    """
    moves, changes, inverse, weights = past
    memory, n = moves.shape
    for c in range(n):
        step[c] = forces[c]
    for age in range(1, known + 1):
        slot = (k - age) % memory
        s, y = moves[slot], changes[slot]
        dot = 0.0
        for c in range(n):
            dot += s[c] * step[c]
        weight = inverse[slot] * dot
        weights[slot] = weight
        for c in range(n):
            step[c] -= weight * y[c]
    for c in range(n):
        step[c] *= scale
    for age in range(known, 0, -1):
        slot = (k - age) % memory
        s, y = moves[slot], changes[slot]
        dot = 0.0
        for c in range(n):
            dot += y[c] * step[c]
        weight = weights[slot] - inverse[slot] * dot
        for c in range(n):
            step[c] += weight * s[c]


@njit(nogil=True)
def _advance(positions, step, maxstep, origin, move):
    """Move by ``step`` (3N,), shortened where a particle would go too far; returns the longest way from
    ``origin``.
    """
    n = len(positions)
    longest = 0.0
    for i in range(n):
        longest = max(longest, step[3 * i] ** 2 + step[3 * i + 1] ** 2 + step[3 * i + 2] ** 2)
    longest = math.sqrt(longest)
    scale = maxstep / longest if longest >= maxstep else 1.0
    away = 0.0
    for i in range(n):
        square = 0.0
        for d in range(3):
            before = positions[i, d]
            positions[i, d] = before + scale * step[3 * i + d]
            move[3 * i + d] = positions[i, d] - before
            square += (positions[i, d] - origin[i, d]) ** 2
        away = max(away, square)
    return math.sqrt(away)


@njit(nogil=True, fastmath=True)
def _change(before, forces, move, change):
    """Change of the gradient in a step; returns 1 / (change · move)."""
    dot = 0.0
    for i in range(len(forces)):
        for d in range(3):
            c = 3 * i + d
            change[c] = before[i, d] - forces[i, d]
            dot += change[c] * move[c]
    return 1.0 / dot
