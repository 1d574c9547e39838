"""Propensities in OVITO's Python: a modifier for its pipelines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from propensity.diameters import diameters_of
from propensity.errors import InputError
from propensity.model_options import PredictorOptions
from propensity.predictor import Predictor
from propensity.provenance import facts, of_frame, plain
from propensity.species import SpeciesMap, map_species
from propensity.structure import Structure

if TYPE_CHECKING:
    from ovito.data import DataCollection
    from typing_extensions import Unpack


def propensity_modifier(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "ka-default",
    **options: Unpack[PredictorOptions],
) -> Callable[[int, DataCollection], None]:
    """Make a modifier that adds ``propensity`` and ``propensities`` (and ``..._std``) to the particles.

    Parameters
    ----------
    model
        Name, folder or file of a model; a list of them is a committee.
    **options
        See :class:`propensity.model_options.PredictorOptions`; ``species_map`` goes from the names or
        numbers of OVITO's particle types to the species of the model.

    Returns
    -------
    callable
        ``modify(frame, data)``, as ``pipeline.modifiers`` takes it.

    Examples
    --------
    >>> pipeline = ovito.io.import_file("dump.lammpstrj")                                    # doctest: +SKIP
    >>> pipeline.modifiers.append(propensity_modifier(species_map={1: "A", 2: "B"}))         # doctest: +SKIP
    >>> pipeline.modifiers.append(ColorCodingModifier(property="propensity"))                # doctest: +SKIP
    """
    predictor = Predictor(model, **options)

    def modify(frame: int, data: DataCollection) -> None:
        add_columns(data, predictor, predictor.species_map)

    return modify


def add_columns(data: DataCollection, predictor: Predictor, species_map: SpeciesMap | None) -> None:
    """Predict the particles of a data collection and write the columns of the predictor into it.

    Parameters
    ----------
    data
        A frame of OVITO's pipeline, changed in place.
    predictor
        Model or committee.
    species_map
        From names or numbers of particle types to species; None: equal names.
    """
    structure = _structure(data, predictor.species, species_map)
    columns = predictor.columns(structure)
    for name, values in columns.items():
        names = [f"t={t:g}".replace(".", "_") for t in predictor.times] if values.ndim == 2 else None
        data.particles_.create_property(name, data=values, components=names)
    for key, value in plain(facts(predictor) | of_frame(predictor.known_likeness(structure))).items():
        data.attributes[key] = ",".join(f"{t:g}" for t in value) if isinstance(value, list) else value


def _structure(data: DataCollection, species: Sequence[str], species_map: SpeciesMap | None) -> Structure:
    particles = data.particles
    if particles is None or particles.particle_types is None:
        raise InputError("the particles have no types: import a file that names them.")
    ids = np.array(particles.particle_types)
    names = {t.id: t.name for t in particles.particle_types.types}
    labels = {"number": ids}
    if all(names.get(k) for k in np.unique(ids)):
        labels["name"] = np.array([names[k] for k in ids])
    types = map_species(labels, species, species_map)
    positions = np.array(particles.positions)
    sizes = diameters_of({"radius": np.array(particles["Radius"])}) if "Radius" in particles else None
    if data.cell is None:
        return Structure(positions, types, 0.0, False, diameters=sizes)
    flat = 2 if data.cell.is2D else None
    cell = np.array(data.cell)[:, :3].T
    return Structure(positions, types, cell, data.cell.pbc, dimension=flat, diameters=sizes)
