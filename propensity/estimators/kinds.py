"""Estimators by name, imported when first asked for."""

from __future__ import annotations

from propensity.errors import DataError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.registry import Registry

#: Kind of a model, as its card says it → class.
ESTIMATORS: Registry[type[Estimator]] = Registry(
    "model kind",
    {
        "se3gnn": "propensity.estimators.se3gnn:SE3Estimator",
        "gated": "propensity.estimators.gated:GatedEstimator",
        "bapst": "propensity.estimators.bapst:BapstEstimator",
        "ridge": "propensity.estimators.ridge:RidgeEstimator",
        "softness": "propensity.estimators.softness:SoftnessEstimator",
        "energy": "propensity.estimators.fields:EnergyEstimator",
        "density": "propensity.estimators.fields:DensityEstimator",
    },
    DataError,
)

#: The same for models of several temperatures.
CONDITIONED: Registry[type[Estimator]] = Registry(
    "kind of a model of several temperatures",
    {
        "se3gnn": "propensity.estimators.conditioned_networks:ConditionedSE3",
        "gated": "propensity.estimators.conditioned_networks:ConditionedGated",
    },
    DataError,
)


def class_for(card: Card) -> type[Estimator]:
    """Return the estimator that a card describes.

    Raises
    ------
    DataError
        When its kind is unknown.
    """
    return estimator_class(card.kind) if card.conditions is None else CONDITIONED[card.kind]


def estimator_class(kind: str) -> type[Estimator]:
    """Return the estimator registered as ``kind``.

    Raises
    ------
    DataError
        When the kind is unknown.
    """
    return ESTIMATORS[kind]
