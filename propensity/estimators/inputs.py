"""What a model sees of a structure: which positions, and whether types and weights fit its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from propensity.errors import DataError, InputError
from propensity.estimators.card import Card
from propensity.sample import Sample
from propensity.structure import Structure

OnePositions = Literal["thermal", "inherent"]
#: "both": the inherent positions, with the offset from there to the thermal ones.
InputPositions = Literal["thermal", "inherent", "both"]


def input_structure(sample: Sample, input_positions: InputPositions) -> Structure:
    """Structure that a model sees: the thermal one, or the same particles at the inherent positions.

    With ``"both"`` it holds the offset to the thermal positions too.

    Raises
    ------
    DataError
        When inherent positions are asked for and the sample has none.
    """
    if input_positions == "thermal":
        return sample.structure
    if sample.inherent_positions is None:
        raise DataError(
            f"{sample.name} has no inherent positions: add them by `propensity convert --quench`, or train on"
            " input_positions='thermal'."
        )
    if input_positions == "inherent":
        return sample.structure.with_positions(sample.inherent_positions)
    return sample.structure.at_minimum(sample.inherent_positions)


def check_arrays(card: Card, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse learned arrays that are missing, or whose shapes don't fit the card.

    Raises
    ------
    DataError
        With the first array that doesn't fit.
    """
    for name, shape in shapes.items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            raise DataError(
                f"the {card.kind} model has {name} of shape {found} instead of {shape}: weights and card"
                " don't belong together."
            )


def check_dimension(card: Card, structure: Structure) -> None:
    """Refuse a planar structure to a model of three dimensions, and the other way round.

    Raises
    ------
    InputError
        When dimensions differ.
    """
    if structure.dimension != card.dimension:
        what = {2: "lie in one plane", 3: "fill three dimensions"}
        raise InputError(
            f"the particles {what[structure.dimension]} and the model {card.name} was trained in"
            f" {card.dimension} dimensions: choose a model of {structure.dimension} dimensions, or pass the"
            f" structure with dimension={card.dimension} if it is one."
        )


def check_outputs(card: Card) -> None:
    """Refuse a card without the constants that turn outputs into propensities.

    Raises
    ------
    DataError
        When they are missing.
    """
    for name in ("target_mean", "target_std"):
        if not getattr(card, name):
            raise DataError(f"the card has no {name}, by which outputs become propensities")


def check_types(structure: Structure, species: Sequence[str]) -> None:
    """Refuse a structure with more species than the model knows.

    Raises
    ------
    InputError
        When the largest type has no species.
    """
    if structure.types.max() >= len(species):
        raise InputError(
            f"the structure has type {structure.types.max()}, but the model knows species {list(species)}."
        )
