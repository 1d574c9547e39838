"""What every route into LAMMPS shares: one configuration in, one value an atom and the means out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from propensity.bias import Bias
from propensity.errors import InputError
from propensity.predictor import Predictor
from propensity.species import map_species
from propensity.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from propensity.model_options import ModelOptions


@dataclass(frozen=True, eq=False)
class LammpsFrame:
    """All atoms of a LAMMPS run at one step, in any order.

    ``tags``, ``types`` and ``selected`` have shape (N,); ``positions`` (N, 3) count from the lower
    corner of the box; ``cell`` (3, 3) has the edges as rows; ``pbc`` (3,); ``dimension`` is that of LAMMPS,
    None where it isn't known; ``diameters`` (N,) where atoms have a radius.
    """

    tags: np.ndarray
    types: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    selected: np.ndarray
    dimension: int | None = None
    diameters: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Annotation:
    """Propensity of each atom in the order of its frame, and means over the selected atoms.

    ``values`` has shape (N, n_times); it is NaN for species on which the model was not trained, and zero
    outside the selection, as LAMMPS does with groups.  ``means`` has shape (n_times, 1 + n_species): all
    selected atoms, then species by species; NaN values don't enter them.  ``doubts`` (2,) are 1 where the
    frame is unlike the training set of the model and else 0, and the fraction of atoms whose neighbourhood no
    particle had there (NaN where the model doesn't know).  ``energy`` and ``forces`` (N, 3) are those of a
    bias, where there is one.
    """

    values: np.ndarray
    means: np.ndarray
    doubts: np.ndarray
    energy: float = 0.0
    forces: np.ndarray | None = None


def predict_frame(
    predictor: Predictor, frame: LammpsFrame, indices: Sequence[int], bias: Bias | None = None
) -> Annotation:
    """Predict a frame at the given indices of ``predictor.times``; with a bias also its energy and forces.

    A bias acts on the mean over the selected atoms, of the species that the model was trained on.

    Atoms are sorted by tag first: summation order, and so the last digits, don't depend on how LAMMPS
    has spread them over ranks.

    Raises
    ------
    InputError
        For atoms without IDs, with equal IDs, or of a type without a species, and whatever
        :class:`~propensity.Structure` and the model raise.
    """
    order = np.argsort(frame.tags, kind="stable")
    if (np.diff(frame.tags[order]) == 0).any():
        raise InputError(
            "several atoms have the same ID: use `reset_atoms id` and leave out `atom_modify id no`."
        )
    present, inverse = np.unique(frame.types[order], return_inverse=True)
    types = map_species({"type": present}, predictor.species, predictor.species_map)[inverse]
    sizes = None if frame.diameters is None else frame.diameters[order]
    structure = Structure(
        frame.positions[order], types, frame.cell, frame.pbc, dimension=frame.dimension, diameters=sizes
    )
    selected = frame.selected[order]
    energy, forces = 0.0, None
    if bias is None:
        predicted = predictor.predict(structure)[:, list(indices)]
    else:
        trained = np.isin(predictor.species, predictor.card.trained_species or predictor.species)
        found = bias(structure, selected & trained[types])
        predicted, energy = found.propensities[:, list(indices)], found.energy
        forces = np.empty_like(found.forces)
        forces[order] = found.forces
    groups = [selected] + [selected & (types == k) for k in range(len(predictor.species))]
    means = np.stack([_mean(predicted[group]) for group in groups], axis=1)
    values = np.empty_like(predicted)
    values[order] = np.where(selected[:, None], predicted, 0.0)
    likeness = predictor.known_likeness(structure)
    unlike = (0.0, np.nan) if likeness is None else (likeness.out_of_distribution, likeness.outside)
    return Annotation(values, means, np.array(unlike, dtype=float), energy, forces)


def open_predictor(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Predictor,
    times: str | Sequence[float] | float | None,
    **options: Unpack[ModelOptions],
) -> tuple[Predictor, list[int]]:
    """Predictor, and the indices of the times that are meant.

    Parameters
    ----------
    model
        As :class:`~propensity.Predictor` takes it, or one that is open already.
    times
        ``"default"``: that of the model; None or ``"all"``: every one; or times in LJ units.
    options
        Of :class:`~propensity.Predictor`.

    Raises
    ------
    InputError
        For times that the model doesn't have.
    """
    chosen = None if isinstance(times, str) else times
    if isinstance(times, str) and times not in ("all", "default"):
        raise InputError(f"times is {times!r}: give 'default' (that of the model), 'all' or numbers.")
    if isinstance(model, Predictor) and chosen is not None:
        raise InputError(
            f"times is {times}, but the predictor is open: give them to the Predictor, and 'all' here."
        )
    predictor = model if isinstance(model, Predictor) else Predictor(model, times=chosen, **options)
    indices = [predictor.default_time_index] if times == "default" else list(range(len(predictor.times)))
    return predictor, indices


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over atoms that have a value, shape (n_times,); NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return cast("np.ndarray", np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0))
