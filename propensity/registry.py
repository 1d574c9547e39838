"""Estimators by name, imported when first asked for."""

from __future__ import annotations

import importlib

from propensity.errors import DataError, suggest
from propensity.estimator import Estimator

#: kind → "module:class".
ESTIMATORS: dict[str, str] = {
    "se3gnn": "propensity.nn.estimator:SE3Estimator",
    "bapst": "propensity.baselines.bapst_estimator:BapstEstimator",
    "ridge": "propensity.baselines.ridge:RidgeEstimator",
    "softness": "propensity.baselines.softness:SoftnessEstimator",
    "energy": "propensity.baselines.physical:EnergyEstimator",
    "density": "propensity.baselines.physical:DensityEstimator",
}


def estimator_class(kind: str) -> type[Estimator]:
    """Return the estimator registered as ``kind``.

    Raises
    ------
    DataError
        When the kind is unknown.
    """
    if kind not in ESTIMATORS:
        raise DataError(
            f"model kind {kind!r} is unknown: choose from {sorted(ESTIMATORS)}{suggest(kind, ESTIMATORS)}."
        )
    module, name = ESTIMATORS[kind].split(":")
    return getattr(importlib.import_module(module), name)
