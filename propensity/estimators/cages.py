"""How cage states are made for a model, and whether given ones are like those that it learned from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from propensity.caging import CageState
from propensity.errors import DataError, InputError
from propensity.estimators.card import Card
from propensity.sample import Sample
from propensity.structure import Structure

#: Share of the steps that the model learned from, below which chance in a cage state is another one.
FEW = 0.5


def cage_recipe(train: Sequence[Sample], several: bool) -> dict[str, Any]:
    """How to make cage states like those of the samples, for predictions.

    Raises
    ------
    DataError
        When samples lack cage states, or have some that were not made alike.
    """
    first = train[0]
    for sample in train:
        if sample.cage is None or sample.temperature is None:
            raise DataError(
                f"{sample.name} has no cage state or temperature: add cage states by `propensity convert"
                " --cage`, or train with inputs='inherent'."
            )
        if _made(sample.cage) != _made(first.cage):
            raise DataError(
                f"the cage states of {sample.name} and {first.name} were not made alike,"
                f" {_made(sample.cage)} and {_made(first.cage)}: make all of them anew by `propensity convert"
                " --cage` from stores without."
            )
    recipe = _made(first.cage)
    return recipe if several else {"temperature": first.temperature, **recipe}


def _made(cage: CageState | None) -> dict[str, Any]:
    """Options of :func:`propensity.cage_state` that made a cage state."""
    assert cage is not None
    radii = cage.radii.tolist()
    return {"radii": radii, "steps": cage.steps_each, "centred": cage.centred}


def made_so(card: Card) -> dict[str, Any]:
    """Options of :func:`propensity.cage_state` that a card asks for; the temperature may be missing."""
    # As states were when cards did not say.
    return {"steps": 1650, "centred": False, **card.cage_recipe}


def misfit(card: Card, cage: CageState) -> str:
    """What is wrong with a cage state for a model that learned from others; empty where nothing is."""
    recipe = made_so(card)
    radii = list(recipe.get("radii", cage.radii))
    if len(radii) != len(cage.radii) or not np.allclose(cage.radii, radii, rtol=1e-3):
        return f"has walls at {cage.radii.tolist()} σ and those that the model learned from at {radii}"
    if cage.centred != recipe["centred"]:
        held = {True: "was held", False: "was not held"}
        return (
            f"is one whose centre of mass {held[cage.centred]}, and in those that the model learned from it"
            f" {held[recipe['centred']]}"
        )
    if cage.steps_each < FEW * recipe["steps"]:
        return (
            f"is of {cage.steps_each} steps of each replica, and those that the model learned from of"
            f" {recipe['steps']}"
        )
    return ""


def checked_cage(card: Card, structure: Structure) -> Structure:
    """The structure, if a cage state that it brings is like those that the model learned from.

    Raises
    ------
    InputError
        Where it is not.
    """
    wrong = misfit(card, structure.cage) if card.cage_recipe and structure.cage is not None else ""
    if wrong:
        raise InputError(
            f"the cage state {wrong}: leave it out and give potential=... (--potential), or make it by"
            f" propensity.cage_state with {made_so(card)}."
        )
    return structure
