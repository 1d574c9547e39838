"""Some particles of a large structure and what lies within their reach; one structure of many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from propensity.errors import InputError
from propensity.estimators.base import Estimator
from propensity.neighbours.cell import enclosing_cell
from propensity.structure import Structure

#: Share of the particles beyond which leaving the others out saves nothing.
MOST = 0.9
#: Images of the chosen particles beyond which the whole structure is within reach anyway.
MANY_IMAGES = 5_000_000


@dataclass(frozen=True)
class Surroundings:
    """Particles that are asked for, and all that their predictions depend on.

    Attributes
    ----------
    rows
        Indices of the particles to evaluate, shape (M,).
    chosen
        Which of these are asked for, in their order, shape (K,).
    inner
        Which of these have all neighbours among them, as a mask of shape (M,).
    """

    rows: np.ndarray
    chosen: np.ndarray
    inner: np.ndarray


@contextmanager
def numbered(k: int) -> Iterator[None]:
    """Say which structure of many an error is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"structure {k}: {error}") from None


def chosen_atoms(atoms: Any, n: int) -> np.ndarray:
    """Indices of particles from indices or a mask of shape (N,), shape (K,).

    Raises
    ------
    InputError
        For what is neither, an index that no particle has, one that occurs twice, or an empty choice.
    """
    array = np.asarray(atoms)
    if array.dtype == bool:
        if array.shape != (n,):
            raise InputError(f"atoms is a mask of shape {array.shape}: give one of shape ({n},), or indices.")
        array = np.flatnonzero(array)
    if array.ndim == 0:
        array = array[None]
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or not array.size):
        raise InputError(
            f"atoms has shape {array.shape} and dtype {array.dtype}: give integer indices of particles, or a"
            f" boolean mask of shape ({n},)."
        )
    if not len(array):
        raise InputError("atoms is empty: give at least one index.")
    wrong = array[(array < 0) | (array >= n)]
    if len(wrong):
        raise InputError(f"atoms holds the index {wrong[0]}: particles are numbered 0 to {n - 1}.")
    values, counts = np.unique(array, return_counts=True)
    if counts.max() > 1:
        raise InputError(f"atoms holds the index {values[counts.argmax()]} twice: give each once.")
    return array.astype(np.int64)


def surroundings(
    structure: Structure, atoms: np.ndarray, estimators: Sequence[Estimator], margin: float
) -> Surroundings | None:
    """What lies within reach of some particles; None where that is not known, or nearly all.

    Parameters
    ----------
    structure
        What the models see, in σ.
    atoms
        Indices of the chosen particles, shape (K,).
    estimators
        Whose reach counts.
    margin
        Range in σ within which an inner particle has all its neighbours.
    """
    reaches = [estimator.reach(structure) for estimator in estimators]
    known = [reach for reach in reaches if reach is not None]
    if len(known) < len(reaches):
        return None
    reach = max(known)
    distance = distance_from(structure, atoms, reach)
    if distance is None:
        return None
    rows = np.flatnonzero(distance <= reach)
    if len(rows) > MOST * len(structure):
        return None
    return Surroundings(rows, np.searchsorted(rows, atoms), distance[rows] <= reach - margin)


def distance_from(structure: Structure, atoms: np.ndarray, reach: float) -> np.ndarray | None:
    """Distance of each particle from the nearest image of a chosen one, inf beyond ``reach``, shape (N,).

    None where there are too many images to look at.
    """
    from scipy.spatial import cKDTree

    cell, positions = enclosing_cell(structure, 0.0 if structure.pbc.all() else 1.0)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    images = np.where(structure.pbc, np.ceil(reach / heights), 0).astype(int)
    if len(atoms) * float(np.prod(2 * images + 1)) > MANY_IMAGES:
        return None
    shifts = np.array(list(itertools.product(*(range(-k, k + 1) for k in images))))
    centres = positions[atoms][:, None] + (shifts @ cell)[None]
    tree = cKDTree(centres.reshape(-1, 3))
    found: np.ndarray = tree.query(positions, distance_upper_bound=reach * (1 + 1e-9) + 1e-9)[0]
    return found
