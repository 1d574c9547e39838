"""What an annotated file says of its propensities: by which model, in which units, at which time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from propensity.estimators.likeness import Likeness
from propensity.predictor import Predictor
from propensity.version import __version__

#: Of all times, in reduced units.
TIME_UNIT = "sigma*sqrt(m/epsilon)"


def facts(predictor: Predictor) -> dict[str, Any]:
    """What is the same for every frame, under the names that extended XYZ and ASE's ``info`` give it.

    ``propensity_time`` is the time of the column ``propensity``, ``propensity_times`` those of
    ``propensities``, both in ``propensity_time_unit``; ``propensity_temperature`` and
    ``propensity_potential`` are those of the training, where they are known.
    """
    found: dict[str, Any] = {
        "propensity_times": predictor.times,
        "propensity_time": float(predictor.times[predictor.default_time_index]),
        "propensity_time_unit": TIME_UNIT,
        "propensity_model": "+".join(e.card.name or e.card.kind for e in predictor.estimators),
        "propensity_version": __version__,
        "propensity_length_scale": predictor.length_scale,
        "propensity_input": predictor.card.input_positions,
    }
    if predictor.species_map is not None:
        pairs = ",".join(f"{label}={name}" for label, name in predictor.species_map.items())
        found["propensity_species_map"] = pairs
    if predictor.temperature is not None:
        found["propensity_temperature"] = predictor.temperature
    if predictor.card.potential is not None:
        found["propensity_potential"] = predictor.card.potential
    if predictor.potential is not None and predictor.card.input_positions != "thermal":
        found["propensity_minimised_in"] = predictor.potential
    return found


def state_point_in_words(predictor: Predictor) -> str:
    """For which liquid a predictor answers, in a few words."""
    name = "+".join(e.card.name or e.card.kind for e in predictor.estimators)
    if predictor.temperature is not None:
        potential = f", {predictor.card.potential}" if predictor.card.potential else ""
        return f"{name} answers for T = {predictor.temperature:g}{potential}"
    conditions = predictor.card.conditions
    if conditions is None:
        return f"the card of {name} doesn't say for which temperature"
    low, high = conditions.temperatures[[0, -1]]
    return f"{name} reads the temperature of each frame, {low:g} to {high:g}, from its thermal offsets"


def of_frame(likeness: Likeness | None) -> dict[str, Any]:
    """What differs from frame to frame: whether it is unlike the training set, and negative predictions."""
    if likeness is None:
        return {}
    found: dict[str, Any] = {
        "propensity_out_of_distribution": likeness.out_of_distribution,
        "propensity_negative": likeness.negative,
    }
    if likeness.reasons:
        found["propensity_doubts"] = ",".join(likeness.reasons)
    if not math.isnan(likeness.temperature):
        found["propensity_temperature"] = likeness.temperature
    if not math.isnan(likeness.outside):
        found["propensity_outside"] = round(likeness.outside, 6)
    return found


def without(info: dict[str, Any]) -> dict[str, Any]:
    """What a file says of a frame, less what an earlier annotation said."""
    return {key: value for key, value in info.items() if not str(key).startswith("propensit")}


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """The same in JSON types."""
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in found.items()}
