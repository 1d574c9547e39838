"""Cheap physical baselines: local potential energy and local density, coarse-grained with exp(−r/ξ)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from pydantic import Field

from propensity.descriptors.fields import REACH, coarse_grain, local_density
from propensity.errors import DataError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.inputs import OnePositions, check_arrays, check_types, input_structure
from propensity.estimators.options import Options, Positive, read_options
from propensity.estimators.training_set import common_potential, per_species, training_card
from propensity.physics.kob_andersen import check_potential, local_potential_energy
from propensity.statistics import pearson
from propensity.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Self

    from propensity.sample import Sample


#: Longest coarse-graining length of a model, in σ.
MAX_LENGTH = 20.0


class FieldOptions(Options):
    """Options of the one-number baselines."""

    input_positions: OnePositions = Field("thermal", description="Positions that the model sees.")
    lengths: tuple[Positive, ...] = Field(
        (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
        min_length=1,
        description=(
            "Coarse-graining lengths ξ to choose from, by |ρ| on the training structures, at each time."
        ),
    )


class EnergyOptions(FieldOptions):
    """Options of :meth:`EnergyEstimator.fit`."""

    potential: str | None = Field(
        None, description="Interaction: lj/cut, lj/cut force-shifted or lammps:INPUT; None: as samples say."
    )


class FieldEstimator(Estimator):
    """Straight line from one coarse-grained local quantity to the propensity, for each species and time."""

    options: ClassVar[type[FieldOptions]] = FieldOptions

    def __init__(self, card: Card, slope: np.ndarray, intercept: np.ndarray, length: np.ndarray) -> None:
        self.card, self.slope, self.intercept, self.length = card, slope, intercept, length

    @staticmethod
    @abstractmethod
    def fields(structure: Structure, lengths: Sequence[float], config: Mapping[str, Any]) -> np.ndarray:
        """Coarse-grained quantity of each particle at each ξ, shape (N, n_lengths)."""

    @classmethod
    def fit(
        cls,
        train: Sequence[Sample],
        valid: Sequence[Sample] = (),
        options: FieldOptions | None = None,
        **values: Any,
    ) -> Self:
        """Choose ξ and fit the line on ``train``; ``valid`` is not used."""
        opts = read_options(cls.options, values, options)
        train = list(train)
        card = training_card(
            cls.kind,
            train,
            config=cls._config(train, opts),
            options=opts.model_dump(mode="json"),
            input_positions=opts.input_positions,
            cutoff=REACH,
        )
        lengths = np.array(opts.lengths, dtype=float)
        features = [
            cls.fields(input_structure(sample, opts.input_positions), opts.lengths, card.config)
            for sample in train
        ]
        mean = np.array(card.target_mean)
        slope, intercept, length = np.zeros_like(mean), mean, np.full_like(mean, lengths[0])
        times = np.arange(mean.shape[1])
        everyone = [np.arange(len(sample)) for sample in train]
        for s, x, y, _ in per_species(train, features, everyone):
            rho = pearson(*np.broadcast_arrays(x[:, :, None], y[:, None, :]))
            best = np.nan_to_num(np.abs(rho)).argmax(axis=0)
            chosen, rho = x[:, best], np.nan_to_num(rho[best, times])
            spread = chosen.std(axis=0)
            slope[s] = rho * y.std(axis=0) / np.where(spread > 0, spread, 1.0)
            intercept[s] = y.mean(axis=0) - slope[s] * chosen.mean(axis=0)
            length[s] = lengths[best]
        return cls(card, slope, intercept, length)

    def predict(self, structure: Structure) -> np.ndarray:
        """See :meth:`propensity.estimators.base.Estimator.predict`."""
        check_types(structure, self.card.species)
        lengths, index = np.unique(self.length, return_inverse=True)
        fields = self.fields(structure, lengths.tolist(), self.card.config)
        index = index.reshape(self.length.shape)[structure.types]
        chosen = np.take_along_axis(fields, index, axis=1)
        return cast("np.ndarray", chosen * self.slope[structure.types] + self.intercept[structure.types])

    def arrays(self) -> dict[str, np.ndarray]:
        """Slope, intercept and ξ, each of shape (n_species, n_times)."""
        return {"slope": self.slope, "intercept": self.intercept, "length": self.length}

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from a card and :meth:`arrays`."""
        shape = (len(card.species), len(card.times))
        check_arrays(card, arrays, dict.fromkeys(("slope", "intercept", "length"), shape))
        length = arrays["length"]
        if not ((length > 0) & (length <= MAX_LENGTH)).all():
            raise DataError(f"the coarse-graining lengths of the model are not in 0..{MAX_LENGTH:g} σ.")
        if "potential" in card.config or card.kind == "energy":
            check_potential(card.config.get("potential", ""))
        return cls(card, arrays["slope"], arrays["intercept"], length)

    @classmethod
    def _config(cls, train: Sequence[Sample], opts: FieldOptions) -> dict[str, Any]:
        return {}


class DensityEstimator(FieldEstimator):
    """Number density around each particle."""

    kind = "density"

    @staticmethod
    def fields(structure: Structure, lengths: Sequence[float], config: Mapping[str, Any]) -> np.ndarray:
        """ρ_i(ξ) of :func:`local_density` at each ξ, shape (N, n_lengths)."""
        return local_density(structure, lengths)


class EnergyEstimator(FieldEstimator):
    """Potential energy around each particle of a Kob–Andersen mixture."""

    kind = "energy"
    options = EnergyOptions

    @staticmethod
    def fields(structure: Structure, lengths: Sequence[float], config: Mapping[str, Any]) -> np.ndarray:
        """Local potential energy averaged by :func:`coarse_grain` at each ξ, shape (N, n_lengths)."""
        return coarse_grain(structure, local_potential_energy(structure, config["potential"]), lengths)

    @classmethod
    def _config(cls, train: Sequence[Sample], opts: FieldOptions) -> dict[str, Any]:
        assert isinstance(opts, EnergyOptions)
        return {"potential": common_potential(train, opts.potential)}
