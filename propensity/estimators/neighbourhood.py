"""Whether particles of the training structures have neighbours: the first thing a wrong unit of length
breaks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from propensity.errors import DataError, PropensityWarning
from propensity.estimators.inputs import InputPositions, input_structure
from propensity.neighbours import neighbour_list
from propensity.sample import Sample
from propensity.structure import Structure

#: Mean numbers of neighbours outside of which a user is warned; 40 are usual (15 in two dimensions).
FEWEST, MOST = 6, 200
#: Number density of the Kob–Andersen mixture in σ⁻³, and of its two-dimensional form in σ⁻².
USUAL_DENSITY = 1.2


def mean_neighbours(
    train: Sequence[Sample], input_positions: InputPositions, cutoff: float, warn: bool = True
) -> float:
    """Mean number of neighbours of a particle within ``cutoff``, over all structures, after checking it.

    Raises, warns
    -------------
    As :func:`check_neighbours`.
    """
    numbers = []
    for sample in train:
        structure = input_structure(sample, input_positions)
        edge_index, _ = neighbour_list(structure, cutoff)
        numbers.append(edge_index.shape[1] / len(structure))
    return check_neighbours(train, numbers, cutoff, warn)


def check_neighbours(
    train: Sequence[Sample], numbers: Sequence[float], cutoff: float, warn: bool = True
) -> float:
    """Mean of the mean numbers of neighbours of each structure.

    Raises
    ------
    DataError
        For a structure in which no particle has a neighbour.

    Warns
    -----
    PropensityWarning
        When there are fewer than 6 or more than 200 on average.
    """
    for sample, number in zip(train, numbers, strict=True):
        if number == 0:
            raise DataError(
                f"no particle of {sample.name} has a neighbour within {cutoff:g} σ, so there is nothing to"
                f" learn from: {_advice(sample.structure)}."
            )
    mean = float(np.mean(numbers))
    if warn and not FEWEST <= mean <= MOST:
        warnings.warn(
            f"a particle has {mean:.3g} neighbours within {cutoff:g} σ on average, where {FEWEST} to {MOST}"
            f" are usual: {_advice(train[0].structure)}.",
            PropensityWarning,
            stacklevel=3,
        )
    return mean


def fitting_length_scale(density: float, usual: float = USUAL_DENSITY, dimension: int = 3) -> float:
    """Length of σ in the units of ``density`` that makes it ``usual``: (usual/ρ)^(1/d)."""
    return float((usual / density) ** (1 / dimension))


def _advice(structure: Structure) -> str:
    if structure.density is None:
        return "give the length of σ in the units of the data (--length-scale) or a larger --cutoff"
    scale = fitting_length_scale(structure.density, dimension=structure.dimension)
    return (
        f"their number density is {structure.density:.4g}; if lengths aren't in σ, give that of σ"
        f" (--length-scale {scale:.3g} makes the density {USUAL_DENSITY:g}, that of Kob–Andersen), else"
        " change --cutoff"
    )
