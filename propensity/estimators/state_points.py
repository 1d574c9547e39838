"""State points that a network is trained on, and labels standardised for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from propensity.errors import DataError
from propensity.estimators.conditions import Conditions, StatePoint, median_offset
from propensity.estimators.training_set import by_temperature, check_one_liquid, label_statistics

if TYPE_CHECKING:
    from propensity.sample import Sample


def learn_conditions(train: Sequence[Sample]) -> Conditions:
    """State points of samples at two temperatures or more, each with times of its own.

    Raises
    ------
    DataError
        For a sample without temperature, a single temperature, or structures at one temperature that differ
        in times or interaction.
    """
    first = check_one_liquid(train)
    groups = by_temperature(train)
    if len(groups) < 2:
        raise DataError(
            f"all structures are at temperature {next(iter(groups)):g}: --condition temperature needs two at"
            " least; train without it."
        )
    points = []
    for temperature, samples in groups.items():
        one = samples[0]
        for other in samples:
            same = len(other.times) == len(one.times) and np.allclose(other.times, one.times, rtol=1e-6)
            if not same or other.potential != one.potential:
                what = (
                    f"interactions {one.potential!r} and {other.potential!r}"
                    if same
                    else f"times {one.times} and {other.times}"
                )
                raise DataError(
                    f"{one.name} and {other.name} are both at temperature {temperature:g} and have {what}:"
                    " give one set a temperature."
                )
        order = np.argsort(one.times)
        mean, std = (values[:, order] for values in label_statistics(samples))
        points.append(
            StatePoint(
                temperature=temperature,
                potential=one.potential,
                times=tuple(float(f"{t:.10g}") for t in np.asarray(one.times)[order]),
                tau_alpha=one.tau_alpha,
                mean=tuple(map(tuple, mean.tolist())),
                std=tuple(map(tuple, std.tolist())),
                offset=_offsets(samples),
                n_structures=len(samples),
            )
        )
    shares = np.mean([x.structure.composition(len(first.species)) for x in train], axis=0)
    return Conditions(state_points=tuple(points), composition=tuple(shares.tolist()))


def _offsets(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Mean and spread over structures of the median thermal offset."""
    if any(sample.inherent_positions is None for sample in samples):
        return None
    sizes = [
        median_offset(
            cast(
                "np.ndarray", x.structure.at_minimum(cast("np.ndarray", x.inherent_positions)).thermal_offset
            )
        )
        for x in samples
    ]
    return float(np.mean(sizes)), float(np.std(sizes))


def labels_at(sample: Sample, conditions: Conditions) -> tuple[int, np.ndarray]:
    """Index of the state point, and labels standardised for it, shape (N, T_max), 0 beyond its times.

    Raises
    ------
    DataError
        For a structure at another temperature or other times than those of the training.
    """
    temperatures = conditions.temperatures
    away = np.abs(temperatures - (np.inf if sample.temperature is None else sample.temperature))
    index = int(np.argmin(away))
    point = conditions.state_points[index]
    types, order = sample.structure.types, np.argsort(sample.times)
    times = np.asarray(sample.times, dtype=float)[order]
    if away[index] > 1e-6 or len(times) != len(point.times) or not np.allclose(times, point.times, rtol=1e-6):
        raise DataError(
            f"{sample.name} is at temperature {sample.temperature} with {len(times)} times, and no training"
            " structures are: leave it out of the validation, and score it by `propensity evaluate`."
        )
    mean, std = np.array(point.mean), np.array(point.std)
    labels = np.zeros((len(types), conditions.most_times))
    labels[:, : len(order)] = (np.asarray(sample.propensities)[:, order] - mean[types]) / std[types]
    return index, labels
