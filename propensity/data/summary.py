"""What a data set holds: sizes, state, and mean, spread and noise ceiling of the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from propensity.data.dataset import Dataset
from propensity.data.sample import Sample
from propensity.evaluation.metrics import mean_over_structures, moments, noise_ceiling, pearson_of_moments


@dataclass(frozen=True, eq=False)
class Summary:
    """Facts on a data set whose structures share their times.

    Arrays by species and time have shape (n_species, n_times); ceilings are NaN where no halves are known.
    """

    n_structures: int
    n_particles: tuple[int, int]
    species: tuple[str, ...]
    composition: np.ndarray
    edges: tuple[float, float]
    density: tuple[float, float] | None
    temperature: float | None
    potential: str | None
    n_runs: tuple[int, int] | None
    times: np.ndarray
    fs: np.ndarray
    tau_alpha: float | None
    mean: np.ndarray
    std: np.ndarray
    ceiling: np.ndarray
    ceiling_per_structure: np.ndarray
    with_inherent: int
    splits: dict[str, int]
    n_groups: int


def summarise(dataset: Dataset, each: Callable[[Sample], None] | None = None) -> Summary:
    """One pass over the samples, one at a time in memory; ``each`` sees every one of them (progress).

    The noise ceiling is √(2r/(1+r)), r the correlation of the propensities from both halves of the runs.
    """
    times, fs = dataset.times, dataset.fs
    sizes, edges, densities, runs, counts = [], [], [], [], Counter[str]()
    sums: list[np.ndarray] = []
    halves: list[np.ndarray] = []
    with_inherent, composition, taus, groups = 0, [], [], set()
    species: tuple[str, ...] = ()
    temperatures, potentials = set(), set()
    for sample in dataset:
        if each:
            each(sample)
        species = max(species, sample.species, key=len)
        structure = sample.structure
        sizes.append(len(structure))
        edges.append(np.linalg.norm(structure.cell, axis=1))
        densities.append(structure.density)
        composition.append(np.bincount(structure.types, minlength=len(species)))
        runs.append(sample.n_runs)
        taus.append(sample.tau_alpha)
        temperatures.add(sample.temperature)
        potentials.add(sample.potential)
        groups.add(sample.group if sample.group is not None else sample.name)
        counts[sample.split or ""] += 1
        with_inherent += sample.inherent_positions is not None
        rows, pairs = [], []
        for s in range(len(species)):
            mask = structure.types == s
            values = sample.propensity[mask]
            rows.append([np.full(len(times), mask.sum()), values.sum(0), np.square(values).sum(0)])
            if sample.halves is None:
                pairs.append(np.full((len(times), 6), np.nan))
            else:
                pairs.append(moments(*sample.halves[:, mask]))
        sums.append(np.array(rows))
        halves.append(np.array(pairs))
    total = np.sum(sums, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total[:, 1] / total[:, 0]
        std = np.sqrt(np.maximum(total[:, 2] / total[:, 0] - mean**2, 0))
    pairs_all = np.array(halves)
    known = ~np.isnan(pairs_all).any(axis=-1)
    pooled = np.where(known[..., None], pairs_all, 0).sum(axis=0)
    per_structure = mean_over_structures(pearson_of_moments(np.where(known[..., None], pairs_all, np.nan)))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled_r = np.where(known.any(axis=0), pearson_of_moments(pooled), np.nan)
    n_runs = [n for n in runs if n is not None]
    dense = [d for d in densities if d is not None]
    taus_known = [t for t in taus if t is not None]
    return Summary(
        n_structures=len(dataset),
        n_particles=(min(sizes), max(sizes)),
        species=species,
        composition=np.sum(composition, axis=0) / np.sum(sizes),
        edges=(float(np.min(edges)), float(np.max(edges))),
        density=(min(dense), max(dense)) if dense else None,
        temperature=temperatures.pop() if len(temperatures) == 1 else None,
        potential=potentials.pop() if len(potentials) == 1 else None,
        n_runs=(min(n_runs), max(n_runs)) if n_runs else None,
        times=times,
        fs=fs,
        tau_alpha=float(np.median(taus_known)) if taus_known else None,
        mean=mean,
        std=std,
        ceiling=noise_ceiling(pooled_r),
        ceiling_per_structure=noise_ceiling(per_structure),
        with_inherent=with_inherent,
        splits={name: count for name, count in counts.items() if name},
        n_groups=len(groups),
    )
