"""A cell that every backend can work in."""

from __future__ import annotations

import numpy as np

from propensity.lattice import reduced_cell
from propensity.structure import Structure


def enclosing_cell(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a non-singular cell and positions inside it: wrapped if periodic, shifted if open.

    The vectors of a sheared cell are replaced by the shortest that span the same lattice.
    """
    pbc, positions = structure.pbc, structure.positions
    cell = reduced_cell(structure.cell, pbc).copy()
    if not pbc.all():
        # Open directions get unit vectors orthogonal to the periodic ones, long enough to hold every
        # particle.
        basis = np.linalg.svd(cell[pbc], full_matrices=True)[2][pbc.sum() :] if pbc.any() else np.eye(3)
        cell[~pbc] = basis
        fractional = np.linalg.solve(cell.T, positions.T).T
        low, high = fractional.min(axis=0), fractional.max(axis=0)
        origin = np.where(pbc, 0.0, low - cutoff) @ cell
        positions = positions - origin
        cell[~pbc] *= (high - low + 2 * cutoff)[~pbc, None]
    images = np.floor(positions @ np.linalg.inv(cell))
    images[:, ~pbc] = 0
    # Positions inside the cell stay as they are, to the last digit.
    return cell, positions - images @ cell if images.any() else positions
