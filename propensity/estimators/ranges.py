"""What the neighbourhoods of training particles were like, and how far another structure is from them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from propensity.errors import DataError
from propensity.neighbours import nearest_neighbours, nearest_of_edges
from propensity.neighbours.backends import counts_alone
from propensity.neighbours.many import neighbour_lists
from propensity.nn import replay
from propensity.structure import Structure

#: Range of the first shell in units of the mean distance ρ^(−1/d), within which neighbours are counted.
SHELL = 1.6
#: Quantiles kept of the training particles.
QUANTILES = (0.0, 0.001, 0.999, 1.0)
#: Particles above which no device has room for all edges.
LARGEST = 400_000
#: Training structures that are measured at most, evenly spaced.
MEASURED = 32

#: Particles that are outside together, as neighbours are.
CLUSTERED = 3

Row = tuple[float, float, float, float]


class TrainingRange(BaseModel):
    """Nearest distance and first-shell neighbours of the training particles, a row for each species.

    Rows hold the smallest value, the quantiles 0.001 and 0.999, and the largest; NaN-free, in σ_AA.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    radius: float = Field(gt=0, description="Neighbours are counted within it, in σ_AA.")
    nearest: tuple[Row, ...] = Field(description="Distance to the nearest neighbour.")
    neighbours: tuple[Row, ...] = Field(description="Number of neighbours within the radius.")
    particles: int = Field(0, ge=0, description="Number of particles measured; 0: not known, many.")
    source: str = Field("", description="Where they were measured, if not on the training structures.")

    @model_validator(mode="after")
    def _sorted(self) -> TrainingRange:
        for row in (*self.nearest, *self.neighbours):
            if list(row) != sorted(row) or not np.isfinite(row).all():
                raise ValueError(f"row {row} of a range is not four numbers in order")
        return self


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Of each particle: distance of the nearest neighbour (inf without one) and number within a radius."""

    nearest: np.ndarray
    neighbours: np.ndarray


def measure(structure: Structure, radius: float, device: torch.device | str = "cpu") -> Neighbourhood:
    """Neighbourhood of each particle within ``radius``; arrays of shape (N,)."""
    known = replay.measured_around(structure, radius)
    if known is not None:
        return Neighbourhood(np.sqrt(known.squared), known.count)
    if len(structure) > LARGEST and not counts_alone(structure, radius, device):
        device = "cpu"  # where no edges are listed
    with suppress(torch.OutOfMemoryError):
        return Neighbourhood(*nearest_neighbours(structure, radius, device))
    return Neighbourhood(*nearest_neighbours(structure, radius, "cpu"))


def evenly_spaced(n: int) -> list[int]:
    """Indices of the structures to measure, of ``n``."""
    return [int(k) for k in np.unique(np.linspace(0, n - 1, MEASURED).astype(int))]


def training_range(structures: Sequence[Structure], n_species: int) -> TrainingRange | None:
    """Ranges over training structures; None where their density isn't known.

    A species that does not occur has the range of all.
    """
    densities = [s.density for s in structures if s.density]
    if not densities:
        return None
    radius = round(SHELL * float(np.mean(densities)) ** (-1 / structures[0].dimension), 3)
    found = [measure(s, radius) for s in structures]
    nearest = np.concatenate([f.nearest for f in found])
    neighbours = np.concatenate([f.neighbours for f in found])
    types = np.concatenate([s.types for s in structures])
    nearest = np.minimum(nearest, radius)

    def rows(values: np.ndarray) -> tuple[Row, ...]:
        parts = [values[types == s] for s in range(n_species)]
        return tuple(_row(part if len(part) else values) for part in parts)

    return TrainingRange(
        radius=radius, nearest=rows(nearest), neighbours=rows(neighbours), particles=len(types)
    )


def _row(values: np.ndarray) -> Row:
    a, b, c, d = np.round(np.quantile(values, QUANTILES), 4).tolist()
    return a, b, c, d


@dataclass(frozen=True)
class Distance:
    """How far a structure is from the training set.

    Attributes
    ----------
    nearest
        Smallest distance of two particles, in σ.
    closest_known
        The smallest in the training set.
    outside
        Fraction of particles whose nearest distance or number of neighbours no training particle had.
    sparse, dense
        Fraction of particles with fewer, or more, neighbours than any training particle.
    by_chance
        Fraction that may be outside though the structure is like those of the training, which were few.
    """

    nearest: float
    closest_known: float
    outside: float
    sparse: float
    dense: float
    by_chance: float = 0.0


def distance(
    known: TrainingRange,
    structure: Structure,
    device: torch.device | str = "cpu",
    rows: np.ndarray | slice = slice(None),
) -> Distance:
    """Distance of a structure, or of some of its particles, from the training set."""
    found = measure(structure, known.radius, device)
    part = Neighbourhood(found.nearest[rows], found.neighbours[rows])
    return _distances(known, structure.types[rows], part, [len(part.nearest)])[0]


def distances(
    known: TrainingRange, structures: Sequence[Structure], device: torch.device | str = "cpu"
) -> list[Distance]:
    """Distance of each of many structures from the training set."""
    sizes = [len(structure) for structure in structures]
    edge_index, vectors, _ = neighbour_lists(structures, known.radius, device=device)
    found = Neighbourhood(*nearest_of_edges(edge_index, vectors, sum(sizes)))
    return _distances(known, np.concatenate([s.types for s in structures]), found, sizes)


def _distances(
    known: TrainingRange, types: np.ndarray, found: Neighbourhood, sizes: Sequence[int]
) -> list[Distance]:
    """Of structures of these sizes, particle after particle."""
    from propensity.estimators.passes import Limits, strays  # numba: only where it is needed

    near, count = np.array(known.nearest), np.array(known.neighbours)
    # Twice as far from the quantile as the extreme is: extremes depend on how many were measured.
    low, high = 2 * near[:, 0] - near[:, 1], 2 * near[:, 3] - near[:, 2]
    limits = Limits(near[:, 0].copy(), low, high, count[:, 0].copy(), count[:, 3].copy())
    # Of n particles the next one exceeds either extreme with probability 1/(n + 1), at two extremes of
    # two quantities for each species; neighbours share their fate.
    by_chance = CLUSTERED * 4 * len(known.nearest) / known.particles if known.particles else 0.0
    if types.max() >= min(len(near), len(count)):
        raise DataError(f"the card has ranges of {len(near)} species, and the structure type {types.max()}.")
    shortest, many = found.nearest.astype(np.float64, copy=False), found.neighbours
    rows, first = [], 0
    for size in sizes:
        here = slice(first, first := first + size)
        *numbers, nearest, closest = strays(shortest[here], many[here], types[here], limits, known.radius)
        outside, sparse, dense = (number / size for number in numbers)
        rows.append(Distance(nearest, closest, outside, sparse, dense, by_chance))
    return rows
