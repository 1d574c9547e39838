"""Energies and minima of a structure in any interaction that LAMMPS knows, by its input file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from propensity.errors import DataError, InputError
from propensity.simulate import lammps_input
from propensity.simulate.engine import Leg, Microstate
from propensity.simulate.lammps_engine import LammpsEngine
from propensity.simulate.model import LiquidModel, load_input, load_preset, presets
from propensity.structure import Structure
from propensity.workers import processes

#: FIRE iterations of a minimisation.
ITERATIONS = 100_000


def minimum(structure: Structure, source: str) -> Structure:
    """Nearest energy minimum by LAMMPS (FIRE), not wrapped; triclinic cells are turned into LAMMPS's.

    Parameters
    ----------
    structure
        In the units of the input; its types are the input's, from 0.
    source
        A LAMMPS fragment as ``propensity simulate --input`` takes it, or the name of a preset.

    Raises
    ------
    InputError
        For a box that isn't periodic, or other species or dimensions than the input's.
    """
    model = liquid(source)
    microstate, turn = _microstate(structure, model)
    (result,) = LammpsEngine().run([Leg(microstate, model, "minimise", iterations=ITERATIONS)])
    return structure.with_positions(result.microstate.positions @ turn + _corner(structure))


def energies(structure: Structure, source: str) -> np.ndarray:
    """Potential energy of each particle by ``compute pe/atom``, shape (N,); else as :func:`minimum`."""
    model = liquid(source)
    leg = Leg(_microstate(structure, model)[0], model, "minimise")
    with processes.scratch_folder() as folder:
        lammps_input.write_energies(leg, folder)
        LammpsEngine().execute(folder)
        return lammps_input.read_energies(folder, len(structure))


@lru_cache(maxsize=8)
def liquid(source: str) -> LiquidModel:
    """What an input or preset describes: species, name of the interaction, units."""
    if source in presets():
        return load_preset(source)
    if not Path(source).is_file():
        raise DataError(
            f"lammps:{source} is neither a file nor a preset ({', '.join(presets())}): give a LAMMPS"
            " fragment."
        )
    return load_input(source)


def _corner(structure: Structure) -> np.ndarray:
    """What :func:`_microstate` takes away from the positions: the plane of a two-dimensional liquid."""
    return np.array([0.0, 0.0, structure.positions[0, 2] if structure.dimension == 2 else 0.0])


def _microstate(structure: Structure, model: LiquidModel) -> tuple[Microstate, np.ndarray]:
    """The structure as LAMMPS takes it, and the orthogonal matrix that turns its vectors back."""
    own = structure.directions
    if not structure.is_periodic:
        raise InputError(
            f"pbc is {structure.pbc.tolist()}: LAMMPS gives energies and minima here for boxes that are"
            " periodic in every direction."
        )
    if structure.dimension != model.dimension or (structure.dimension == 2 and structure.normal != 2):
        raise InputError(
            f"the structure has {structure.dimension} dimensions and {model.name} {model.dimension}: give the"
            " input of its own interaction."
        )
    if structure.types.max() >= len(model.species):
        raise InputError(
            f"the structure has type {structure.types.max()}, but {model.name} knows the species"
            f" {', '.join(model.species)}."
        )
    cell, turn = np.eye(3), np.eye(3)
    cell[np.ix_(own, own)], turn[np.ix_(own, own)] = _triangular(structure.cell[np.ix_(own, own)])
    box, tilt = np.diag(cell), cell[[1, 2, 2], [0, 0, 1]]
    positions = (structure.positions - _corner(structure)) @ turn.T
    tilted = tilt if abs(tilt).max() > 1e-9 * box.max() else None
    return Microstate(positions, np.zeros_like(positions), structure.types, box, tilt=tilted), turn


def _triangular(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower triangle with a positive diagonal and orthogonal matrix whose product is ``cell``, rows vectors.

    LAMMPS wants a along x and b in the xy plane.  A left-handed cell is mirrored, which no energy feels.
    """
    if np.array_equal(cell, np.diag(abs(np.diag(cell)))):
        return cell, np.eye(len(cell))
    q, r = np.linalg.qr(cell.T)
    sign = np.where(np.diag(r) < 0, -1.0, 1.0)
    return r.T * sign, sign[:, None] * q.T
