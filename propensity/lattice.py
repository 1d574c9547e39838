"""The lattice of periodic images that a cell spans: its checks, its shortest vectors, the nearest image."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from propensity.errors import InputError
from propensity.numeric import as_numbers

#: Lattice vectors by which a cell may be sheared; more would cost the digits of the positions.
MAX_SHEAR = 1e6


def reduced_cell(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Rows that span the same lattice, the shortest there are where those of ``cell`` are sheared.

    A cell that is not sheared by more than a lattice vector stays as it is, to the last digit.
    """
    if shear(cell, pbc) <= 1 + 1e-9:
        return cell
    from ase.geometry import minkowski_reduce

    return np.asarray(minkowski_reduce(cell, pbc)[0])


def shear(cell: np.ndarray, pbc: np.ndarray) -> float:
    """Largest projection of one periodic cell vector on another, in lengths of that other."""
    rows = np.asarray(cell, dtype=float)[np.asarray(pbc, dtype=bool)]
    if len(rows) < 2:
        return 0.0
    squares = np.square(rows).sum(axis=1)
    if not squares.all():
        return 0.0
    products = np.abs(rows @ rows.T) / squares
    return float(products[~np.eye(len(rows), dtype=bool)].max())


def minimum_image(vectors: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Shift short displacements, shape (N, 3), to their nearest periodic image."""
    if not pbc.any():
        return vectors
    rows = np.array(reduced_cell(cell, pbc), dtype=float)
    # Open directions may have no cell vector; any independent one serves, since they are never shifted.
    for k in np.flatnonzero(~pbc):
        if not rows[k].any():
            rows[k] = np.linalg.svd(np.delete(rows, k, axis=0))[2][-1]
    shifts = np.rint(vectors @ np.linalg.inv(rows))
    shifts[:, ~pbc] = 0.0
    return cast("np.ndarray", vectors - shifts @ rows) if shifts.any() else vectors


def checked_pbc(pbc: Any) -> np.ndarray:
    """Periodic directions, shape (3,), from one boolean or three."""
    array = np.asarray(pbc)
    if array.shape not in ((), (3,)):
        raise InputError(f"pbc has shape {array.shape}: give one boolean or three.")
    if array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise InputError(f"pbc is {pbc!r}: give True or False, or one for each direction.")
    return np.broadcast_to(array.astype(bool), (3,)).copy()


def checked_cell(cell: Any) -> np.ndarray:
    """Finite cell vectors as rows, shape (3, 3), from them, three edges or one."""
    array = as_numbers(cell, "cell", "three vectors, shape (3, 3)")
    if array.shape in ((), (3,)):
        if (array < 0).any():
            raise InputError(f"cell has the edges {array.tolist()}: give positive ones.")
        array = np.diag(np.broadcast_to(array, (3,)))
    if array.shape != (3, 3):
        raise InputError(
            f"cell has shape {array.shape}: give a (3, 3) array of row vectors, three edges or one."
        )
    if not np.isfinite(array).all():
        raise InputError("cell has NaN or infinite entries: give three finite vectors.")
    return array.copy()


def refuse_singular(cell: np.ndarray, pbc: np.ndarray) -> None:
    """Raise where the periodic cell vectors are linearly dependent."""
    periodic = cell[pbc]
    if not len(periodic):
        return
    lengths = np.linalg.norm(periodic, axis=1)
    # Scale-free test: unit vectors that span no volume (area, length) are linearly dependent.
    if lengths.min() == 0 or np.linalg.svd(periodic / lengths[:, None], compute_uv=False).min() < 1e-8:
        raise InputError(
            f"cell {cell.tolist()} is singular along periodic directions {np.flatnonzero(pbc).tolist()}:"
            " give linearly independent vectors or set pbc=False there."
        )


def refuse_sheared(cell: np.ndarray, pbc: np.ndarray) -> None:
    """Raise where shearing has cost the digits of the cell."""
    if shear(cell, pbc) > MAX_SHEAR:
        raise InputError(
            f"the cell is sheared by {shear(cell, pbc):.0e} lattice vectors, beyond the precision of its"
            " numbers: reduce it first."
        )
