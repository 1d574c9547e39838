"""The stages of a prediction: what the models of a committee see of a structure, whether it is like those of
the training, what comes out, and whether that can be.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, cast

import numpy as np

from propensity.devices import chosen_device
from propensity.errors import InputError, PropensityError, PropensityWarning
from propensity.estimators.base import Estimator
from propensity.estimators.cages import checked_cage
from propensity.estimators.conditioned import ConditionedEstimator
from propensity.estimators.differentiation import Differentiation, enough_memory
from propensity.estimators.inputs import check_dimension, prepared, small_batches
from propensity.estimators.likeness import (
    Extremes,
    check_finite,
    check_overlaps,
    checked,
    doubts,
    measured,
    of_neighbourhoods,
    of_predictions,
)
from propensity.estimators.ranges import Distance, distances
from propensity.estimators.single import in_single_precision
from propensity.neighbours.sharing import sharing, sharing_graphs, sharing_many
from propensity.structure import Structure, checked_structure

if TYPE_CHECKING:
    from typing_extensions import Self


def _many(structures: Sequence[Structure]) -> Callable[[Estimator], list[np.ndarray]]:
    return lambda estimator: estimator.unchecked_many(structures)


def mean_of(members: np.ndarray) -> np.ndarray:
    """Mean over the models, (n_models, N, n_times) to (N, n_times); of a single one it itself."""
    return cast("np.ndarray", members[0] if len(members) == 1 else members.mean(axis=0))


class Committee(Differentiation):
    """One model, or several that share species, times and inputs.

    Attributes
    ----------
    estimators
        The models, on ``device``.
    card
        Of the first.
    length_scale
        Length of σ_AA in the units of the structures.
    potential
        By which minima and cage states are made, where the models see them.
    _of_model
        Doubts about the models at the temperature that was asked for, topic → sentence.
    """

    potential: str | None
    _selected: np.ndarray
    _of_model: dict[str, str]
    _process: int
    _warned: set[str]
    _warning: threading.Lock

    @property
    def species(self) -> tuple[str, ...]:
        """Species that the model knows, in the order of the types."""
        return self.card.species

    def by_domains(self, n_particles: int) -> bool:
        """Whether so many particles are predicted domain by domain: same numbers, less memory."""
        return any(estimator.by_domains(n_particles) for estimator in self.estimators)

    def shared_by(self, n_particles: int) -> Sequence[str]:
        """Devices that share a structure of so many particles, where several do: those of :meth:`spread`, or
        all GPUs of the host where one has not the memory and the device was not chosen by its number.
        """
        shares: list[Sequence[str]] = [
            one.shared_by(n_particles) for one in self.estimators if hasattr(one, "shared_by")
        ]
        return max(shares, key=len, default=())

    def spread(self, *devices: str) -> Self:
        """Let devices of this host share the domains of every structure from now on; returns itself.

        Raises
        ------
        InputError
            For a device that is unknown or absent, and models that aren't predicted by domains.
        """
        for device in devices:
            chosen_device(device)
        for estimator in self.estimators:
            if not hasattr(estimator, "devices"):
                raise InputError(
                    f"a {estimator.kind} model is not predicted by domains: choose a se3gnn model."
                )
            estimator.devices = devices
        return self

    def _seen(self, structure: Structure) -> Structure:
        """What the models see of a structure, in σ."""
        checked_structure(structure)
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
        makes = self.potential is not None and self.card.input_positions != "thermal"
        lacks = structure.thermal_offset is None or (self.card.cage_recipe and structure.cage is None)
        given = in_single_precision(structure) if makes and lacks else structure
        reduced = given if self.length_scale == 1.0 else given.scaled(1 / self.length_scale)
        if self.potential is not None and makes:
            if reduced.thermal_offset is None:
                check_overlaps(self.card, reduced)
            return prepared(reduced, self.card, self.potential, self.length_scale)
        return checked_cage(self.card, reduced)

    def _one_list(self, structure: Structure) -> AbstractContextManager[None]:
        """Where networks list the structure itself on the CPU, that is done once for them and the checks; so
        is a graph that several gated networks read.
        """
        cutoff = self.estimators[0].listed_to
        if cutoff is None:
            return sharing_graphs(structure)
        if self.device.type != "cpu" or self.by_domains(len(structure)):
            return nullcontext()
        return sharing(structure, cutoff, self.dtype)

    def _measured_many(self, structures: Sequence[Structure]) -> list[Distance | None]:
        """Distances of many structures from the training set."""
        known = self.card.training_range
        if known is None:
            return [measured(self.card, structure, str(self.device)) for structure in structures]
        found = distances(known, structures, str(self.device))
        return [checked(self.card, *each) for each in zip(structures, found, strict=True)]

    def _evaluated_many(
        self, structures: Sequence[Structure]
    ) -> Iterator[tuple[list[Distance | None], list[np.ndarray]]]:
        """Distances and outputs of structures in σ, batch by batch, with one list for both."""
        cutoff = self.estimators[0].listed_to
        for batch in small_batches(structures):
            together = cutoff is not None and len(batch) > 1
            with sharing_many(batch, cutoff, self.device) if cutoff and together else nullcontext():
                found = self._measured_many(batch)
                yield found, self._evaluated(sum(map(len, batch)), _many(batch))

    def _evaluated(self, n: int, evaluate: Callable[[Estimator], list[np.ndarray]]) -> list[np.ndarray]:
        """Outputs of every model for each of some structures, (n_models, N, all times) each."""
        with enough_memory(self.device, n, self.card.cutoff):
            results = [evaluate(estimator) for estimator in self.estimators]
        return [np.stack(members) for members in zip(*results, strict=True)]

    def _finished(
        self, structure: Structure, members: np.ndarray, extremes: Extremes | None = None
    ) -> tuple[dict[str, str], np.ndarray, Extremes]:
        """Doubts about outputs; those at the chosen times in the units of the structure; extremes of all."""
        extremes = extremes or Extremes.of(members)
        members_in_units = self._in_units(structure.types, members, extremes)
        return of_predictions(self.card, structure, members, extremes), members_in_units, extremes

    def _in_units(
        self, types: np.ndarray, members: np.ndarray, extremes: Extremes | None = None
    ) -> np.ndarray:
        """Outputs (n_models, N, all times) at the chosen times in the units of the structure, if finite."""
        untrained = check_finite(self.card, types, members, extremes)
        if untrained.any() and np.isfinite(members[:, untrained[types]]).any():
            self._warn_once(
                "species",
                f"the model was trained on {list(self.card.trained_species)} only: predictions for other"
                " species mean little.",
            )
        every = np.array_equal(self._selected, np.arange(members.shape[2]))
        chosen = members if every else members.take(self._selected, axis=2)
        return chosen if self.length_scale == 1.0 else cast("np.ndarray", chosen * self.length_scale)

    def _check_like_training(self, structure: Structure) -> tuple[dict[str, str], Distance | None]:
        """Doubts about a structure in σ, warned about once each, and its distance from the training set."""
        found = measured(self.card, structure, str(self.device))
        return self._doubts(structure, found), found

    def _doubts(
        self,
        structure: Structure,
        found: Distance | None,
        forces: bool = True,
        known: dict[str, str] | None = None,
    ) -> dict[str, str]:
        """Doubts about a structure in σ, warned about once each."""
        reasons = self._unlike(structure, forces) if known is None else known
        reasons = reasons | of_neighbourhoods(found)
        for topic, message in reasons.items():
            self._warn_once(topic, message)
        self._inferred(structure)
        return reasons | self._of_model

    def _unlike(self, structure: Structure, forces: bool = True) -> dict[str, str]:
        """Doubts about a structure in σ that need no neighbours."""
        if forces:
            with self._warning:  # for the first structure alone: forces cost as much as a small network
                forces = "forces" not in self._warned
                self._warned.add("forces")
        return doubts(
            self.card,
            structure,
            length_scale=self.length_scale,
            minimised=self.potential is not None,
            forces=forces,
        )

    def _inferred(self, structure: Structure) -> float:
        """Temperature that a conditioned model reads from a structure, with a word to the user; or NaN."""
        first = self.estimators[0]
        if not isinstance(first, ConditionedEstimator):
            return float("nan")
        temperature = first.infer_temperature(structure)
        self._warn_once(
            "inferred",
            f"no temperature was given: the first structure looks like one at {temperature:.3g} ±"
            f" {first.temperature_error():.1g}, by its thermal offsets, and each is predicted at its own;"
            " give temperature=... for magnitudes that don't depend on that.",
        )
        return temperature

    def _warn_once(self, topic: str, message: str) -> None:
        with self._warning:  # frames may be predicted side by side
            new = topic not in self._warned
            self._warned.add(topic)
        if new:
            warnings.warn(message, PropensityWarning, stacklevel=6)
