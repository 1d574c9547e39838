"""Models at the temperature that a user asks for: a conditioned one answers, others say what theirs is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from propensity.errors import InputError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.conditioned import ConditionedEstimator
from propensity.estimators.conditions import StatePoint

#: Difference of temperatures beyond which magnitudes are those of another liquid.
TOLERANCE = 0.01
#: Error of a mean displacement of which nobody is told.
RIGHT = 0.05


def answering(
    estimator: Estimator,
    temperature: float | None,
    times: Sequence[float] | float | None,
    potential: str | None = None,
) -> tuple[Estimator, dict[str, str]]:
    """Model for a temperature and times, and doubts about it as topic → sentence.

    Parameters
    ----------
    estimator
        Any model; a conditioned one becomes an ordinary one of this temperature.
    temperature
        k_B T/ε_AA; None: that of the model, or of each structure for a conditioned one.
    times
        Times to predict, for a conditioned model; others have theirs.
    potential
        Interaction in which minima are made, where they are.

    Raises
    ------
    InputError
        For a temperature or time that a conditioned model doesn't answer for.
    """
    if not isinstance(estimator, ConditionedEstimator):
        text = _other(estimator.card, temperature)
        return estimator, {"temperature": text} if text else {}
    wanted = None if times is None else np.atleast_1d(np.asarray(times, dtype=float))
    if temperature is None:
        estimator.check_inferable()
        return estimator if wanted is None else estimator.asked_for(wanted), {}
    point = estimator.conditions.nearest(temperature)
    texts = {"temperature": estimator.conditions.check_temperature(temperature)}
    if potential is not None and point.potential not in (None, potential):
        texts["interaction"] = _in_another(estimator.card, temperature, potential, point)
    return estimator.at(temperature, wanted), {topic: text for topic, text in texts.items() if text}


def _in_another(card: Card, temperature: float, potential: str, point: StatePoint) -> str:
    """Doubt about a model of several temperatures in another interaction; empty where it was measured to
    be right.
    """
    known = "its magnitudes are those of the latter"
    for one in card.elsewhere:
        if one.potential == potential and abs(one.temperature - temperature) <= TOLERANCE + 1e-9:
            low, high = one.ratio
            if 1 - RIGHT <= low and high <= 1 + RIGHT:
                return ""
            known = (
                f"in the former its ρ is {one.pearson:.2f}, means are {low:.2g} to {high:.2g} times the true"
            )
    return (
        f"minima are made in {potential!r}, and at temperature {point.temperature:g} the model was"
        f" trained on {point.potential!r}: {known}."
    )


def _other(card: Card, temperature: float | None) -> str:
    """Doubt about a model of one temperature at another one; empty where there is none."""
    if temperature is None:
        return ""
    if not np.isfinite(temperature) or temperature <= 0:
        raise InputError(f"temperature is {temperature}: give k_B T/ε_AA, a positive number.")
    name = card.name or card.kind
    if card.temperature is None:
        return f"the card of {name} doesn't say for which temperature it is: {temperature:g} is not used."
    if abs(temperature - card.temperature) <= TOLERANCE + 1e-9:
        return ""
    known = "what that does to its predictions was not measured"
    if card.elsewhere:
        near = min(card.elsewhere, key=lambda one: abs(one.temperature - temperature))
        known = (
            f"at {near.temperature:g} its ρ is {near.pearson:.2f} and its predictions are {near.ratio[0]:.2g}"
            f" to {near.ratio[1]:.2g} times the true ones, at times at which motion has come as far"
        )
    return (
        f"temperature {temperature:g} is asked for and {name} was trained at {card.temperature:g}: magnitudes"
        f" and times are those of {card.temperature:g} ({known}); ka-liquid answers for other temperatures."
    )
