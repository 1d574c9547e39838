"""In what a structure differs from those that a model has seen: what users are warned about, in one place."""

from __future__ import annotations

import numpy as np

from propensity.estimators.card import Card
from propensity.estimators.neighbourhood import fitting_length_scale
from propensity.structure import Structure

#: Relative deviation of the density, and absolute one of a mole fraction, beyond which a user is warned.
DENSITY_TOLERANCE = 0.05
COMPOSITION_TOLERANCE = 0.05


def doubts(
    card: Card,
    structure: Structure,
    *,
    length_scale: float = 1.0,
    minimised: bool = True,
    potential: str | None = None,
) -> dict[str, str]:
    """Why a prediction may mislead, as topic → one sentence.

    Parameters
    ----------
    card
        Of the model.
    structure
        What the model will see, in σ.
    length_scale
        By which its lengths were divided.
    minimised
        Whether an inherent structure is known to be one, or will be found.
    potential
        Interaction of the structure where it is known.
    """
    found = {
        "positions": _positions(card, structure, minimised),
        "boundaries": _boundaries(card, structure),
        "density": _density(card, structure, length_scale),
        "composition": _composition(card, structure),
        "interaction": _interaction(card, potential),
    }
    return {topic: text for topic, text in found.items() if text}


def _positions(card: Card, structure: Structure, minimised: bool) -> str:
    if card.input_positions != "inherent" or minimised or structure.thermal_offset is not None:
        return ""
    return (
        "the model was trained on inherent structures: give energy minima, or have thermal positions"
        " minimised by quench (Kob–Andersen mixtures)."
    )


def _boundaries(card: Card, structure: Structure) -> str:
    if not structure.pbc.any():
        return (
            "the structure has no periodic box, so particles at its surface lack neighbours: predictions "
            "may mislead (does the file hold a cell?)."
        )
    if not structure.is_periodic:
        open_ones = [int(k) for k in structure.directions if not structure.pbc[k]]
        return (
            f"the structure is open along cell vector(s) {open_ones}, so particles at its surfaces lack"
            " neighbours: predictions may mislead there."
        )
    if structure.dimension == 3 and card.cutoff:
        heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
        if heights.min() < card.cutoff < heights.max() / 4:
            return (
                f"the periodic cell is {heights.min():.3g} σ thin along vector {int(heights.argmin())}, under"
                f" the range {card.cutoff:g} of the model, so that particles are their own neighbours: set"
                " pbc=False there for a film, or give planar positions for a liquid in two dimensions."
            )
    return ""


def _density(card: Card, structure: Structure, length_scale: float) -> str:
    density = structure.density
    if not card.density or not density or abs(density / card.density - 1) <= DENSITY_TOLERANCE:
        return ""
    unit = "σ⁻²" if card.dimension == 2 else "σ⁻³"
    fitting = length_scale * fitting_length_scale(density, card.density, card.dimension)
    return (
        f"number density is {density:.4g} {unit} and the model was trained at {card.density:.4g}: predictions"
        f" may mislead (is length_scale right? {fitting:.4g} would fit)."
    )


def _composition(card: Card, structure: Structure) -> str:
    if not card.composition:
        return ""
    here = structure.composition(len(card.species))
    if np.abs(here - card.composition).max() <= COMPOSITION_TOLERANCE:
        return ""
    return (
        f"composition is {np.round(here, 3).tolist()} of {list(card.species)} and the model was trained at"
        f" {np.round(card.composition, 3).tolist()}: predictions may mislead (is species_map right?)."
    )


def _interaction(card: Card, potential: str | None) -> str:
    if potential is None or card.potential is None or potential == card.potential:
        return ""
    return (
        f"the interaction is {potential!r} and the model was trained on {card.potential!r}: they are"
        " different liquids, so scores may mislead."
    )
