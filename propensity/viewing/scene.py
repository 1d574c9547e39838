"""Scene: frames of particles with values, whatever file they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import DataError, InputError, suggest
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.estimators.card import Card

#: Name of a field → what people read.
FIELDS = {
    "predicted": "predicted propensity",
    "simulated": "simulated propensity",
    "uncertainty": "standard error of the prediction",
}


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """Particles of one frame or structure.

    Parameters
    ----------
    name
        What the file calls it.
    structure
        In the units of the file.
    ids
        Of the particles, shape (N,); their order in the file where it has none.
    fields
        Name → values, shape (N, T), NaN where unknown.
    diameters
        To draw them with, shape (N,).
    time
        Of the frame where the file says so, else its step.
    halves
        Simulated propensities from each half of the runs, shape (2, N, T), for the noise ceiling.
    """

    name: str
    structure: Structure
    ids: np.ndarray
    fields: dict[str, np.ndarray]
    diameters: np.ndarray
    time: float | None = None
    halves: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """What a picture or a page shows.

    Parameters
    ----------
    source
        Where it came from, for titles.
    species
        Names in the order of the types.
    times
        Times of the values in LJ units, shape (T,); NaN where the file does not say.
    default_time_index
        Column shown first.
    frames
        At least one; all with the same fields.
    unit
        Of length: σ, or Å where a length scale was given.
    card
        Of the model that predicted, where it is known.
    scores
        Held-out scores, as a card holds them; empty where unknown.
    part
        What the frames are of a run, e.g. ``"test"``.
    """

    source: str
    species: tuple[str, ...]
    times: np.ndarray
    default_time_index: int
    frames: list[SceneFrame]
    unit: str = "σ"
    card: Card | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    part: str = ""

    def __post_init__(self) -> None:
        if not self.frames:
            raise DataError(f"{self.source} has no frame to show.")
        if any(set(frame.fields) != set(self.frames[0].fields) for frame in self.frames):
            raise DataError(f"frames of {self.source} have different columns: annotate all of them alike.")

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, the predicted one first."""
        known = [name for name in FIELDS if name in self.frames[0].fields]
        return (*known, *(name for name in self.frames[0].fields if name not in FIELDS))

    @property
    def dimension(self) -> int:
        """2 where all particles of all frames lie in a plane, else 3."""
        return 2 if all(frame.structure.dimension == 2 for frame in self.frames) else 3

    def title(self, name: str) -> str:
        """What people read for a field."""
        return FIELDS.get(name, name)

    def unit_of(self, name: str) -> str:
        """Unit of a field; nothing is known of a file's own columns."""
        return self.unit if name in FIELDS else ""

    def field(self, name: str | None) -> str:
        """A field by name; None: the first."""
        if name is None:
            return self.fields[0]
        if name not in self.fields:
            raise InputError(
                f"{self.source} has no values {name!r}: choose from {list(self.fields)}"
                f"{suggest(name, self.fields)}."
            )
        return name

    def column(self, time: float | None) -> int:
        """Index of a time (to 2 %); None: the default."""
        if time is None:
            return self.default_time_index
        with np.errstate(invalid="ignore", divide="ignore"):
            away = np.abs(self.times / time - 1)
        if not np.isfinite(away).any() or np.nanmin(away) > 0.02:
            raise InputError(
                f"time {time:g} is not among those of {self.source}: choose from {self.times.tolist()}."
            )
        return int(np.nanargmin(away))

    def with_scores(self, scores: dict[str, Any]) -> Scene:
        """The same scene beside other scores."""
        return replace(self, scores=scores)


def evenly(n: int, limit: int) -> list[int]:
    """At most ``limit`` of n indices, spread over all, the first and the last among them."""
    if n <= limit:
        return list(range(n))
    return sorted({round(k) for k in np.linspace(0, n - 1, limit)})


def species_of_labels(labels: Sequence[Any]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the species from the labels of particles, and the types 0..n−1.

    Numbers are called ``type 1``, ``type 2``.
    """
    unique, types = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    numeric = all(name.lstrip("-").isdigit() for name in unique)
    order = np.argsort([int(name) for name in unique]) if numeric else np.arange(len(unique))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    names = tuple(f"type {unique[k]}" if numeric else str(unique[k]) for k in order)
    return names, rank[types]
