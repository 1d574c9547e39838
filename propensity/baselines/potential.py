"""Pair potentials of the Kob–Andersen mixture, for the local potential energy."""

from __future__ import annotations

import numpy as np

from propensity.errors import InputError, suggest
from propensity.structure import Structure

#: ε and σ by species pair, Kob and Andersen, Phys. Rev. E 51, 4626 (1995); cut at 2.5 σ_ab.
EPSILON = np.array([[1.0, 1.5], [1.5, 0.5]])
SIGMA = np.array([[1.0, 0.8], [0.8, 0.88]])
CUT = 2.5

#: Name of the interaction, as in :class:`propensity.data.Sample` → is the force shifted to zero at the cut?
POTENTIALS = {"lj/cut": False, "lj/cut force-shifted": True}


def check_potential(potential: str) -> None:
    """Refuse a potential that is not known."""
    if potential not in POTENTIALS:
        raise InputError(
            f"potential {potential!r} is unknown: choose from {sorted(POTENTIALS)}{suggest(potential, POTENTIALS)}."
        )


def check_mixture(structure: Structure) -> None:
    """Refuse more than two species."""
    if structure.types.max() > 1:
        raise InputError(
            f"the structure has type {structure.types.max()}: the Kob–Andersen mixture has types 0 and 1."
        )


def local_potential_energy(structure: Structure, potential: str = "lj/cut") -> np.ndarray:
    """½ Σ_j u(r_ij) of each particle of a Kob–Andersen mixture, in ε_AA, shape (N,).

    ``"lj/cut"``: 4ε[(σ/r)¹² − (σ/r)⁶] shifted to zero at 2.5σ_ab (Bapst et al.);
    ``"lj/cut force-shifted"``: its derivative vanishes there too (BOTAN, GlassBench).

    Raises
    ------
    InputError
        For an unknown potential or more than two species.
    """
    from ase import Atoms

    from propensity.kob_andersen import KobAndersen

    calculator = KobAndersen(potential)
    atoms = Atoms(structure.types + 1, structure.positions, cell=structure.cell, pbc=structure.pbc)
    return calculator.get_property("energies", atoms)
