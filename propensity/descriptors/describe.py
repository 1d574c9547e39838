"""Structural descriptors by name, for use outside the models that are built on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from propensity.descriptors.averaged import DescriptorGrid, averaged_descriptors
from propensity.descriptors.fields import coarse_grain, local_density
from propensity.descriptors.structure_functions import names as function_names
from propensity.descriptors.structure_functions import structure_functions
from propensity.errors import InputError, suggest
from propensity.physics.kob_andersen import local_potential_energy
from propensity.structure import Structure, checked_structure

#: Kinds of descriptors.
KINDS = {
    "averaged": "Radial and angular descriptors with two generations of averages (Boattini et al. 2021).",
    "structure-functions": "Behler–Parrinello functions, as used for softness.",
    "energy": "Local potential energy of a Kob–Andersen mixture, raw and coarse-grained.",
    "density": "Local number density at several lengths.",
}

#: Coarse-graining lengths of ``energy`` and ``density``, in σ.
LENGTHS = (0.5, 1.0, 2.0)


def describe(
    structure: Structure, kind: str, species: Sequence[str] = ("A", "B"), *, potential: str = "lj/cut"
) -> tuple[np.ndarray, list[str]]:
    """Descriptors of each particle, float64, shape (N, n_features), and the name of each.

    Parameters
    ----------
    structure
        Any structure, lengths in σ_AA.
    kind
        One of :data:`KINDS`.
    species
        Names of the species, in the order of the types.
    potential
        Interaction for ``"energy"``.

    Returns
    -------
    values, names
        Array of shape (N, n_features), and a name of each column.

    Raises
    ------
    InputError
        For an unknown kind or potential, or a structure with more species.
    """
    checked_structure(structure)
    if isinstance(species, str) or len(set(species)) < len(species):
        raise InputError(f"species are {species!r}: give a name for each type, each once.")
    if kind == "averaged":
        return averaged_descriptors(structure, len(species)), DescriptorGrid().names(species)
    if kind == "structure-functions":
        return structure_functions(structure, len(species)), function_names(species)
    if kind == "energy":
        energy = local_potential_energy(structure, potential)
        averages = coarse_grain(structure, energy, LENGTHS)
        return np.column_stack([energy, averages]), ["u", *(f"u(ξ={x:g})" for x in LENGTHS)]
    if kind == "density":
        return local_density(structure, LENGTHS), [f"ρ(ξ={x:g})" for x in LENGTHS]
    raise InputError(f"descriptor {kind!r} is unknown: choose from {list(KINDS)}{suggest(kind, KINDS)}.")
