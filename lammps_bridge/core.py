"""What every route into LAMMPS shares: one configuration in, one value an atom and the means out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from propensity.errors import InputError
from propensity.predictor import Predictor
from propensity.species import map_species
from propensity.structure import Structure


@dataclass(frozen=True, eq=False)
class Frame:
    """All atoms of a LAMMPS run at one step, in any order.

    ``tags``, ``types`` and ``selected`` have shape (N,); ``positions`` (N, 3) count from the lower
    corner of the box; ``cell`` (3, 3) has the edges as rows; ``pbc`` (3,).
    """

    tags: np.ndarray
    types: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    selected: np.ndarray


@dataclass(frozen=True, eq=False)
class Annotation:
    """Propensity of each atom in the order of its frame, and means over the selected atoms.

    ``values`` has shape (N, n_times); it is NaN for species on which the model was not trained, and zero
    outside the selection, as LAMMPS does with groups.  ``means`` has shape (n_times, 1 + n_species): all
    selected atoms, then species by species; NaN values don't enter them.
    """

    values: np.ndarray
    means: np.ndarray


def annotate(predictor: Predictor, frame: Frame, times: Sequence[int]) -> Annotation:
    """Predict a frame at the given indices of ``predictor.times``.

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
    types = map_species({"type": frame.types[order]}, predictor.species, predictor.species_map)
    structure = Structure(frame.positions[order], types, frame.cell, frame.pbc)
    predicted = predictor.predict(structure)[:, list(times)]
    selected = frame.selected[order]
    groups = [selected] + [selected & (types == k) for k in range(len(predictor.species))]
    means = np.stack([_mean(predicted[group]) for group in groups], axis=1)
    values = np.empty_like(predicted)
    values[order] = np.where(selected[:, None], predicted, 0.0)
    return Annotation(values, means)


def time_indices(predictor: Predictor, times: str | Sequence[float] | None) -> list[int]:
    """Indices of the wanted times: None is the default of the model, ``"all"`` every one, else LJ times.

    Raises
    ------
    InputError
        When the model has no such time.
    """
    known = predictor.times
    if times is None:
        return [predictor.default_time_index]
    if isinstance(times, str):
        if times != "all":
            raise InputError(f"times is {times!r}: give 'all' or some of {known.tolist()}.")
        return list(range(len(known)))
    indices = []
    for time in times:
        nearest = int(np.argmin(np.abs(known - time)))
        # Cards give times with all digits, which nobody types: 1% is far below any spacing of times.
        if not np.isclose(known[nearest], time, rtol=0.01, atol=0):
            raise InputError(f"the model has no time {time:g}: choose 'all' or some of {known.tolist()}.")
        indices.append(nearest)
    if not indices:
        raise InputError(f"times is empty: give 'all' or some of {known.tolist()}.")
    return indices


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over atoms that have a value, shape (n_times,); NaN where none has."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)
