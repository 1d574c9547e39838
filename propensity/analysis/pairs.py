"""Pairs of particles under periodic boundaries of any shape, each once."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.errors import InputError
from propensity.numeric import positive
from propensity.structure import Structure


def as_structure(positions: Any, cell: Any, pbc: Any = True, types: Any = None) -> tuple[Structure, int]:
    """Checked structure of plain arrays, and its number of dimensions d.

    Coordinates beyond the first d of positions and cell vectors are zero: planar arrays get a third one, and
    a plane in space is laid into x and y.
    """
    positions = np.asarray(positions, dtype=np.float64)
    if positions.ndim != 2 or positions.shape[1] not in (2, 3):
        raise InputError(f"positions have shape {positions.shape}: give an array (N, 2) or (N, 3).")
    types = np.zeros(len(positions), dtype=np.int64) if types is None else types
    structure = Structure(positions, types, cell, pbc)
    if structure.dimension == 2 and positions.shape[1] == 3:
        own, kept = structure.directions, np.sort(np.argsort(np.ptp(positions, axis=0))[1:])
        return Structure(positions[:, kept], types, structure.cell[own][:, kept], structure.pbc[own]), 2
    return structure, structure.dimension


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
    # The search bins particles in cubes of this edge, of which a large cell has room for too many small ones.
    spacing = (abs(np.linalg.det(cell)) / len(positions)) ** (1 / 3)
    reach = max(float(cutoff), min(spacing / 2, longest_distance(structure)))
    i, j, r = neighbour_list("ijd", positions=positions, cell=cell, pbc=structure.pbc, cutoff=reach)
    once = (i < j) & (r < cutoff)
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
    if not structure.is_periodic:
        raise InputError("g(r) needs a box that is periodic in every direction: the density is undefined.")
    r_max = min(longest_distance(structure), 5.0) if r_max is None else positive(r_max, "r_max", "a distance")
    bin_width = positive(bin_width, "bin_width", "the width of a bin")
    edges = np.linspace(0, r_max, max(2, round(r_max / bin_width) + 1))
    count = np.histogram(pairs_of(structure, r_max)[2], edges)[0]
    n = len(structure)
    return (edges[1:] + edges[:-1]) / 2, 2 * count * structure.volume / (n * n * shells(edges, dimension))


def shells(edges: np.ndarray, dimension: int) -> np.ndarray:
    """Volume (area) between the spheres (circles) with the radii ``edges``, shape (len(edges) − 1,)."""
    return np.diff(4 / 3 * np.pi * edges**3 if dimension == 3 else np.pi * edges**2)
