"""What a data set holds: sizes, state point, and mean, spread and noise ceiling of the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from propensity.data.entry import Header, aligned
from propensity.errors import DataError
from propensity.sample import Sample
from propensity.statistics import mean_over_structures, moments, noise_ceiling, pearson_of_moments


@dataclass(frozen=True, eq=False)
class DatasetSummary:
    """Facts on samples of one state point: one temperature, potential and choice of times.

    Arrays by species and time have shape (n_species, n_times), in σ; ceilings are NaN where no halves
    are known.  Pairs are the smallest and the largest value.
    """

    n_structures: int
    n_particles: tuple[int, int]
    species: tuple[str, ...]
    composition: np.ndarray
    dimension: int
    edges: tuple[float, float]
    density: tuple[float, float] | None
    temperature: float | None
    potential: str | None
    n_runs: tuple[int, int] | None
    times: np.ndarray
    fs: np.ndarray
    length_scale: float
    tau_alpha: float | None
    mean: np.ndarray
    std: np.ndarray
    ceiling: np.ndarray
    ceiling_per_structure: np.ndarray
    with_inherent: int
    splits: dict[str, int]
    n_groups: int


def summarise(
    samples: Iterable[Sample], each: Callable[[Sample], None] | None = None
) -> list[DatasetSummary]:
    """Summaries by state point, in order of appearance, from one pass with one sample in memory.

    Parameters
    ----------
    samples
        Any samples.
    each
        Called with every sample, to show progress.

    Returns
    -------
    list of DatasetSummary
        The noise ceiling is √(2r/(1+r)), r the correlation of the propensities from both halves of the runs.
    """
    points: list[_StatePoint] = []
    for sample in samples:
        if each:
            each(sample)
        header = Header.of(sample)
        for point in points:
            if point.fits(sample, header):
                break
        else:
            point = _StatePoint(sample.species, sample.structure.dimension, sample.length_scale)
            points.append(point)
        point.add(sample, header)
    if not points:
        raise DataError("there are no samples to summarise.")
    return [point.result() for point in points]


@dataclass(eq=False)
class _StatePoint:
    """Running sums over the samples of one state point."""

    species: tuple[str, ...]
    dimension: int
    length_scale: float
    headers: list[Header] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    edges: list[np.ndarray] = field(default_factory=list)
    densities: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)
    groups: set[str] = field(default_factory=set)
    splits: Counter[str] = field(default_factory=Counter)
    with_inherent: int = 0
    #: Number, sum and sum of squares of the labels, (3, n_species, n_times).
    sums: np.ndarray | float = 0.0
    #: Moments of the halves of each structure, (n_species, n_times, 6), NaN where unknown.
    halves: list[np.ndarray] = field(default_factory=list)

    def fits(self, sample: Sample, header: Header) -> bool:
        first = self.headers[0]
        return (
            sample.species == self.species
            and (first.temperature, first.potential) == (header.temperature, header.potential)
            and self.length_scale == sample.length_scale
            and self.dimension == sample.structure.dimension
            and aligned([first, header])
        )

    def add(self, sample: Sample, header: Header) -> None:
        structure = sample.structure
        self.headers.append(header)
        self.sizes.append(len(structure))
        self.edges.append(np.linalg.norm(structure.cell[structure.directions], axis=1))
        if structure.density is not None:
            self.densities.append(structure.density)
        if sample.n_runs is not None:
            self.runs.append(sample.n_runs)
        self.groups.add(sample.group if sample.group is not None else f"\0{sample.name}")
        if sample.split:
            self.splits[sample.split] += 1
        self.with_inherent += sample.inherent_positions is not None
        masks = [structure.types == s for s in range(len(self.species))]
        labels = [sample.propensities[mask] for mask in masks]
        counts = [np.full(sample.propensities.shape[1], mask.sum()) for mask in masks]
        self.sums = self.sums + np.array(
            [counts, [p.sum(0) for p in labels], [np.square(p).sum(0) for p in labels]]
        )
        if sample.halves is None:
            self.halves.append(np.full((len(masks), sample.propensities.shape[1], 6), np.nan))
        else:
            self.halves.append(np.array([moments(*sample.halves[:, mask]) for mask in masks]))

    def result(self) -> DatasetSummary:
        n, total, squares = np.asarray(self.sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / n
            std = np.sqrt(np.maximum(squares / n - mean**2, 0))
        halves = np.array(self.halves)
        known = ~np.isnan(halves).any(axis=-1, keepdims=True)
        pooled = pearson_of_moments(
            np.where(known, halves, 0).sum(axis=0) + np.where(known.any(axis=0), 0, np.nan)
        )
        within = mean_over_structures(pearson_of_moments(halves))
        taus = [header.tau_alpha for header in self.headers if header.tau_alpha is not None]
        first = self.headers[0]
        return DatasetSummary(
            n_structures=len(self.headers),
            n_particles=(min(self.sizes), max(self.sizes)),
            species=self.species,
            composition=n[:, 0] / sum(self.sizes),
            dimension=self.dimension,
            edges=(float(np.min(self.edges)), float(np.max(self.edges))),
            density=(min(self.densities), max(self.densities)) if self.densities else None,
            temperature=first.temperature,
            potential=first.potential,
            n_runs=(min(self.runs), max(self.runs)) if self.runs else None,
            times=np.median([header.times for header in self.headers], axis=0),
            fs=np.mean([header.fs for header in self.headers], axis=0),
            length_scale=self.length_scale,
            tau_alpha=float(np.median(taus)) if taus else None,
            mean=mean,
            std=std,
            ceiling=noise_ceiling(pooled, n),
            ceiling_per_structure=noise_ceiling(within, n),
            with_inherent=self.with_inherent,
            splits=dict(self.splits),
            n_groups=len(self.groups),
        )
