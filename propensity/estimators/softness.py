"""Softness: signed distance to the hyperplane that divides mobile from immobile particles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydantic import Field
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from propensity.descriptors.sizes import NAMES, size_descriptors
from propensity.descriptors.structure_functions import (
    ANGULAR_CUTOFF,
    RADIAL,
    WIDTH,
    names,
    structure_functions,
)
from propensity.errors import DataError, InputError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.inputs import OnePositions, check_arrays, check_types
from propensity.estimators.options import Options, read_options
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

CITATION = (
    "E. D. Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015); "
    "S. S. Schoenholz et al., Nat. Phys. 12, 469 (2016)"
)


class SoftnessOptions(Options):
    """Options of :meth:`SoftnessEstimator.fit`."""

    input_positions: OnePositions = Field("thermal", description="Positions that the model sees.")
    fraction: float = Field(
        0.5,
        gt=0,
        le=0.5,
        description=(
            "The most mobile fraction of each species is soft and the least mobile one hard; the rest is "
            "left out. 0.5 divides at the median."
        ),
    )
    penalty: float = Field(
        0.01, gt=0, description="C of the support vector machine, for standardised features."
    )
    angular_cutoff: float = Field(ANGULAR_CUTOFF, gt=0, description="Range of the angular functions, in σ.")
    max_particles: int = Field(
        20_000, ge=1, description="Particles of each species to learn from, spread over all structures."
    )
    seed: int = Field(0, ge=0, description="Seed of the choice of particles.")


class SoftnessEstimator(Estimator):
    """One linear support vector machine a species and time.

    :meth:`softness` is the signed distance to the hyperplane in standardised structure functions;
    :meth:`predict` maps it to a propensity by a straight line, which leaves correlations as they are.
    """

    kind = "softness"
    options = SoftnessOptions

    def __init__(
        self,
        card: Card,
        normal: np.ndarray,
        offset: np.ndarray,
        slope: np.ndarray,
        intercept: np.ndarray,
    ) -> None:
        self.card, self.normal, self.offset = card, normal, offset
        self.slope, self.intercept = slope, intercept

    @classmethod
    def fit(
        cls,
        train: Sequence[Sample],
        valid: Sequence[Sample] = (),
        options: SoftnessOptions | None = None,
        *,
        labels: Sequence[np.ndarray] | None = None,
        **values: Any,
    ) -> Self:
        """Fit with :class:`SoftnessOptions`; ``valid`` is not used.

        Propensities calibrate :meth:`predict` and, without ``labels``, say who is soft.  ``labels`` are 1
        (soft), 0 (hard) or −1 (leave out) for each structure, shape (N,) or (N, n_times), e.g. from
        :func:`propensity.descriptors.hopping.hop_labels`.
        """
        opts = read_options(SoftnessOptions, values, options)
        train = list(train)
        card = training_card(
            cls.kind,
            train,
            config={
                "angular_cutoff": opts.angular_cutoff,
                "radial_width": WIDTH,
                **({"diameters": True} if shows_diameters(train) else {}),
            },
            options={**opts.model_dump(mode="json"), "labels": "propensity" if labels is None else "given"},
            input_positions=opts.input_positions,
            cutoff=max(RADIAL),
            citation=CITATION,
        )
        chosen = some_particles(train, opts.max_particles, opts.seed)
        features = describe_samples(partial(_describe, card), train, opts.input_positions, chosen)
        given = None if labels is None else _given_labels(train, labels, chosen, len(card.times))
        shape = (len(card.species), len(card.times))
        normal = np.zeros((*shape, features[0].shape[1]))
        offset, slope = np.zeros(shape), np.zeros(shape)
        intercept = np.array(card.target_mean)
        types = np.concatenate([x.structure.types[rows] for x, rows in zip(train, chosen, strict=True)])
        for s, x, y, _ in per_species(train, features, chosen):
            for t in range(shape[1]):
                soft = _thresholded(y[:, t], opts.fraction) if given is None else given[types == s, t]
                if len(np.unique(soft[soft >= 0])) < 2:
                    raise DataError(
                        f"species {card.species[s]!r} at time {card.times[t]:g} has no soft or no"
                        " hard particles to learn from: change the labels or the fraction."
                    )
                used = soft >= 0
                normal[s, t], offset[s, t] = hyperplane(x[used], soft[used], opts.penalty)
                distance = x @ normal[s, t] + offset[s, t]
                slope[s, t], intercept[s, t] = np.polyfit(distance, y[:, t], 1)
        return cls(card, normal, offset, slope, intercept)

    def softness(self, structure: Structure) -> np.ndarray:
        """Signed distance of each particle to the hyperplane of its species, shape (N, n_times); soft is
        positive.
        """
        check_types(structure, self.card.species)
        features = _describe(self.card, structure)
        result = np.empty((len(structure), len(self.card.times)))
        for s in range(len(self.card.species)):
            mask = structure.types == s
            result[mask] = features[mask] @ self.normal[s].T + self.offset[s]
        return result

    def predict(self, structure: Structure) -> np.ndarray:
        """See :meth:`propensity.estimators.base.Estimator.predict`."""
        return cast(
            "np.ndarray",
            self.softness(structure) * self.slope[structure.types] + self.intercept[structure.types],
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Hyperplanes (n_species, n_times, n_features) with offsets, and the lines that calibrate them."""
        return {
            "normal": self.normal,
            "offset": self.offset,
            "slope": self.slope,
            "intercept": self.intercept,
        }

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from a card and :meth:`arrays`."""
        for name in ("angular_cutoff", "radial_width"):
            if not 0 < float(card.config.get(name, 1.0 if name == "radial_width" else 0.0)) <= 20:
                raise DataError(f"the card's {name} is {card.config.get(name)!r} instead of a length in σ.")
        shape = (len(card.species), len(card.times))
        lines = dict.fromkeys(("offset", "slope", "intercept"), shape)
        check_arrays(card, arrays, {"normal": (*shape, len(_names(card))), **lines})
        return cls(card, **{name: arrays[name] for name in ("normal", *lines)})

    @property
    def feature_names(self) -> list[str]:
        """Name of each structure function, in the order of ``normal``."""
        return _names(self.card)


def _describe(card: Card, structure: Structure) -> np.ndarray:
    # Models that don't name their width were made with exp(−(r − μ)²/L²), L = 0.1.
    width = card.config.get("radial_width", 0.1 / math.sqrt(2))
    features = structure_functions(structure, len(card.species), card.config["angular_cutoff"], width)
    return np.hstack([features, size_descriptors(structure)]) if card.config.get("diameters") else features


def _names(card: Card) -> list[str]:
    return [*names(card.species), *(NAMES if card.config.get("diameters") else ())]


def hyperplane(x: np.ndarray, soft: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Normal and offset in raw features, so that x·normal + offset is the signed distance in standardised
    ones.
    """
    scaler = StandardScaler().fit(x)
    # A shell that is all but empty in training must not be blown up where it isn't.
    scale = np.where(scaler.scale_ > 1e-6, scaler.scale_, 1.0)
    machine = LinearSVC(C=penalty, dual=False, class_weight="balanced").fit((x - scaler.mean_) / scale, soft)
    length = float(np.linalg.norm(machine.coef_))
    normal = machine.coef_[0] / length / scale
    return normal, float(machine.intercept_[0] / length - scaler.mean_ @ normal)


def _thresholded(values: np.ndarray, fraction: float) -> np.ndarray:
    low, high = np.quantile(values, [fraction, 1 - fraction])
    return np.where(values >= high, 1, np.where(values <= low, 0, -1))


def _given_labels(
    train: Sequence[Sample], labels: Sequence[np.ndarray], chosen: Sequence[np.ndarray], n_times: int
) -> np.ndarray:
    """Labels of the chosen particles of all structures, shape (n, n_times)."""
    if len(labels) != len(train):
        raise InputError(
            f"there are {len(labels)} arrays of labels for {len(train)} structures: give one each."
        )
    parts = []
    for sample, label, rows in zip(train, labels, chosen, strict=True):
        label = np.asarray(label)
        wide = label[:, None] if label.ndim == 1 else label
        if (
            wide.shape not in ((len(sample), 1), (len(sample), n_times))
            or not np.isin(wide, (-1, 0, 1)).all()
        ):
            raise InputError(
                f"labels of {sample.name} have shape {label.shape} or values beyond −1, 0, 1: give one of"
                f" these for each of its {len(sample)} particles."
            )
        parts.append(np.broadcast_to(wide, (len(sample), n_times))[rows])
    return np.concatenate(parts)
