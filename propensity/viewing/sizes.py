"""How large to draw particles, and from which side to look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from propensity.diameters import COLUMNS
from propensity.plotting import DIAMETERS
from propensity.structure import Structure

#: Columns that say the size of a particle, and what makes a diameter of them.
_COLUMNS = {**COLUMNS, "sigma": 1.0}
#: Particles whose nearest neighbours are looked at.
_SAMPLE = 4000


def drawn_diameters(
    structure: Structure, species: Sequence[str], columns: Mapping[str, np.ndarray], length_scale: float = 1.0
) -> np.ndarray:
    """Diameter of each particle, shape (N,), in the units of the positions.

    From a column of the file (``diameter``, ``radius``); those of Kob and Andersen where the species are A
    and B; otherwise from the distances of nearest neighbours, which are (d_α + d_β)/2 on average.
    """
    for name, values in columns.items():
        factor = _COLUMNS.get(name.lower())
        if factor and np.shape(values) == (len(structure),) and np.all(np.asarray(values, dtype=float) > 0):
            return np.asarray(factor * np.asarray(values, dtype=float))
    if tuple(species) == ("A", "B"):
        return np.asarray(length_scale * np.array(DIAMETERS)[structure.types])
    return np.asarray(_touching(structure)[structure.types])


def viewing_direction(structure: Structure) -> int:
    """Cell direction to look along: across a plane or film (one direction open or flat), else the third."""
    if structure.normal is not None:
        return structure.normal
    open_ = np.flatnonzero(~structure.pbc)
    return int(open_[0]) if len(open_) == 1 else 2


def _touching(structure: Structure) -> np.ndarray:
    """Diameter of each type by least squares, so that nearest neighbours touch."""
    from scipy.spatial import cKDTree

    from propensity.lattice import minimum_image

    points = structure.positions
    n_types = int(structure.types.max()) + 1
    if len(points) < 2:
        return np.ones(n_types)
    # Periodic images matter little for a median; particles at the faces find a neighbour inside.
    chosen = np.linspace(0, len(points) - 1, min(_SAMPLE, len(points))).astype(int)
    wrapped = _wrapped(structure)
    _, near = cKDTree(wrapped).query(wrapped[chosen], k=2)
    vectors = minimum_image(wrapped[near[:, 1]] - wrapped[chosen], structure.cell, structure.pbc)
    distance = np.linalg.norm(vectors, axis=1)
    typical = float(np.median(distance))
    if not typical > 0:
        return np.ones(n_types)
    design = np.zeros((len(chosen) + n_types, n_types))
    row = np.arange(len(chosen))
    np.add.at(design, (row, structure.types[chosen]), 0.5)
    np.add.at(design, (row, structure.types[near[:, 1]]), 0.5)
    # A weak pull towards the common size settles types that are never nearest neighbours.
    design[len(chosen) :] = 0.1 * np.eye(n_types)
    found = np.linalg.lstsq(design, np.append(distance, np.full(n_types, 0.1 * typical)), rcond=None)[0]
    return np.asarray(np.clip(found, 0.4 * typical, 1.8 * typical))


def _wrapped(structure: Structure) -> np.ndarray:
    rows = structure.cell[structure.pbc]
    if not len(rows):
        return structure.positions
    images = np.floor(structure.positions @ np.linalg.pinv(rows))
    return np.asarray(structure.positions - images @ rows)
