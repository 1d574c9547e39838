"""Sizes as descriptors of a polydisperse liquid."""

from __future__ import annotations

import numpy as np

from propensity.errors import InputError
from propensity.neighbours import neighbour_list
from propensity.structure import Structure

#: Range of the average over neighbours, in σ: the first shell.
REACH = 1.5

NAMES = ("diameter", f"diameter around (r<{REACH:g})")


def size_descriptors(structure: Structure) -> np.ndarray:
    """Diameter of each particle, and the mean of those within 1.5 σ (its own where there are none), shape
    (N, 2).

    Raises
    ------
    InputError
        When the structure has no diameters.
    """
    own = structure.diameters
    if own is None:
        raise InputError(
            "the model sees the diameter of each particle and the structure has none: give"
            " Structure(diameters=...), or a column diameter or radius in the file."
        )
    edge_index, _ = neighbour_list(structure, REACH)
    source, destination = edge_index.cpu().numpy()
    count = np.bincount(destination, minlength=len(own))
    total = np.bincount(destination, weights=own[source], minlength=len(own))
    return np.column_stack([own, np.where(count > 0, total / np.maximum(count, 1), own)])
