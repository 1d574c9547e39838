"""Sums over all pairs of particles within a long cutoff, without storing the pairs.

At 6σ a particle has a thousand neighbours: listing them costs several times more than summing over them.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple, cast

import numpy as np

from propensity.compiling import njit
from propensity.errors import InputError
from propensity.neighbours.cell import enclosing_cell
from propensity.structure import Structure

#: Gaussians are dropped beyond this many widths, where they are below 1e-14.
TAIL = 8.0

#: Distances are looked up in steps of this, in σ.
STEP = 0.02


class Cells(NamedTuple):
    """Particles with all periodic images that a particle of the cell can see, sorted by the cell of a grid.

    ``owner`` is the particle of each image, ``start`` where each cell of the grid begins, ``home`` where
    each particle itself stands.
    """

    positions: np.ndarray
    owner: np.ndarray
    start: np.ndarray
    home: np.ndarray
    origin: np.ndarray
    shape: np.ndarray
    width: float
    cutoff: float


def cells(structure: Structure, cutoff: float) -> Cells:
    """Sort a structure and its images for a cutoff; any cell, any combination of periodic directions."""
    cell, positions = enclosing_cell(structure, cutoff)
    # Distance between opposite faces of the cell, in cutoffs: how far to repeat it.
    reach = np.where(structure.pbc, cutoff * np.linalg.norm(np.linalg.inv(cell), axis=0), 0.0)
    low, high = positions.min(axis=0) - cutoff, positions.max(axis=0) + cutoff
    images, owners = [positions], [np.arange(len(positions))]
    for shift in product(*(range(-n, n + 1) for n in np.ceil(reach).astype(int))):
        if any(shift):
            image = positions + np.array(shift) @ cell
            seen = np.flatnonzero(((image >= low) & (image <= high)).all(axis=1))
            images.append(image[seen])
            owners.append(seen)
    everyone = np.concatenate(images)
    # Half a cutoff wastes few candidates; a wide and empty structure must not need more than 10⁶ cells.
    width = max(cutoff / 2, float((high - low).max()) / 100)
    shape = np.floor((high - low) / width).astype(np.int64) + 1
    index = np.ravel_multi_index(tuple(((everyone - low) / width).astype(np.int64).T), tuple(shape))
    order = np.argsort(index, kind="stable")
    start = np.searchsorted(index[order], np.arange(shape.prod() + 1))
    home = np.empty(len(everyone), dtype=np.int64)
    home[order] = np.arange(len(everyone))
    owner = np.concatenate(owners)[order]
    return Cells(everyone[order], owner, start, home[: len(positions)], low, shape, width, float(cutoff))


def gaussian_sums(structure: Structure, n_species: int, grid: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """G_i(r_k, δ_k, s) = Σ_{j≠i of species s} exp(−(r_ij − r_k)²/2δ_k²), shape (N, n_species·n_grid).

    Raises
    ------
    InputError
        When two particles coincide.
    """
    near = cells(structure, float((grid + TAIL * delta).max()))
    # Which shells a distance can reach, by steps of distance: most pairs see few of the shells.
    edges = np.arange(0.0, near.cutoff + 2 * STEP, STEP)
    seen = (grid + TAIL * delta > edges[:-1, None]) & (grid - TAIL * delta < edges[1:, None])
    first, last = seen.argmax(axis=1), np.where(seen.any(axis=1), len(grid) - seen[:, ::-1].argmax(axis=1), 0)
    types = structure.types.astype(np.int64)
    sums, pair = _gaussian_sums(near, types, n_species, grid, delta, first, last)
    _refuse_coincident(pair)
    return cast("np.ndarray", sums)


def exponential_sums(
    structure: Structure, values: np.ndarray, lengths: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Σ_j e^{−r_ij/ξ} and Σ_j X_j e^{−r_ij/ξ} over j ≠ i within the cutoff, each (N, n_lengths).

    Raises
    ------
    InputError
        When two particles coincide.
    """
    weights, weighted, pair = _exponential_sums(
        cells(structure, cutoff), np.asarray(values, dtype=float), np.asarray(lengths, dtype=float)
    )
    _refuse_coincident(pair)
    return weights, weighted


def _refuse_coincident(pair: tuple[int, int]) -> None:
    if pair[0] >= 0:
        raise InputError(
            f"particles {pair[0]} and {pair[1]} coincide: remove one, the direction between them is"
            " undefined."
        )


@njit(nogil=True)
def _later_neighbours(i, near, owner, distance):  # type: ignore[no-untyped-def]
    """Write particles j ≥ i within the cutoff of i and their distances; how many.  j = i is an image of i."""
    found, reach = 0, math.ceil(near.cutoff / near.width)
    here = near.home[i]
    x, y, z = near.positions[here]
    a0 = int((x - near.origin[0]) / near.width)
    b0 = int((y - near.origin[1]) / near.width)
    c0 = int((z - near.origin[2]) / near.width)
    c_first, c_last = max(c0 - reach, 0), min(c0 + reach, near.shape[2] - 1)
    for a in range(max(a0 - reach, 0), min(a0 + reach, near.shape[0] - 1) + 1):
        for b in range(max(b0 - reach, 0), min(b0 + reach, near.shape[1] - 1) + 1):
            row = (a * near.shape[1] + b) * near.shape[2]
            for k in range(near.start[row + c_first], near.start[row + c_last + 1]):
                j = near.owner[k]
                if j < i or k == here:
                    continue
                dx, dy, dz = near.positions[k, 0] - x, near.positions[k, 1] - y, near.positions[k, 2] - z
                square = dx * dx + dy * dy + dz * dz
                if square < near.cutoff * near.cutoff:
                    owner[found], distance[found] = j, math.sqrt(square)
                    found += 1
    return found


@njit(nogil=True)
def _gaussian_sums(near, types, n_species, grid, delta, first, last):  # type: ignore[no-untyped-def]
    n, n_grid = len(near.home), len(grid)
    out = np.zeros((n, n_species * n_grid))
    owner, distance = np.empty(len(near.owner), np.int64), np.empty(len(near.owner))
    for i in range(n):
        for e in range(_later_neighbours(i, near, owner, distance)):
            j, r = owner[e], distance[e]
            if r == 0.0:
                return out, (i, j)
            mine, other, step = types[i] * n_grid, types[j] * n_grid, int(r / STEP)
            for k in range(first[step], last[step]):
                u = (r - grid[k]) / delta[k]
                if abs(u) < TAIL:
                    gaussian = math.exp(-0.5 * u * u)
                    out[i, other + k] += gaussian
                    if j != i:
                        out[j, mine + k] += gaussian
    return out, (-1, -1)


@njit(nogil=True)
def _exponential_sums(near, values, lengths):  # type: ignore[no-untyped-def]
    n, n_lengths = len(near.home), len(lengths)
    weights, weighted = np.zeros((n, n_lengths)), np.zeros((n, n_lengths))
    owner, distance = np.empty(len(near.owner), np.int64), np.empty(len(near.owner))
    for i in range(n):
        for e in range(_later_neighbours(i, near, owner, distance)):
            j, r = owner[e], distance[e]
            if r == 0.0:
                return weights, weighted, (i, j)
            for k in range(n_lengths):
                weight = math.exp(-r / lengths[k])
                weights[i, k] += weight
                weighted[i, k] += weight * values[j]
                if j != i:
                    weights[j, k] += weight
                    weighted[j, k] += weight * values[i]
    return weights, weighted, (-1, -1)
