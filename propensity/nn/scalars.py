"""Further node scalars beside the species: the local potential energy of SciPost Phys. 16, 136."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from propensity.structure import Structure


def learn_scalar_recipe(
    structures: Sequence[Structure], n_species: int, potential: str, length_scale: float = 1.0
) -> dict[str, Any]:
    """What :func:`scalars_of` needs, for the card: the potential and its mean and spread for each
    species; ``length_scale`` is that of σ in the units of an input of LAMMPS.
    """
    from propensity.physics.kob_andersen import local_potential_energy  # numba: only where it is needed

    scaled = [s if length_scale == 1 else s.scaled(length_scale) for s in structures]
    energy = np.concatenate([local_potential_energy(structure, potential) for structure in scaled])
    types = np.concatenate([structure.types for structure in structures])
    own = [energy[types == s] if (types == s).any() else np.array([0.0, 1.0]) for s in range(n_species)]
    return {
        "potential_energy": potential,
        **({} if length_scale == 1 else {"length_scale": length_scale}),
        "mean": [float(values.mean()) for values in own],
        "std": [float(values.std()) or 1.0 for values in own],
    }


def scalars_of(structure: Structure, learned: dict[str, Any]) -> np.ndarray:
    """Local potential energy standardised for each species, shape (N, 1)."""
    from propensity.physics.kob_andersen import local_potential_energy

    scale = learned.get("length_scale", 1)
    seen = structure if scale == 1 else structure.scaled(scale)
    energy = local_potential_energy(seen, learned["potential_energy"])
    mean, std = np.array(learned["mean"]), np.array(learned["std"])
    return ((energy - mean[structure.types]) / std[structure.types])[:, None]
