"""How many dimensions a configuration has: particles in one plane are a two-dimensional liquid."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.errors import InputError

#: Coordinates that differ by less than this share of the extent in the plane lie in one plane.
FLAT = 1e-6
#: Fewer particles than this lie in a plane by chance; they are planar only in a cell that is thin, too.
FEW = 4


def is_planar(vectors: Any) -> bool:
    """Whether vectors have two components, shape (N, 2)."""
    try:
        shape = np.shape(vectors)
    except ValueError:  # rows of unequal length
        return False
    return len(shape) == 2 and shape[1] == 2


def in_space(vectors: Any) -> Any:
    """Planar vectors, shape (N, 2), with a third component 0; everything else as it is."""
    return np.pad(np.asarray(vectors), ((0, 0), (0, 1))) if is_planar(vectors) else vectors


def planar_cell(cell: Any) -> Any:
    """Cell of a planar system, from one edge, two edges or two vectors, as three vectors; the third is 0."""
    try:
        array = np.asarray(cell, dtype=np.float64)
    except (TypeError, ValueError):
        return cell
    if array.shape in ((), (2,)):
        return np.diag([*np.broadcast_to(array, (2,)), 0.0])
    if array.shape == (2, 2):
        return np.pad(array, ((0, 1), (0, 1)))
    return cell


def planar_pbc(pbc: Any) -> Any:
    """Periodic directions of a planar system, from one boolean or two; the third is open."""
    array = np.asarray(pbc)
    return (
        np.append(array, array.dtype.type(0)) if array.shape == (2,) and array.dtype.kind in "biuf" else pbc
    )


def out_of_plane(positions: np.ndarray, cell: np.ndarray, asked: int | None) -> int | None:
    """Cell vector that leads out of the plane of the particles; None in three dimensions.

    Parameters
    ----------
    positions
        Shape (N, 3).
    cell
        Cell vectors as rows, shape (3, 3); those of open directions may be zero.
    asked
        2 or 3 where the caller knows; None to find out.  Particles that share a Cartesian coordinate are
        planar, if they are four or more, or lie in a cell thinner than half of its edges in the plane.

    Raises
    ------
    InputError
        When two dimensions are asked for and the particles or the cell don't lie in a plane.
    """
    if asked not in (None, 2, 3):
        raise InputError(f"dimension is {asked!r}: give 2, 3, or None to see it from the positions.")
    if asked == 3:
        return None
    spread = np.array([np.ptp(column) for column in positions.T])  # numpy is slow along short rows
    edge, reach = float(np.linalg.norm(cell, axis=1).max()), float(spread.max())
    # Unwrapped particles may be far away, and a drop small in its cell.
    extent = min(edge, reach) or max(edge, reach)
    for axis in (2, 1, 0):
        if spread[axis] <= FLAT * extent:
            row = _row(cell, axis)
            if row is not None and (asked == 2 or len(positions) >= FEW or _thin(cell, row)):
                return row
    if asked == 2:
        raise InputError(
            f"dimension is 2, but no Cartesian coordinate is shared by all particles (they spread over "
            f"{spread.tolist()}) with two cell vectors in that plane: give planar positions, or dimension=3."
        )
    return None


def axis_across(positions: np.ndarray, own: np.ndarray) -> int:
    """Cartesian axis across a plane of particles, of which two cell vectors are given; they may be zero."""
    leaning = np.abs(own).max(axis=0) > 1e-9 * np.abs(own).max()
    spread = np.where(leaning, np.inf, np.ptp(positions, axis=0))
    return 2 - int(np.argmin(spread[::-1]))


def _row(cell: np.ndarray, axis: int) -> int | None:
    """The one cell vector with a component along ``axis``, or the open one where none has."""
    lengths = np.linalg.norm(cell, axis=1)
    leaning = np.flatnonzero(np.abs(cell[:, axis]) > 1e-9 * max(float(lengths.max()), 1e-300))
    if len(leaning) == 1:
        return int(leaning[0])
    if len(leaning) > 1:
        return None
    empty = np.flatnonzero(lengths == 0)
    if axis in empty:
        return axis
    return int(empty[0]) if len(empty) else None


def _thin(cell: np.ndarray, row: int) -> bool:
    lengths = np.linalg.norm(cell, axis=1)
    return bool(0 < lengths[row] < np.delete(lengths, row).min() / 2)
