"""What estimators share when they are fitted: checks of the samples, label statistics, descriptors and the
card.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np

from propensity.errors import DataError, InputError, suggest
from propensity.estimators.card import Card
from propensity.estimators.conditions import Conditions
from propensity.estimators.inputs import InputPositions, OnePositions, input_structure
from propensity.estimators.neighbourhood import mean_neighbours
from propensity.estimators.ranges import TrainingRange, evenly_spaced, training_range
from propensity.sample import Sample, checked_sample
from propensity.structure import Structure

#: Range within which neighbours are counted at most, in σ: that of the networks.
NEAR = 2.0
#: Share of A above which A alone is trained, as in the literature on Kob–Andersen mixtures.
MAJORITY = 0.55


def check_one_liquid(train: Sequence[Sample]) -> Sample:
    """First sample, after checking that all samples agree on species, dimension and unit of length.

    Raises
    ------
    DataError
        When there is no sample, or they differ.
    """
    if len(train) == 0:
        raise DataError("there are no training structures: give at least one.")
    first = checked_sample(train[0])
    for sample in map(checked_sample, train):
        if sample.length_scale != first.length_scale:
            raise DataError(
                f"{sample.name} has lengths divided by {sample.length_scale:g} and {first.name} by"
                f" {first.length_scale:g}: bring them to one unit by --length-scale or propensity convert."
            )
        if sample.structure.dimension != first.structure.dimension:
            raise DataError(
                f"{sample.name} has {sample.structure.dimension} dimensions and {first.name} has"
                f" {first.structure.dimension}: train on one liquid at a time."
            )
        if sample.species != first.species:
            raise DataError(
                f"{sample.name} has species {sample.species} and {first.name} has {first.species}: "
                "train on one mixture at a time."
            )
    return first


def check_samples(train: Sequence[Sample]) -> tuple[Sample, np.ndarray]:
    """First sample and its times, after checking that all samples agree on times and species.

    Raises
    ------
    DataError
        When there is no sample, or times, species or dimensions differ.
    """
    first = check_one_liquid(train)
    for sample in train:
        if len(sample.times) != len(first.times) or not np.allclose(sample.times, first.times, rtol=1e-6):
            raise DataError(
                f"{sample.name} has times {sample.times} and {first.name} has {first.times}: "
                "select common times first."
            )
    return first, np.asarray(first.times, dtype=float)


def chosen_species(train: Sequence[Sample], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Species in the loss: those asked for, else A where most particles are A, else all.

    Raises
    ------
    InputError
        For a species that the data don't know.
    DataError
        For one of which no structure has a particle.
    """
    species = check_one_liquid(train).species
    share = np.mean([sample.structure.composition(len(species)) for sample in train], axis=0)
    if not asked:
        # Half and half has no majority, and small fluctuations of a composition make none.
        if "A" in species and share[species.index("A")] > MAJORITY:
            return ("A",)
        return tuple(name for name, part in zip(species, share, strict=True) if part > 0)
    for name in asked:
        if name not in species:
            raise InputError(
                f"trained_species (--species) names {name!r}, but the data has species"
                f" {list(species)}{suggest(name, species)}: choose from these."
            )
        if share[species.index(name)] == 0:
            raise DataError(
                f"no training structure has a particle of species {name!r}: leave it out of trained_species"
                " (--species)."
            )
    return tuple(asked)


def shows_diameters(train: Sequence[Sample]) -> bool:
    """Whether the structures have a diameter for each particle.

    Raises
    ------
    DataError
        When only some of them have.
    """
    known = [sample.structure.diameters is not None for sample in train]
    if any(known) and not all(known):
        without = train[known.index(False)].name
        raise DataError(
            f"{without} has no diameters and other structures have: train on one liquid at a time."
        )
    return all(known)


def common_potential(train: Sequence[Sample], given: str | None = None) -> str:
    """Name of the interaction: ``given``, or what all samples say.

    Raises
    ------
    DataError
        When it isn't given and the samples don't say or don't agree.
    """
    names = {given} if given else {sample.potential for sample in train}
    name = names.pop()
    if names or name is None:
        raise DataError(
            "the structures don't say one common interaction: give potential='lj/cut', 'lj/cut force-shifted'"
            " or 'lammps:my.in'."
        )
    return name


def by_temperature(train: Sequence[Sample]) -> dict[float, list[Sample]]:
    """Samples of each temperature, coldest first.

    Raises
    ------
    DataError
        For a sample that has none.
    """
    groups: dict[float, list[Sample]] = {}
    for sample in train:
        if sample.temperature is None:
            raise DataError(
                f"{sample.name} has no temperature, which --condition temperature needs: add it to the file,"
                " or leave this structure out."
            )
        groups.setdefault(round(sample.temperature, 6), []).append(sample)
    return dict(sorted(groups.items()))


def check_labels_vary(train: Sequence[Sample], trained: Sequence[str] = ()) -> None:
    """Refuse labels from which nothing can be learned: the same of every particle of a species.

    Parameters
    ----------
    train
        At one temperature.
    trained
        Names of the species that are learned; none: all.

    Raises
    ------
    DataError
        With the first such time.
    """
    first = check_one_liquid(train)
    for s, name in enumerate(first.species):
        if trained and name not in trained:
            continue
        labels = [sample.propensities[sample.structure.types == s] for sample in train]
        if sum(map(len, labels)) < 2:
            continue
        lowest, highest = (f(np.concatenate(labels), axis=0) for f in (np.min, np.max))
        if (lowest == highest).any():
            k = int(np.argmax(lowest == highest))
            raise DataError(
                f"all labels of species {name!r} at time {first.times[k]:g} are {lowest[k]:g} in the"
                f" {len(train)} training structure(s), from which nothing can be learned: leave that time out"
                " (--times), or make the labels again."
            )


def label_statistics(train: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the labels, each of shape (n_species, n_times); 0 and 1 where absent."""
    n_species = len(train[0].species)
    mean = np.zeros((n_species, train[0].propensities.shape[1]))
    std = np.ones_like(mean)
    for s in range(n_species):
        labels = np.concatenate([x.propensities[x.structure.types == s] for x in train]).astype(np.float64)
        if len(labels):
            mean[s] = labels.mean(axis=0)
            spread = labels.std(axis=0)
            std[s] = np.where(spread > 0, spread, 1.0)
    return mean, std


def training_card(
    kind: str,
    train: Sequence[Sample],
    *,
    config: dict[str, Any],
    options: dict[str, Any],
    input_positions: InputPositions = "thermal",
    cutoff: float | None = None,
    trained_species: Sequence[str] = (),
    count_neighbours: bool = True,
    citation: str = "",
    conditions: Conditions | None = None,
) -> Card:
    """Card of an estimator fitted to ``train``: species, times, labels, density and where the data came
    from.

    Leave ``count_neighbours`` out where the caller has graphs to count in.  With ``conditions`` the samples
    may differ in temperature and times; label statistics then lie there.
    """
    for samples in [train] if conditions is None else by_temperature(train).values():
        check_labels_vary(samples, trained_species)
    if conditions is None:
        first, times = check_samples(train)
        mean, std = label_statistics(train)
        tau = first.tau_alpha
    else:
        first, times, tau = check_one_liquid(train), conditions.times_at(None), None
        mean = std = np.empty((0, 0))
    neighbours = None
    if count_neighbours and cutoff is not None:
        # Descriptors reach farther than a network sees; what they need is near.
        neighbours = mean_neighbours(train, input_positions, min(cutoff, NEAR))
    n_species = len(first.species)
    densities = [x.structure.density for x in train if x.structure.density is not None]
    potentials = {x.potential for x in train}
    temperatures = {x.temperature for x in train}
    return Card(
        kind=kind,
        name="",
        config=config,
        species=first.species,
        trained_species=tuple(trained_species),
        cutoff=cutoff,
        times=tuple(float(t) for t in times),
        default_time_index=time_nearest(times, tau),
        input_positions=input_positions,
        target_mean=mean.tolist(),
        target_std=std.tolist(),
        temperature=temperatures.pop() if len(temperatures) == 1 else None,
        length_scale=first.length_scale,
        potential=potentials.pop() if len(potentials) == 1 else None,
        dimension=first.structure.dimension,
        density=float(np.mean(densities)) if densities else None,
        mean_neighbours=neighbours,
        composition=tuple(
            float(x) for x in np.mean([x.structure.composition(n_species) for x in train], axis=0)
        ),
        training_range=_training_range(train, input_positions),
        training={
            "n_structures": len(train),
            "sources": sources_of(train),
            "options": options,
        },
        citation=citation,
        conditions=conditions,
    )


def _training_range(train: Sequence[Sample], input_positions: InputPositions) -> TrainingRange | None:
    seen = [input_structure(train[k], input_positions) for k in evenly_spaced(len(train))]
    return training_range(seen, len(train[0].species))


def sources_of(train: Sequence[Sample]) -> list[str]:
    """Where samples came from, those of one file counted together."""
    counts = Counter(re.sub(r"\[\d+\]", "", sample.source) for sample in train if sample.source)
    return sorted(f"{name}: {n} structures" if n > 1 else name for name, n in counts.items())


def time_nearest(times: np.ndarray, tau_alpha: float | None) -> int:
    """Index of the time nearest to τ_α on a logarithmic scale; the last time where τ_α is unknown."""
    if tau_alpha is None or len(times) == 1:
        return len(times) - 1
    return int(np.argmin(np.abs(np.log(times) - np.log(tau_alpha))))


def describe_samples(
    describe: Callable[[Structure], np.ndarray],
    train: Sequence[Sample],
    input_positions: OnePositions,
    chosen: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """Features of the chosen particles of each sample, two structures at a time: compiled sums run side by
    side.
    """

    def one(sample: Sample, rows: np.ndarray) -> np.ndarray:
        return cast("np.ndarray", describe(input_structure(sample, input_positions))[rows].astype(np.float32))

    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(one, train, chosen))


def some_particles(train: Sequence[Sample], max_particles: int, seed: int) -> list[np.ndarray]:
    """Indices of particles of each sample, so that no species has more than ``max_particles`` in all."""
    rng = np.random.default_rng(seed)
    n_species = len(train[0].species)
    total = np.sum([np.bincount(x.structure.types, minlength=n_species) for x in train], axis=0)
    chosen = []
    for sample in train:
        rows = []
        for s in range(n_species):
            own = np.flatnonzero(sample.structure.types == s)
            share = int(np.ceil(len(own) * min(1.0, max_particles / max(total[s], 1))))
            rows.append(np.sort(rng.permutation(own)[:share]))
        chosen.append(np.concatenate(rows))
    return chosen


def per_species(
    train: Sequence[Sample], features: Sequence[np.ndarray], chosen: Sequence[np.ndarray]
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (species, features, labels, group) of the chosen particles of each species that occurs.

    ``features[k]`` belongs to the particles ``chosen[k]``; ``group`` numbers the structures, or their
    common parents, for grouped cross-validation.
    """
    number = {name: k for k, name in enumerate(dict.fromkeys(x.group or x.name for x in train))}
    types = np.concatenate([x.structure.types[rows] for x, rows in zip(train, chosen, strict=True)])
    labels = np.concatenate([x.propensities[rows] for x, rows in zip(train, chosen, strict=True)])
    group = np.concatenate(
        [np.full(len(rows), number[x.group or x.name]) for x, rows in zip(train, chosen, strict=True)]
    )
    for s in np.unique(types):
        mask = types == s
        yield int(s), np.concatenate(features)[mask], labels[mask], group[mask]
