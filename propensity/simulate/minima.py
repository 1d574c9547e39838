"""Energies and minima of a structure in any interaction that LAMMPS knows, by its input file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from propensity.errors import DataError, InputError
from propensity.simulate import lammps_input
from propensity.simulate.engine import Leg, State
from propensity.simulate.lammps_engine import LammpsEngine
from propensity.simulate.model import LiquidModel, load_input, load_preset, presets
from propensity.structure import Structure
from propensity.workers import processes

#: FIRE iterations of a minimisation.
ITERATIONS = 100_000


def minimum(structure: Structure, source: str) -> Structure:
    """Nearest energy minimum by LAMMPS (FIRE), not wrapped.

    Parameters
    ----------
    structure
        In the units of the input; its types are the input's, from 0.
    source
        A LAMMPS fragment as ``propensity simulate --input`` takes it, or the name of a preset.

    Raises
    ------
    InputError
        For a box that isn't periodic and orthorhombic, or other species or dimensions than the input's.
    """
    model = _model(source)
    leg = Leg(_state(structure, model), model, "minimise", iterations=ITERATIONS)
    (result,) = LammpsEngine().run([leg])
    return structure.with_positions(result.state.positions + _corner(structure))


def energies(structure: Structure, source: str) -> np.ndarray:
    """Potential energy of each particle by ``compute pe/atom``, shape (N,); else as :func:`minimum`."""
    model = _model(source)
    leg = Leg(_state(structure, model), model, "minimise")
    with processes.scratch() as folder:
        lammps_input.write_energies(leg, folder)
        LammpsEngine().execute(folder)
        return lammps_input.read_energies(folder, len(structure))


@lru_cache(maxsize=8)
def _model(source: str) -> LiquidModel:
    if source in presets():
        return load_preset(source)
    if not Path(source).is_file():
        raise DataError(
            f"lammps:{source} is neither a file nor a preset ({', '.join(presets())}): give a LAMMPS"
            " fragment."
        )
    return load_input(source)


def _corner(structure: Structure) -> np.ndarray:
    """What :func:`_state` takes away from the positions: the plane of a two-dimensional liquid."""
    return np.array([0.0, 0.0, structure.positions[0, 2] if structure.dimension == 2 else 0.0])


def _state(structure: Structure, model: LiquidModel) -> State:
    cell, own = structure.cell, structure.directions
    if not structure.is_periodic or abs(cell - np.diag(np.diag(cell))).max() > 1e-9 * abs(cell).max():
        raise InputError("LAMMPS gives energies and minima here for periodic, orthorhombic boxes only.")
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
    box = np.ones(3)
    box[own] = np.diag(cell)[own]
    positions = structure.positions - _corner(structure)
    return State(positions, np.zeros_like(positions), structure.types, box)
