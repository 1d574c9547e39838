"""Pairs of particles under periodic boundaries of any shape, each once."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.errors import InputError
from propensity.structure import Structure


def as_structure(positions: Any, cell: Any, pbc: Any = True, types: Any = None) -> tuple[Structure, int]:
    """Checked structure of plain arrays in two or three dimensions, and the number of dimensions.

    Two-dimensional arrays get a third coordinate of zero along an open direction.
    """
    positions = np.asarray(positions, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] not in (2, 3):
        raise InputError(f"positions have shape {positions.shape}: give an array (N, 2) or (N, 3).")
    n, dimension = positions.shape
    types = np.zeros(n, dtype=np.int64) if types is None else types
    if dimension == 3:
        return Structure(positions, types, cell, pbc), 3
    edges = np.asarray(cell, dtype=np.float64)
    edges = np.diag(np.broadcast_to(edges, (2,))) if edges.ndim < 2 else edges
    if edges.shape != (2, 2):
        raise InputError(f"cell has shape {edges.shape} for positions in the plane: give two vectors (2, 2).")
    full = np.zeros((3, 3))
    full[:2, :2] = edges
    periodic = np.array([*np.broadcast_to(np.asarray(pbc, dtype=bool), (2,)), False])
    return Structure(np.column_stack([positions, np.zeros(n)]), types, full, periodic), 2


def widths(structure: Structure) -> np.ndarray:
    """Distance between opposite faces of the cell along each periodic direction, shape (n_periodic,)."""
    if not structure.pbc.any():
        return np.array([])
    rows = structure.cell[structure.pbc]
    return np.asarray(1 / np.linalg.norm(np.linalg.pinv(rows), axis=0))


def longest_distance(structure: Structure) -> float:
    """Half the smallest width of the periodic cell, beyond which pairs have two images; ∞ in open space."""
    found = widths(structure)
    return float(found.min()) / 2 if len(found) else np.inf


def pairs_of(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See :func:`find_pairs`, for a structure."""
    from matscipy.neighbours import neighbour_list

    from propensity.neighbours.cell import enclosing_cell

    if not (np.isfinite(cutoff) and cutoff > 0):
        raise InputError(f"the largest distance is {cutoff}: give a positive finite number.")
    if cutoff > longest_distance(structure) * (1 + 1e-9):
        raise InputError(
            f"the largest distance {cutoff:g} is beyond half the smallest width of the cell, "
            f"{longest_distance(structure):g}: give a smaller one."
        )
    cell, positions = enclosing_cell(structure, cutoff)
    i, j, r = neighbour_list("ijd", positions=positions, cell=cell, pbc=structure.pbc, cutoff=float(cutoff))
    once = i < j
    return i[once], j[once], r[once]


def find_pairs(
    positions: Any, cell: Any, cutoff: float, pbc: Any = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of particles closer than ``cutoff``, once.

    Parameters
    ----------
    positions
        Shape (N, d), d = 2 or 3; wrapped or not.
    cell
        Cell vectors as rows (d, d), edges (d,) or one number; orthorhombic or triclinic.
    cutoff
        At most half the smallest distance between opposite faces of the cell.
    pbc
        Periodic directions, shape (d,) or one value.

    Returns
    -------
    i, j : int, (P,)
        Particles with i < j.
    r : float64, (P,)
        Distance of the nearest image.

    Raises
    ------
    InputError
        For a cutoff at which a pair has several images.
    """
    structure, _ = as_structure(positions, cell, pbc)
    return pairs_of(structure, cutoff)


def radial_distribution(
    positions: Any, cell: Any, pbc: Any = True, *, r_max: float | None = None, bin_width: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """Radial distribution function g(r) = V/N² ⟨Σ_{i≠j} δ(r − r_ij)⟩ / (shell) of a periodic liquid.

    Returns
    -------
    r, g : float64, (n_bins,)
        Middle of the bins and g.
    """
    structure, dimension = as_structure(positions, cell, pbc)
    periodic = structure.pbc[:dimension]
    if not periodic.all():
        raise InputError("g(r) needs a box that is periodic in every direction: the density is undefined.")
    r_max = min(longest_distance(structure), 5.0) if r_max is None else r_max
    edges = np.linspace(0, r_max, max(2, round(r_max / bin_width) + 1))
    count = np.histogram(pairs_of(structure, r_max)[2], edges)[0]
    volume = abs(np.linalg.det(structure.cell[:dimension, :dimension]))
    n = len(structure)
    return (edges[1:] + edges[:-1]) / 2, 2 * count * volume / (n * n * shells(edges, dimension))


def shells(edges: np.ndarray, dimension: int) -> np.ndarray:
    """Volume (area) between the spheres (circles) with the radii ``edges``, shape (len(edges) − 1,)."""
    return np.diff(4 / 3 * np.pi * edges**3 if dimension == 3 else np.pi * edges**2)
