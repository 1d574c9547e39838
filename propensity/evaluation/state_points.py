"""Scores of one model at several state points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from propensity.data.dataset import Dataset
from propensity.evaluation.scores import Evaluation, evaluate

if TYPE_CHECKING:
    from propensity.estimators.base import Estimator
    from propensity.sample import Sample


def evaluate_state_points(
    estimator: Estimator, samples: Dataset | Sequence[Sample], part: str, **options: Any
) -> dict[str, Evaluation]:
    """Scores under the name ``part``; of a conditioned model one a state point, ``"part T=0.5"``.

    Parameters
    ----------
    estimator, samples
        See :func:`propensity.evaluation.evaluate`.
    part
        What the samples are called.
    **options
        Of :func:`propensity.evaluation.evaluate`.

    Returns
    -------
    dict
        Name → scores.
    """
    if estimator.card.conditions is None or not isinstance(samples, Dataset):
        return {part: evaluate(estimator, samples, **options)}
    return {
        f"{part} T={part_of.header(0).temperature:g}": evaluate(estimator, part_of, **options)
        for part_of in samples.state_points()
    }
