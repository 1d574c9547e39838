"""Predictor: the one object that every integration calls, so that one frame gives one answer everywhere."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch

from propensity.devices import chosen_device
from propensity.errors import InputError, PropensityError, PropensityWarning
from propensity.estimators.card import Card
from propensity.estimators.differentiation import Differentiation, enough_memory
from propensity.estimators.inputs import check_dimension, prepared
from propensity.estimators.likeness import (
    Likeness,
    check_finite,
    check_overlaps,
    doubts,
    measured,
    of_predictions,
)
from propensity.estimators.ranges import Distance
from propensity.estimators.storage import committee_of, load_model
from propensity.estimators.uncertainty import displacement_spread, standard_error
from propensity.model_options import chosen_dtype, chosen_times
from propensity.species import SpeciesMap
from propensity.structure import Structure

#: Names of the columns of a prediction, in atoms, frames and files; the last two where the model knows its
#: errors, or from the spread of a committee.
COLUMNS = ("propensity", "propensities", "propensity_std", "propensities_std")


class Predictor(Differentiation):
    """Load one model, or a committee of several, and predict structures.

    Parameters
    ----------
    model
        Name of a shipped model, folder or ``.safetensors`` file; a list of them is a committee, whose
        prediction is the mean.  Some names stand for a committee of their own.
    device, dtype, species_map, length_scale, kernel, potential, times
        See :class:`~propensity.model_options.ModelOptions` and
        :class:`~propensity.model_options.PredictorOptions`.

    Raises
    ------
    InputError
        For a device, dtype, length scale or time that can't be used, or models that don't match.
    DataError
        When a model can't be read.
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
    ) -> None:
        if length_scale is not None and (not np.isfinite(length_scale) or length_scale <= 0):
            raise InputError(
                f"length_scale is {length_scale}: give the length of σ_AA in your units, a positive number."
            )
        paths = committee_of(model) if isinstance(model, (str, os.PathLike)) else list(model)
        if not paths:
            raise InputError("the committee is empty: give at least one model.")
        #: What was asked for, with which a worker elsewhere makes the same predictor.
        self.options: dict[str, Any] = {
            "device": device,
            "dtype": dtype,
            "species_map": species_map,
            "length_scale": length_scale,
            "kernel": kernel,
            "times": times,
            "potential": potential,
        }
        self.device = chosen_device(device)
        self.dtype = chosen_dtype(dtype)
        self._process = os.getpid()
        self.species_map = species_map
        self.estimators = [load_model(path).to(self.device, self.dtype, kernel) for path in paths]
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
            from propensity.physics.kob_andersen import check_potential

            check_potential(potential)
        self._selected = chosen_times(np.array(self.card.times), times)
        self._warned: set[str] = set()
        self._warning = threading.Lock()
        self._likeness: WeakKeyDictionary[Structure, Likeness] = WeakKeyDictionary()

    @property
    def species(self) -> tuple[str, ...]:
        """Species that the model knows, in the order of the types."""
        return self.card.species

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
        return bool(self.card.uncertainty) and len(self.estimators) == 1 + len(self.card.committee)

    @property
    def has_std(self) -> bool:
        """Whether predictions come with a standard error."""
        return self.is_calibrated or self.is_committee

    def predict(self, structure: Structure) -> np.ndarray:
        """Propensities of each particle, float64, shape (N, n_times), in the units of the structure."""
        return cast("np.ndarray", self.predict_committee(structure).mean(axis=0))

    def _seen(self, structure: Structure) -> Structure:
        """What the model sees of a structure, in σ."""
        if structure.types.max() >= len(self.species):
            raise InputError(
                f"the structure has type {structure.types.max()}, but the model knows {list(self.species)}."
            )
        if structure.thermal_offset is not None and self.card.input_positions == "thermal":
            raise InputError(
                "the structure is an inherent one with the offset to the thermal positions, and the"
                " model sees thermal positions: give the thermal structure."
            )
        check_dimension(self.card, structure)
        if self.device.type == "cuda" and os.getpid() != self._process:
            raise PropensityError(
                "CUDA doesn't survive a fork: start the process by multiprocessing's 'spawn', or use"
                " device='cpu'."
            )
        reduced = structure if self.length_scale == 1.0 else structure.scaled(1 / self.length_scale)
        if self.potential is not None and self.card.input_positions != "thermal":
            if reduced.thermal_offset is None:
                check_overlaps(self.card, reduced)
            reduced = prepared(reduced, self.card, self.potential, self.length_scale)
        return reduced

    def predict_committee(self, structure: Structure) -> np.ndarray:
        """Propensities by each model of the committee, float64, shape (n_models, N, n_times)."""
        reduced = self._seen(structure)
        reasons, found = self._check_like_training(reduced)
        with enough_memory(self.device, len(structure), self.card.cutoff):
            members = np.stack([estimator.unchecked(reduced) for estimator in self.estimators])
        untrained = check_finite(self.card, structure, members)
        if np.isfinite(members[:, untrained[structure.types]]).any():
            self._warn_once(
                "species",
                f"the model was trained on {list(self.card.trained_species)} only: predictions for other"
                " species mean little.",
            )
        odd = of_predictions(self.card, structure, members)
        members = members[:, :, self._selected] * self.length_scale
        low = members.mean(axis=0)
        with self._warning:
            self._likeness[structure] = Likeness(
                reasons | odd,
                float("nan") if found is None else found.outside,
                float("nan") if found is None else found.nearest,
                int((low < 0).sum()),
                float(np.nanmin(low, initial=np.inf)),
            )
        return members

    def likeness(self, structure: Structure) -> Likeness:
        """How much a structure is like the training set, and its predictions like the labels there.

        Of a structure that was just predicted, nothing is computed again.

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
        """Likeness of a structure that was predicted; None of others."""
        with self._warning:
            return self._likeness.get(structure)

    def columns(self, structure: Structure) -> dict[str, np.ndarray]:
        """Predictions under the names that every adapter and file uses.

        Returns
        -------
        dict
            ``propensity`` (N,) at the default time and ``propensities`` (N, n_times); where the model
            knows its errors also ``propensity_std`` (N,) and ``propensities_std`` (N, n_times), the standard
            error of the true propensity.  A committee of models that don't know theirs gives the sample
            standard deviation (n_models − 1) between them, which is no more than a hint.
        """
        members, k = self.predict_committee(structure), self.default_time_index
        mean = members.mean(axis=0)
        columns = {"propensity": mean[:, k], "propensities": mean}
        if self.has_std:
            std = self._standard_error(structure, members)
            columns |= {"propensity_std": std[:, k], "propensities_std": std}
        return columns

    def displacement_std(self, structure: Structure) -> np.ndarray:
        """Standard deviation of the displacement over isoconfigurational runs at the model's default time.

        The width of what one run may do, shape (N,), in the units of the structure; ``propensity_std`` is the
        error of its mean.

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

    def _standard_error(self, structure: Structure, members: np.ndarray) -> np.ndarray:
        spread = members.std(axis=0, ddof=1) if self.is_committee else None
        if not self.is_calibrated:
            assert spread is not None
            return cast("np.ndarray", spread)
        full = np.asarray(self.card.uncertainty["error"], dtype=float)[:, self._selected]
        scale = self.length_scale
        reduced = None if spread is None else spread / scale
        return standard_error({"error": full}, structure.types, members.mean(axis=0) / scale, reduced) * scale

    def _check_like_training(self, structure: Structure) -> tuple[dict[str, str], Distance | None]:
        """Doubts about a structure in σ, warned about once each, and its distance from the training set."""
        found = measured(self.card, structure, str(self.device))
        with self._warning:  # forces for the first structure alone: they cost as much as a small network
            first = "forces" not in self._warned
            self._warned.add("forces")
        reasons = doubts(
            self.card,
            structure,
            length_scale=self.length_scale,
            minimised=self.potential is not None,
            found=found,
            forces=first,
        )
        for topic, message in reasons.items():
            self._warn_once(topic, message)
        return reasons, found

    def _warn_once(self, topic: str, message: str) -> None:
        with self._warning:  # frames may be predicted side by side
            new = topic not in self._warned
            self._warned.add(topic)
        if new:
            warnings.warn(message, PropensityWarning, stacklevel=4)

    def __copy__(self) -> Predictor:
        """Itself: a predictor is never changed, so copies of what holds it share it."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Predictor:
        """Itself, likewise."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        raise TypeError("a Predictor holds a network: pass the model's path to workers and load it there.")
