"""Structures as every source can give them: in single precision, inside their cell."""

from __future__ import annotations

import numpy as np

from propensity.structure import Structure


def in_single_precision(structure: Structure) -> Structure:
    """Wrap a periodic structure, and round its positions and cell to single precision.

    A difference in the last digit ends in another cage state, since restricted dynamics is chaotic.  Programs
    that hold positions in single precision (MDAnalysis, GSD, XTC) and in double start it from the same
    numbers so, and the thermal offset, which is kept, from the same minimum.

    Parameters
    ----------
    structure
        In the units of its files, which are those that were rounded.

    Returns
    -------
    Structure
        Itself where it has a cage state, or boundaries are open.
    """
    if structure.cage is not None or not structure.pbc.all():
        return structure
    images = np.floor(structure.positions @ np.linalg.inv(structure.cell))
    positions = structure.positions - images @ structure.cell
    return Structure(
        positions.astype(np.float32).astype(float),
        structure.types,
        structure.cell.astype(np.float32).astype(float),
        structure.pbc,
        structure.thermal_offset,
        structure.dimension,
        diameters=structure.diameters,
    )
