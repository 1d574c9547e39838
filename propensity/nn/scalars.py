"""Further node scalars beside the species: the diameter of each particle, and the local potential energy of
SciPost Phys. 16, 136.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from propensity.errors import InputError
from propensity.structure import Structure

#: Degree of the trend of propensities with the diameter, and standardised diameter beyond which it is level.
TREND, LARGEST = 3, 4.0


def learn_scalar_recipe(
    structures: Sequence[Structure],
    n_species: int,
    potential: str | None = None,
    diameters: bool = False,
    length_scale: float = 1.0,
) -> dict[str, Any]:
    """What :func:`scalars_of` needs, for the card.

    Parameters
    ----------
    structures
        Of the training, in σ.
    n_species
        Species of the model.
    potential
        Interaction whose local energies are wanted; their mean and spread are kept for each species.
    diameters
        Whether each particle shows its diameter, of which mean and spread over all are kept.
    length_scale
        Length of σ in the units of an input of LAMMPS.
    """
    recipe: dict[str, Any] = {}
    if potential is not None:
        recipe = {"potential_energy": potential}
        if length_scale != 1:
            recipe["length_scale"] = length_scale
        energy = np.concatenate([_energy(structure, recipe) for structure in structures])
        types = np.concatenate([structure.types for structure in structures])
        own = [energy[types == s] if (types == s).any() else np.array([0.0, 1.0]) for s in range(n_species)]
        recipe["mean"] = [float(values.mean()) for values in own]
        recipe["std"] = [float(values.std()) or 1.0 for values in own]
    if diameters:
        sizes = np.concatenate([_diameters(structure) for structure in structures])
        recipe["diameter"] = {"mean": float(sizes.mean()), "std": float(sizes.std()) or 1.0}
    return recipe


def scalars_of(structure: Structure, learned: dict[str, Any]) -> np.ndarray:
    """Local potential energy standardised for each species, then the standardised diameter, as far as the
    recipe has them, shape (N, n_extra).

    Raises
    ------
    InputError
        When the model sees diameters and the structure has none.
    """
    columns = []
    if "potential_energy" in learned:
        mean, std = np.array(learned["mean"]), np.array(learned["std"])
        columns.append((_energy(structure, learned) - mean[structure.types]) / std[structure.types])
    if "diameter" in learned:
        scale = learned["diameter"]
        columns.append((_diameters(structure) - scale["mean"]) / scale["std"])
    return np.stack(columns, axis=1)


def learn_size_trend(
    structures: Sequence[Structure], labels: Sequence[np.ndarray], learned: dict[str, Any], n_species: int
) -> None:
    """Add to the recipe what the diameter alone says: a cubic for each species and time.

    As the mean of each species, so that the network learns what neighbours add: its messages come from them.

    Parameters
    ----------
    structures
        Of the training.
    labels
        Standardised propensities of each structure, shape (N, n_times).
    learned
        Recipe with the mean and the spread of the diameters, which is changed.
    n_species
        Species of the model.
    """
    scale = learned["diameter"]
    z = np.concatenate([(_diameters(s) - scale["mean"]) / scale["std"] for s in structures])
    types = np.concatenate([s.types for s in structures])
    values = np.concatenate(labels)
    trend = np.zeros((n_species, values.shape[1], TREND + 1))
    for s in range(n_species):
        own = types == s
        if len(np.unique(z[own])) > TREND:
            trend[s] = np.polyfit(z[own], values[own], TREND).T
    scale["trend"] = trend.tolist()


def size_trend(structure: Structure, learned: dict[str, Any]) -> np.ndarray | float:
    """Standardised propensities by :func:`learn_size_trend`, shape (N, n_times); 0 where there is none."""
    scale = learned.get("diameter", {})
    if "trend" not in scale:
        return 0.0
    z = np.clip((_diameters(structure) - scale["mean"]) / scale["std"], -LARGEST, LARGEST)
    powers = z[:, None] ** np.arange(TREND, -1, -1)
    return cast(
        "np.ndarray | float", np.einsum("np,ntp->nt", powers, np.array(scale["trend"])[structure.types])
    )


def without_trend(learned: dict[str, Any]) -> dict[str, Any]:
    """The recipe for outputs at other times, which have no trend."""
    if "diameter" not in learned:
        return learned
    scale = {key: value for key, value in learned["diameter"].items() if key != "trend"}
    return {**learned, "diameter": scale}


def _energy(structure: Structure, learned: dict[str, Any]) -> np.ndarray:
    from propensity.physics.kob_andersen import local_potential_energy  # numba: only where it is needed

    scale = learned.get("length_scale", 1)
    seen = structure if scale == 1 else structure.scaled(scale)
    return local_potential_energy(seen, learned["potential_energy"])


def _diameters(structure: Structure) -> np.ndarray:
    if structure.diameters is None:
        raise InputError(
            "the model sees the diameter of each particle and the structure has none: give"
            " Structure(diameters=...), or a column diameter or radius in the file."
        )
    return structure.diameters
