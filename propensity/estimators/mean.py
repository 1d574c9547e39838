"""The mean of several models, to be scored like one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import cast

import numpy as np

from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.storage import committee_of, load_model
from propensity.structure import Structure


@dataclass(frozen=True)
class MeanEstimator:
    """Models with equal species and times, whose prediction is the mean; the card is that of the first."""

    members: tuple[Estimator, ...]

    @property
    def card(self) -> Card:
        """Of the first model."""
        return self.members[0].card

    def unchecked(self, structure: Structure) -> np.ndarray:
        """Mean propensities, as :meth:`propensity.estimators.base.Estimator.unchecked`."""
        return cast("np.ndarray", np.mean([member.unchecked(structure) for member in self.members], axis=0))


def load_together(
    model: str | os.PathLike[str], device: object = None, kernel: str | None = None
) -> Estimator | MeanEstimator:
    """A model, or the committee that its name stands for, as :class:`propensity.Predictor` predicts with."""
    members = [load_model(path).to(device, kernel=kernel) for path in committee_of(model)]
    return members[0] if len(members) == 1 else MeanEstimator(tuple(members))
