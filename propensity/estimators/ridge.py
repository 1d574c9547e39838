"""Ridge regression on averaged structural descriptors, Boattini et al., Phys. Rev. Lett. 127, 088007
(2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import Field
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import StandardScaler

from propensity.descriptors.averaged import DescriptorGrid, averaged_descriptors
from propensity.descriptors.sizes import NAMES, size_descriptors
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.inputs import OnePositions, check_arrays, check_types
from propensity.estimators.options import Options, Positive, read_options
from propensity.estimators.training_set import (
    describe_samples,
    per_species,
    shows_diameters,
    some_particles,
    training_card,
)
from propensity.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Self

    from propensity.sample import Sample

CITATION = "E. Boattini, F. Smallenburg, L. Filion, Phys. Rev. Lett. 127, 088007 (2021)"


class RidgeOptions(Options):
    """Options of :meth:`RidgeEstimator.fit`."""

    input_positions: OnePositions = Field("thermal", description="Positions that the model sees.")
    alphas: tuple[Positive, ...] = Field(
        (10.0, 100.0, 1e3, 1e4, 1e5, 1e6),
        min_length=1,
        description=(
            "Penalties to choose from, for standardised descriptors, by cross-validation at each time."
        ),
    )
    folds: int = Field(4, ge=2, description="Folds of the cross-validation; whole structures stay together.")
    max_particles: int = Field(
        200_000,
        ge=1,
        description=(
            "Particles of each species to learn from, spread over all structures; a thousand take some 25 MB."
        ),
    )
    l_max: int = Field(12, ge=1, description="Largest order of the angular descriptors.")
    generations: int = Field(2, ge=0, description="How often descriptors are averaged over neighbours.")
    averaging_length: float = Field(2.1, gt=0, description="r_c of the averages, in σ.")
    seed: int = Field(0, ge=0, description="Seed of the choice of particles.")


class RidgeEstimator(Estimator):
    """One linear model a species, all times at once, with a penalty chosen for each time."""

    kind = "ridge"
    options = RidgeOptions

    def __init__(self, card: Card, weights: np.ndarray, intercept: np.ndarray) -> None:
        self.card, self.weights, self.intercept = card, weights, intercept

    @classmethod
    def fit(
        cls,
        train: Sequence[Sample],
        valid: Sequence[Sample] = (),
        options: RidgeOptions | None = None,
        **values: Any,
    ) -> Self:
        """Fit with :class:`RidgeOptions`; ``valid`` is not used, the penalty is cross-validated in
        ``train``.
        """
        opts = read_options(RidgeOptions, values, options)
        train = list(train)
        grid: dict[str, Any] = {
            name: getattr(opts, name) for name in ("l_max", "generations", "averaging_length")
        }
        if shows_diameters(train):
            grid["diameters"] = True
        card = training_card(
            cls.kind,
            train,
            config=grid,
            options=opts.model_dump(mode="json"),
            input_positions=opts.input_positions,
            cutoff=max(r for r, _ in DescriptorGrid().radial),
            citation=CITATION,
        )
        chosen = some_particles(train, opts.max_particles, opts.seed)
        features = describe_samples(partial(_describe, card), train, opts.input_positions, chosen)
        n_species, n_times = len(card.species), len(card.times)
        weights = np.zeros((n_species, features[0].shape[1], n_times))
        intercept = np.array(card.target_mean)
        penalties = {}
        for s, x, y, group in per_species(train, features, chosen):
            alphas = choose_penalty(x, y, group, opts.alphas, opts.folds)
            weights[s], intercept[s] = linear_map(x, y, alphas)
            penalties[card.species[s]] = alphas.tolist()
        card.training["penalties"] = penalties
        return cls(card, weights, intercept)

    def predict(self, structure: Structure) -> np.ndarray:
        """See :meth:`propensity.estimators.base.Estimator.predict`."""
        check_types(structure, self.card.species)
        features = _describe(self.card, structure)
        propensities = np.empty((len(structure), len(self.card.times)))
        for s in range(len(self.card.species)):
            mask = structure.types == s
            propensities[mask] = features[mask] @ self.weights[s] + self.intercept[s]
        return propensities

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights (n_species, n_features, n_times) and intercept (n_species, n_times)."""
        return {"weights": self.weights, "intercept": self.intercept}

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from a card and :meth:`arrays`."""
        shape = (len(card.species), len(_names(card)), len(card.times))
        check_arrays(card, arrays, {"weights": shape, "intercept": shape[::2]})
        return cls(card, arrays["weights"], arrays["intercept"])

    @property
    def feature_names(self) -> list[str]:
        """Name of each feature, in the order of ``weights``."""
        return _names(self.card)


def _grid(card: Card) -> DescriptorGrid:
    return DescriptorGrid(**{key: value for key, value in card.config.items() if key != "diameters"})


def _names(card: Card) -> list[str]:
    return [*_grid(card).names(card.species), *(NAMES if card.config.get("diameters") else ())]


def _describe(card: Card, structure: Structure) -> np.ndarray:
    features = averaged_descriptors(structure, len(card.species), _grid(card))
    return np.hstack([features, size_descriptors(structure)]) if card.config.get("diameters") else features


def choose_penalty(
    x: np.ndarray, y: np.ndarray, group: np.ndarray, alphas: Sequence[float], folds: int
) -> np.ndarray:
    """Penalty with the smallest squared error on left-out structures, one a target, shape (n_targets,).

    With a single structure its particles are divided instead.
    """
    if len(alphas) == 1:
        return np.full(y.shape[1], float(alphas[0]))
    n_groups = len(np.unique(group))
    split = GroupKFold(min(folds, n_groups)) if n_groups > 1 else KFold(folds, shuffle=True, random_state=0)
    # Every penalty as more targets of one regression, so that each fold has one matrix of correlations.
    targets, penalties = np.tile(y, len(alphas)), np.repeat(np.array(alphas, dtype=float), y.shape[1])
    error = np.zeros(len(penalties))
    for fit, test in split.split(x, y, group):
        weights, intercept = linear_map(x[fit], targets[fit], penalties)
        error += np.square(x[test] @ weights + intercept - targets[test]).sum(axis=0)
    return cast("np.ndarray", np.array(alphas, dtype=float)[error.reshape(len(alphas), -1).argmin(axis=0)])


def linear_map(x: np.ndarray, y: np.ndarray, alphas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge on standardised features, as (n_features, n_targets) weights and intercepts of the raw ones."""
    scaler = StandardScaler().fit(x)
    # A shell that is all but empty in training must not be blown up where it isn't.
    scale = np.where(scaler.scale_ > 1e-6, scaler.scale_, 1.0)
    scaled = x.astype(np.float64)  # the one copy: features are most of the memory
    scaled -= scaler.mean_
    scaled /= scale
    model = Ridge(alpha=alphas, solver="cholesky", copy_X=False).fit(scaled, y)
    weights = np.atleast_2d(model.coef_).T / scale[:, None]
    return weights, model.intercept_ - scaler.mean_ @ weights
