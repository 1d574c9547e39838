"""Card of a network that is to be trained: what it sees, and what is learned of that before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from propensity.errors import InputError
from propensity.estimators.card import Card
from propensity.estimators.inputs import input_structure
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.state_points import learn_conditions
from propensity.estimators.storage import load_card, model_files
from propensity.estimators.training_config import TrainingConfig
from propensity.estimators.training_set import (
    chosen_species,
    common_potential,
    shows_diameters,
    training_card,
)
from propensity.nn.scalars import learn_scalar_recipe, learn_size_trend

if TYPE_CHECKING:
    from propensity.sample import Sample

CITATION = (
    "F. S. Pezzicoli, G. Charpiat and F. P. Landes, Rotation-equivariant graph neural networks for "
    "learning glassy liquids representations, SciPost Phys. 16, 136 (2024), arXiv:2211.03226"
)


def network_card(train: Sequence[Sample], config: TrainingConfig) -> Card:
    """Card of a network to be trained on samples, with the recipe of its scalars learned from them.

    Raises
    ------
    InputError, DataError
        For samples that can't be learned together.
    """
    conditions = learn_conditions(train) if config.condition else None
    card = training_card(
        "se3gnn",
        train,
        config={},
        options=config.model_dump(mode="json"),
        input_positions=config.input_positions,
        cutoff=config.cutoff,
        trained_species=chosen_species(train, config.trained_species),
        count_neighbours=False,
        citation=CITATION,
        conditions=conditions,
    )
    scale = offset_scale(train, config) if config.input_positions == "both" else 0.0
    diameters = shows_diameters(train) if config.diameters is None else config.diameters
    if diameters and conditions is not None:
        raise InputError(
            "particles have diameters, which --condition does not know: train with diameters=False."
        )
    n_outputs = len(card.times) if conditions is None else conditions.n_modes
    card.config = config.network_options(len(card.species), n_outputs, scale)
    card.config["n_extra"] = int(config.potential_energy) + int(diameters)
    if card.config["n_extra"]:
        card.scalar_recipe = learn_scalar_recipe(
            [input_structure(sample, config.input_positions) for sample in train],
            len(card.species),
            potential=common_potential(train, config.potential) if config.potential_energy else None,
            diameters=diameters,
            length_scale=train[0].length_scale,
        )
    if diameters:
        structures, of_labels = [sample.structure for sample in train], LabelScale.of(card)
        labels = [of_labels.standardised(s.propensities, s.structure.types) for s in train]
        learn_size_trend(structures, labels, card.scalar_recipe, len(card.species))
    return card


def offset_scale(train: Sequence[Sample], config: TrainingConfig) -> float:
    """Unit of the offsets that a network sees: that of the model it starts from, else their typical size."""
    if config.init:
        known = load_card(model_files(config.init)[1]).config.get("offset_scale")
        if isinstance(known, float) and known > 0:
            return known
    return typical_offset(train)


def typical_offset(train: Sequence[Sample]) -> float:
    """Root mean square of a component of the offset from inherent to thermal positions, in σ."""
    squares = [np.mean(np.square(input_structure(sample, "both").thermal_offset)) for sample in train]  # type: ignore[arg-type]
    return float(np.sqrt(np.mean(squares))) or 1.0
