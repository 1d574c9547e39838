"""Predictor: the one object that every integration calls, so that one frame gives one answer everywhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch

from propensity.batching import chosen_atoms, numbered, surroundings
from propensity.committee import Committee, mean_of
from propensity.defaults import own_defaults, with_own_defaults
from propensity.devices import all_gpus, chosen_device
from propensity.errors import InputError
from propensity.estimators.answering import answering
from propensity.estimators.card import Card
from propensity.estimators.inputs import in_parts
from propensity.estimators.likeness import Likeness, measured
from propensity.estimators.places import model_files
from propensity.estimators.ranges import Distance
from propensity.estimators.storage import committee_of, load_model
from propensity.estimators.uncertainty import displacement_spread, error_of_mean, is_calibrated
from propensity.model_options import chosen_dtype, chosen_times
from propensity.numeric import positive
from propensity.species import SpeciesMap, named
from propensity.structure import Structure

#: Names of the columns of a prediction, in atoms, frames and files; the last two where the model knows its
#: errors, or from the spread of a committee.
COLUMNS = ("propensity", "propensities", "propensity_std", "propensities_std")


class Predictor(Committee):
    """Load one model, or a committee of several, and predict structures.

    Parameters
    ----------
    model
        Name of a shipped model, folder or ``.safetensors`` file; a list of them is a committee, whose
        prediction is the mean.  Some names stand for a committee of their own, alone or as the only one of a
        list.
    device, dtype, species_map, length_scale, kernel, potential, temperature, times
        See :class:`~propensity.model_options.ModelOptions` and
        :class:`~propensity.model_options.PredictorOptions`.

    Raises
    ------
    InputError
        For a device, dtype, length scale, temperature or time that can't be used, or models that don't match.
    DataError
        When a model can't be read.

    Warns
    -----
    PropensityWarning
        For a temperature other than that of the model's training.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "ka-default",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        species_map: SpeciesMap | None = None,
        length_scale: float | None = None,
        kernel: str = "auto",
        times: Sequence[float] | float | None = None,
        potential: str | None = None,
        temperature: float | None = None,
    ) -> None:
        if length_scale is not None:
            length_scale = positive(length_scale, "length_scale", "the length of σ_AA in your units")
        if temperature is not None:
            temperature = positive(temperature, "temperature", "k_B T/ε_AA")
        paths = models_of(model)
        #: What was asked for, with which a worker elsewhere makes the same predictor.
        self.options: dict[str, Any] = {
            "device": device,
            "dtype": dtype,
            "species_map": species_map,
            "length_scale": length_scale,
            "kernel": kernel,
            "times": times,
            "potential": potential,
            "temperature": temperature,
        }
        self.device = chosen_device(device)
        self.dtype = chosen_dtype(dtype)
        self._process = os.getpid()
        self.species_map = species_map
        with own_defaults():
            found = [answering(load_model(path), temperature, times, potential) for path in paths]
            self.estimators = [one.to(self.device, self.dtype, kernel) for one, _ in found]
        for estimator in self.estimators:
            if hasattr(estimator, "spare"):
                estimator.spare = all_gpus(self.device)
        self._of_model = {topic: text for _, texts in found for topic, text in texts.items()}
        self.card: Card = self.estimators[0].card
        for path, estimator in zip(paths[1:], self.estimators[1:], strict=True):
            for field in ("species", "times", "input_positions", "dimension", "length_scale"):
                ours, theirs = getattr(self.card, field), getattr(estimator.card, field)
                if ours != theirs:
                    raise InputError(
                        f"{path} has {field} {theirs} and {paths[0]} has {ours}: a committee must share them."
                    )
        self.length_scale = float(self.card.length_scale if length_scale is None else length_scale)
        self.potential = potential
        if potential is not None:
            from propensity.physics.kob_andersen import LAMMPS, by_lammps, check_potential

            check_potential(potential)
            if potential.startswith(LAMMPS):
                by_lammps("liquid")(potential.removeprefix(LAMMPS))
        named(species_map, self.card.species)
        self._selected = chosen_times(np.array(self.card.times), times)
        self._warned: set[str] = set()
        self._warning = threading.Lock()
        self._likeness: WeakKeyDictionary[Structure, Likeness] = WeakKeyDictionary()
        for topic, text in self._of_model.items():
            self._warn_once(topic, text)

    @property
    def temperature(self) -> float | None:
        """k_B T/ε_AA for which the model answers; None where each structure tells, or where it is unknown."""
        return self.card.temperature

    @property
    def times(self) -> np.ndarray:
        """Times of the predictions in LJ units, shape (n_times,)."""
        return cast("np.ndarray", np.array(self.card.times)[self._selected])

    @property
    def default_time_index(self) -> int:
        """Output that is meant where one number a particle is asked for; the last when it was not
        selected.
        """
        where = np.flatnonzero(self._selected == self.card.default_time_index)
        return int(where[0]) if len(where) else len(self._selected) - 1

    @property
    def is_committee(self) -> bool:
        """Whether there are several models."""
        return len(self.estimators) > 1

    @property
    def is_calibrated(self) -> bool:
        """Whether the errors of this model, or of its own committee, were measured outside training."""
        return is_calibrated(self.card, len(self.estimators))

    @property
    def has_std(self) -> bool:
        """Whether predictions come with a standard error."""
        return self.is_calibrated or self.is_committee

    def predict(self, structure: Structure, *, atoms: Any = None) -> np.ndarray:
        """Propensities of each particle, or of those chosen, in the units of the structure.

        Parameters
        ----------
        structure
            Particles and cell.
        atoms
            Indices (K,) or a mask (N,) of particles.  A network then evaluates only what lies within its
            layers × its cutoff of these, which gives what the whole structure gives, to rounding; minima and
            cage states are still made for the whole.

        Returns
        -------
        numpy.ndarray
            Float64, shape (N, n_times), or (K, n_times) in the order of ``atoms``: the mean of the committee
            where there are several models; NaN for species without training.

        Raises
        ------
        InputError
            For a structure that the model can't predict, or atoms that aren't there.
        PropensityError
            When memory runs out, or predictions are not finite.
        """
        if atoms is None:
            return mean_of(self.predict_committee(structure))
        rows = chosen_atoms(atoms, len(structure))
        reduced = self._seen(structure)
        known = self.card.training_range
        near = surroundings(reduced, rows, self.estimators, known.radius if known else 0.0)
        if near is None:
            return cast("np.ndarray", self._members(structure, reduced).mean(axis=0)[rows])
        part = reduced.part(near.rows)
        found = measured(self.card, part, str(self.device), near.inner)
        self._doubts(reduced, found, forces=False)
        members = self._evaluated(len(part), lambda estimator: [estimator.unchecked(part)])[0]
        chosen = part.part(near.chosen)
        return cast("np.ndarray", self._finished(chosen, members[:, near.chosen])[1].mean(axis=0))

    @with_own_defaults
    def predict_many(self, structures: Sequence[Structure]) -> list[np.ndarray]:
        """Propensities of many structures, small ones together as one graph.

        The same as :meth:`predict` of each, to rounding, and much faster on a GPU, which a structure of some
        hundred particles leaves idle.

        Parameters
        ----------
        structures
            Of any sizes.

        Returns
        -------
        list[numpy.ndarray]
            Float64, of shape (N, n_times) each, in the units of the structures.

        Raises
        ------
        InputError
            As :meth:`predict`, with the number of the structure.
        """
        reduced: list[Structure] = []
        if isinstance(structures, Structure):
            raise InputError("structures is one Structure: give a list of them, or use predict.")
        for k, structure in enumerate(structures):
            with numbered(k):
                reduced.append(self._seen(structure))
        if not reduced:
            return []
        predictions: list[np.ndarray] = []
        for distances, members in self._numbered(reduced):
            batch = reduced[len(predictions) : len(predictions) + len(members)]
            for k, (structure, found) in enumerate(zip(batch, distances, strict=True), len(predictions)):
                with numbered(k):
                    self._doubts(structure, found)
            types = np.concatenate([structure.types for structure in batch])
            mean = self._in_units(types, np.concatenate(members, axis=1)).mean(axis=0)
            predictions += in_parts(mean, batch)
        return predictions

    def _numbered(
        self, structures: Sequence[Structure]
    ) -> Iterator[tuple[list[Distance | None], list[np.ndarray]]]:
        try:
            yield from self._evaluated_many(structures)
        except InputError:
            for k, structure in enumerate(structures):  # of those read together the error doesn't say which
                with numbered(k):
                    self._members(structure, structure)
            raise

    def predict_committee(self, structure: Structure) -> np.ndarray:
        """Propensities by each model of the committee, float64, shape (n_models, N, n_times).

        Parameters
        ----------
        structure
            Any :class:`~propensity.Structure`, in the units of its files.

        Returns
        -------
        numpy.ndarray
            As :meth:`predict`, before the mean.

        Raises
        ------
        InputError
            As :meth:`predict`.
        PropensityError
            As :meth:`predict`.
        """
        return self._members(structure, self._seen(structure))

    def _members(self, structure: Structure, reduced: Structure) -> np.ndarray:
        looked: list[tuple[dict[str, str], Distance | None]] = []

        def look() -> None:
            if not looked:
                looked.append((self._unlike(reduced), measured(self.card, reduced, str(self.device))))

        with self._one_list(reduced):
            # A recording measures what the check reads as well, and leaves time for it.
            answers = [estimator.at_once(reduced, look) for estimator in self.estimators]
            ready = [answer for answer in answers if answer is not None]
            look()
            unlike, found = looked[0]
            reasons = self._doubts(reduced, found, known=unlike)
            if len(ready) < len(answers):
                members = self._evaluated(len(structure), lambda one: [one.unchecked(reduced)])[0]
            elif len(ready) == 1:
                members = ready[0].propensities[None]
            else:
                members = np.stack([answer.propensities for answer in ready])
        known = ready[0].extremes if len(ready) == len(members) == 1 else None
        odd, members, extremes = self._finished(structure, members, known)
        low, temperature = mean_of(members), self._inferred(reduced)
        if len(members) == 1 and extremes.are_finite:
            least = float(extremes.low[self._selected].min()) * self.length_scale
        else:
            least = float(np.nanmin(low, initial=np.inf))
        with self._warning:
            self._likeness[structure] = Likeness(
                reasons | odd,
                float("nan") if found is None else found.outside,
                float("nan") if found is None else found.nearest,
                int(np.count_nonzero(low < 0)) if least < 0 else 0,
                least,
                temperature,
            )
        return members

    def likeness(self, structure: Structure) -> Likeness:
        """How much a structure is like the training set, and its predictions like the labels there.

        Of a structure that was just predicted, nothing is computed again.

        Parameters
        ----------
        structure
            Any :class:`~propensity.Structure`, in the units of its files.

        Returns
        -------
        Likeness
            Reasons for doubt by topic, and the distance from the training set.

        Raises
        ------
        InputError
            As :meth:`predict`.
        """
        known = self.known_likeness(structure)
        if known is None:
            self.predict_committee(structure)
            known = self.known_likeness(structure)
        assert known is not None
        return known

    def known_likeness(self, structure: Structure) -> Likeness | None:
        """Likeness of a structure that was predicted; None of others.

        Parameters
        ----------
        structure
            The same object that was predicted.

        Returns
        -------
        Likeness or None
            As :meth:`likeness`, without computing.
        """
        with self._warning:
            return self._likeness.get(structure)

    def columns(self, structure: Structure) -> dict[str, np.ndarray]:
        """Predictions under the names that every adapter and file uses.

        Parameters
        ----------
        structure
            Any :class:`~propensity.Structure`, in the units of its files.

        Returns
        -------
        dict
            ``propensity`` (N,) at the default time and ``propensities`` (N, n_times); where the model
            knows its errors also ``propensity_std`` (N,) and ``propensities_std`` (N, n_times), the standard
            error of the true propensity.  A committee of models that don't know theirs gives the sample
            standard deviation (n_models − 1) between them, which is no more than a hint.

        Raises
        ------
        InputError
            As :meth:`predict`.
        """
        members, k = self.predict_committee(structure), self.default_time_index
        mean = members.mean(axis=0)
        columns = {"propensity": mean[:, k], "propensities": mean}
        reduced = members / self.length_scale
        error = error_of_mean(self.card, structure.types, reduced, self._selected)
        if error is not None:
            std = error * self.length_scale
            columns |= {"propensity_std": std[:, k], "propensities_std": std}
        return columns

    def displacement_std(self, structure: Structure) -> np.ndarray:
        """Standard deviation of the displacement over isoconfigurational runs at the model's default time.

        The width of what one run may do, shape (N,), in the units of the structure; ``propensity_std`` is the
        error of its mean.

        Parameters
        ----------
        structure
            Any :class:`~propensity.Structure`, in the units of its files.

        Returns
        -------
        numpy.ndarray
            Shape (N,).

        Raises
        ------
        InputError
            When the model doesn't know it, or its default time is not among the times.
        """
        default = self.card.default_time_index
        if "displacement" not in self.card.uncertainty or default not in self._selected:
            raise InputError(
                f"the model {self.card.name} doesn't know the spread of displacements at the chosen times:"
                " choose ka-cage, with its default time."
            )
        mean = self.predict(structure)[:, self.default_time_index] / self.length_scale
        return displacement_spread(self.card.uncertainty, structure.types, mean) * self.length_scale

    def __copy__(self) -> Predictor:
        """Itself: a predictor is never changed, so copies of what holds it share it."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Predictor:
        """Itself, likewise."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a Predictor holds a network: pass the model's path to workers and load it there.")


def models_of(model: Any) -> list[str | os.PathLike[str]]:
    """Models by name or path: one with its committee, or several that make one.

    Parameters
    ----------
    model
        As of :class:`Predictor`.

    Returns
    -------
    list
        A name or path each.

    Raises
    ------
    InputError
        For anything else, or none.
    """
    if isinstance(model, (str, os.PathLike)):
        return committee_of(model)
    if not isinstance(model, Sequence) or not all(isinstance(one, (str, os.PathLike)) for one in model):
        raise InputError(f"model is {model!r}: give a name or path, or a list of them.")
    if not model:
        raise InputError("the committee is empty: give at least one model.")
    if len(model) == 1:  # means the same as alone: so command lines pass it
        return committee_of(model[0])
    places = [model_files(one)[0].resolve() for one in model]
    for k, one in enumerate(model):
        if places[k] in places[:k]:
            raise InputError(f"model {str(one)!r} is there twice, and its spread says nothing: give it once.")
    return list(model)
