"""One network for every temperature and time between those of its training."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch

from propensity.errors import DataError, InputError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.conditions import BEYOND, ROUNDING, Conditions
from propensity.estimators.features import TracedFeatures
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.networks import NetworkEstimator
from propensity.estimators.training_set import time_nearest
from propensity.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Self

    from propensity.sample import Sample

Model = TypeVar("Model")


class ConditionedEstimator(NetworkEstimator[Any]):
    """Network whose outputs are modes, and the conditions that make propensities of them.

    :meth:`at` gives an ordinary model of one temperature and chosen times: modes enter the answer linearly,
    so that they fold into its readout.  Without a temperature it is inferred from each structure.
    """

    @property
    def conditions(self) -> Conditions:
        """Those of the card."""
        assert self.card.conditions is not None
        return self.card.conditions

    @abstractmethod
    def folded(self, basis: torch.Tensor, card: Card) -> NetworkEstimator[Any]:
        """Ordinary model whose outputs are the modes times ``basis``, (K, T)."""

    def check_network(self) -> None:
        """Refuse a card that has other species or modes than the network.

        Raises
        ------
        DataError
            With both.
        """
        c, network = self.conditions, self.network
        expected = (len(c.composition), c.n_modes)
        if (network.n_species, network.n_outputs) != expected or len(self.card.species) != expected[0]:
            raise DataError(
                f"its network is for {network.n_species} species and {network.n_outputs} modes, the card for"
                f" {len(self.card.species)} and {c.n_modes}"
            )

    def at(
        self,
        temperature: float,
        times: Sequence[float] | np.ndarray | None = None,
        *,
        beyond: float = BEYOND,
    ) -> NetworkEstimator[Any]:
        """Ordinary model of one temperature.

        Parameters
        ----------
        temperature
            k_B T/ε_AA.
        times
            Times to predict, within :meth:`Conditions.time_range`; None: those of the training, or as many
            between.
        beyond
            How far outside the trained temperatures it may lie, in parts of their range.

        Raises
        ------
        InputError
            For a temperature or time that is too far from the training.
        """
        c = self.conditions
        c.check_temperature(temperature, beyond)
        chosen = c.times_at(temperature) if times is None else checked_times(times)
        c.check_times(temperature, chosen)
        recipe, error = self.card.cage_recipe, c.error(temperature, chosen)
        card = self.card.model_copy(
            deep=True,
            update={
                "conditions": None,
                "temperature": float(temperature),
                "potential": c.nearest(temperature).potential,
                "times": tuple(chosen.tolist()),
                "default_time_index": time_nearest(chosen, c.tau_alpha(temperature)),
                "target_mean": c.mean(temperature, chosen).tolist(),
                "target_std": c.std(temperature, chosen).tolist(),
                "uncertainty": {} if error is None else {"error": error.tolist()},
                "config": {**self.card.config, "n_outputs": len(chosen)},
                "cage_recipe": {**recipe, "temperature": float(temperature)} if recipe else {},
            },
        )
        return self.folded(torch.from_numpy(c.basis(temperature, chosen)), card)

    def for_sample(self, sample: Sample, beyond: float = BEYOND) -> NetworkEstimator[Any]:
        """Ordinary model at the temperature of a labelled structure and at its times, as far as trained.

        Raises
        ------
        DataError
            When the temperature of the sample is not known.
        """
        if sample.temperature is None:
            raise DataError(
                f"{sample.name} has no temperature, at which to score {self.card.name}: add it to the data."
            )
        first, last = self.conditions.time_range(sample.temperature)
        times = np.asarray(sample.times, dtype=float)
        inside = (times >= first * (1 - ROUNDING)) & (times <= last * (1 + ROUNDING))
        return self.at(sample.temperature, times[inside] if inside.any() else times, beyond=beyond)

    def asked_for(self, times: Sequence[float] | np.ndarray) -> Self:
        """The same model with other times, at the temperature of each structure."""
        chosen = tuple(checked_times(times).tolist())
        card = self.card.model_copy(update={"times": chosen, "default_time_index": len(chosen) - 1})
        return type(self)(self.network, card)

    def _propensities(self, structure: Structure, standardised: np.ndarray) -> np.ndarray:
        """Propensities at the times of the card and the inferred temperature, from modes, (N, K)."""
        temperature, times, c = self.infer_temperature(structure), np.array(self.card.times), self.conditions
        c.check_times(temperature, times)
        answers = standardised @ c.basis(temperature, times)
        scale = replace(
            LabelScale.of(self.card), mean=c.mean(temperature, times), std=c.std(temperature, times)
        )
        return scale.propensities(answers, structure.types)

    def reach(self, structure: Structure) -> float | None:
        """None: the temperature is that of the whole structure."""
        return None

    def traced(self, structure: Structure, steps: torch.Tensor) -> torch.Tensor:
        """See :meth:`propensity.estimators.base.Estimator.traced`; the inferred temperature is held."""
        return self.at(self.infer_temperature(structure), self.card.times).traced(structure, steps)

    def features(self, structure: Structure, layer: int | None, steps: torch.Tensor | None) -> TracedFeatures:
        """See :meth:`propensity.estimators.base.Estimator.features`; likewise."""
        return self.at(self.infer_temperature(structure), self.card.times).features(structure, layer, steps)

    def infer_temperature(self, structure: Structure) -> float:
        """Temperature at which thermal offsets are as long as those of the structure, in their median.

        Vibrations about a minimum have ⟨u²⟩ ∝ T; between the trained temperatures the measured lengths are
        interpolated.

        Raises
        ------
        InputError
            When the model or the structure knows no thermal offsets, or they are far from those of training.
        """
        self.check_inferable()
        if structure.thermal_offset is None:
            raise InputError(
                "the temperature can't be inferred without thermal offsets: give temperature=..., k_B T/ε_AA,"
                " or potential=..., which makes minima."
            )
        return self.conditions.temperature_like(structure.thermal_offset)

    def check_inferable(self) -> None:
        """Refuse to infer temperatures that the inputs of the model don't show.

        Raises
        ------
        InputError
            When it sees no thermal offsets.
        """
        unknown = any(point.offset is None for point in self.conditions.state_points)
        if unknown or self.card.input_positions != "both":
            low, high = self.conditions.temperatures[[0, -1]]
            raise InputError(
                f"{self.card.name or 'the model'} answers for temperatures {low:g} to"
                f" {high:g} and its inputs don't tell which: give temperature=..., k_B T/ε_AA."
            )

    def temperature_error(self) -> float:
        """Standard error of an inferred temperature, from the spread of offsets between training structures;
        NaN where unknown.
        """
        points = self.conditions.state_points
        if any(point.offset is None for point in points):
            return math.nan
        sizes = np.array([cast("tuple[float, float]", point.offset) for point in points])
        slopes = np.gradient(self.conditions.temperatures, sizes[:, 0])
        return float(np.max(np.abs(slopes) * sizes[:, 1]))


def at_state_point_of(estimator: Model, sample: Sample) -> Model | Estimator:
    """A conditioned model at the temperature and times of a labelled structure; any other as it is."""
    return estimator.for_sample(sample) if isinstance(estimator, ConditionedEstimator) else estimator


def checked_times(times: Sequence[float] | np.ndarray | float) -> np.ndarray:
    """Times as an array, shape (T,).

    Raises
    ------
    InputError
        When there are none, or one is no positive number.
    """
    chosen = np.atleast_1d(np.asarray(times, dtype=float))
    if chosen.ndim != 1 or not len(chosen) or not (np.isfinite(chosen) & (chosen > 0)).all():
        raise InputError(f"times are {times}: give positive numbers, in LJ units.")
    return chosen
