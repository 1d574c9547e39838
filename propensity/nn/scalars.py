"""Further node scalars beside the species: the local potential energy of SciPost Phys. 16, 136."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from propensity.structure import Structure


def learn_scalar_recipe(structures: Sequence[Structure], n_species: int, potential: str) -> dict[str, Any]:
    """What :func:`scalars_of` needs, for the card: the potential and its mean and spread for each
    species.
    """
    from propensity.physics.kob_andersen import local_potential_energy  # numba: only where it is needed

    energy = np.concatenate([local_potential_energy(structure, potential) for structure in structures])
    types = np.concatenate([structure.types for structure in structures])
    own = [energy[types == s] if (types == s).any() else np.array([0.0, 1.0]) for s in range(n_species)]
    return {
        "potential_energy": potential,
        "mean": [float(values.mean()) for values in own],
        "std": [float(values.std()) or 1.0 for values in own],
    }


def scalars_of(structure: Structure, learned: dict[str, Any]) -> np.ndarray:
    """Local potential energy standardised for each species, shape (N, 1)."""
    from propensity.physics.kob_andersen import local_potential_energy

    energy = local_potential_energy(structure, learned["potential_energy"])
    mean, std = np.array(learned["mean"]), np.array(learned["std"])
    return ((energy - mean[structure.types]) / std[structure.types])[:, None]
