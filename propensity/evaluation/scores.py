"""Score an estimator on labelled structures, one structure in memory at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import DataError, InputError, PropensityWarning
from propensity.estimators.conditioned import at_state_point_of
from propensity.estimators.inputs import check_dimension, seen_structure
from propensity.estimators.likeness import check_finite, doubts, measured
from propensity.numeric import whole
from propensity.sample import checked_sample
from propensity.statistics import (
    bootstrap,
    mean_over_structures,
    moments,
    noise_ceiling,
    pearson_of_moments,
)

if TYPE_CHECKING:
    from propensity.estimators.base import Estimator
    from propensity.estimators.card import Card
    from propensity.estimators.mean import MeanEstimator
    from propensity.sample import Sample
    from propensity.structure import Structure

#: Independent structures (groups) that an interval needs.
FEWEST_GROUPS = 3
#: Particles kept for the scatter figure.
SCATTER = 20_000


@dataclass(frozen=True)
class Evaluation:
    """Scores by species (S) and time (T); intervals are 95 % and have shape (2, S, T); NaN where unknown.

    ``pooled`` correlates all particles of all structures at once, ``per_structure`` is the mean of
    the correlations within each structure; the second is lower where structures differ in their mean.

    Parameters
    ----------
    species, times
        Names of the rows, and times of the model (T,) in LJ units.
    data_times
        Times of the labels that each was compared with, shape (T,).
    names
        Of the structures.
    pooled, pooled_interval
        Pearson's ρ over all particles, shape (S, T).
    per_structure, per_structure_interval
        Mean over structures of ρ within each, shape (S, T).
    ceiling, ceiling_per_structure
        Largest ρ that the noise of the labels lets a perfect model reach, shape (S, T).
    slope
        Of true on predicted propensities over all particles, shape (S, T).
    mean_ratio
        Mean true over mean predicted propensity, shape (S, T); this and the slope are 1 for right magnitudes.
    n_particles
        Behind each row, shape (S,).
    each
        ρ within each structure, shape (n_structures, S, T).
    scatter
        Some pairs (prediction, label) for a picture.
    """

    species: tuple[str, ...]
    times: np.ndarray
    data_times: np.ndarray
    names: tuple[str, ...]
    pooled: np.ndarray
    pooled_interval: np.ndarray
    per_structure: np.ndarray
    per_structure_interval: np.ndarray
    ceiling: np.ndarray
    ceiling_per_structure: np.ndarray
    slope: np.ndarray
    mean_ratio: np.ndarray
    n_particles: np.ndarray
    each: np.ndarray = field(repr=False)
    scatter: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(repr=False, default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON and for a card; unknown values are None.

        Returns
        -------
        dict
            Lists of numbers by species and time.
        """
        return {
            "n_structures": len(self.names),
            "structures": list(self.names),
            "times": self.data_times.tolist(),
            "model_times": self.times.tolist(),
            "confidence_level": 0.95,
            "species": {
                name: {
                    "n_particles": int(self.n_particles[s]),
                    "pearson_pooled": _plain(self.pooled[s]),
                    "pearson_pooled_interval": _plain(self.pooled_interval[:, s].T),
                    "pearson_per_structure": _plain(self.per_structure[s]),
                    "pearson_per_structure_interval": _plain(self.per_structure_interval[:, s].T),
                    "noise_ceiling_pooled": _plain(self.ceiling[s]),
                    "noise_ceiling_per_structure": _plain(self.ceiling_per_structure[s]),
                    "slope": _plain(self.slope[s]),
                    "mean_ratio": _plain(self.mean_ratio[s]),
                }
                for s, name in enumerate(self.species)
            },
        }


def evaluate(
    estimator: Estimator | MeanEstimator,
    samples: Sequence[Sample],
    *,
    species: Sequence[str] | None = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    length_scale: float | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> Evaluation:
    """Predict every structure and correlate with its labels.

    Parameters
    ----------
    estimator
        Any model; its card says what it sees: thermal or inherent positions, or cage states too, which are
        made where samples of a Kob–Andersen mixture have none.
    samples
        Labelled structures.
    species
        Species to score; None: those that the model was trained on.
    pairs
        (index of the model's time, index of the data's time) to compare; None: equal times, see
        :func:`match_times`.
    length_scale
        Length of σ in the units of the data; None: as in the model's training data.  Lengths that were
        divided already, as the samples say, stay.
    n_resamples
        Bootstrap samples of the confidence intervals.
    seed
        Seed of the bootstrap.
    progress
        Wraps the samples, e.g. in a progress bar.

    Returns
    -------
    Evaluation
        Correlations with 95 % intervals, beside the noise ceiling.

    Raises
    ------
    DataError
        When there are no structures, no common times, needed inherent positions are missing, or temperatures
        differ for a model of several.
    InputError
        For species, times or a dimension that the model doesn't know, and for structures on which its
        predictions mean nothing, see :meth:`propensity.estimators.base.Estimator.predict`.

    Warns
    -----
    PropensityWarning
        Once for each way in which structures differ from those of the training: neighbourhoods, density,
        composition, interaction, boundaries.
    """
    if not hasattr(estimator, "card"):
        raise InputError(f"estimator is {estimator!r}: give a model, as of propensity.load_model.")
    if not isinstance(samples, Sequence):
        raise InputError(f"samples is a {type(samples).__name__}: give a list of Samples, or a Dataset.")
    n_resamples, seed = whole(n_resamples, "n_resamples", 1), whole(seed, "seed")
    if len(samples) == 0:
        raise DataError("there are no structures to score: give at least one.")
    first, several = checked_sample(samples[0]), estimator.card.conditions is not None
    estimator = at_state_point_of(estimator, first)
    card = estimator.card
    chosen = tuple(
        ([species] if isinstance(species, str) else species) or card.trained_species or card.species
    )
    if len(set(chosen)) < len(chosen):
        raise InputError(f"species are {list(chosen)}: give each once.")
    for name in chosen:
        if name not in card.species:
            raise InputError(f"species {name!r} is unknown to the model: choose from {list(card.species)}.")
        if card.trained_species and name not in card.trained_species:
            raise InputError(
                f"the model was not trained on {name!r}: choose from {list(card.trained_species)}."
            )
    data_times = np.asarray(getattr(samples, "times", first.times), dtype=float)
    if pairs is None:
        pairs = match_times(np.array(card.times), data_times)
    _check_pairs(pairs, len(card.times), len(data_times))
    model_index, data_index = (np.array(column, dtype=int) for column in zip(*pairs, strict=True))
    rng = np.random.default_rng(seed)
    sums, half_sums, names, groups = [], [], [], []
    scatter: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    share = max(1, SCATTER // len(samples))
    scale = card.length_scale if length_scale is None else length_scale
    warned: set[str] = set()
    for given in progress(samples):
        _check_alike(checked_sample(given), data_times, card.species)
        if several and given.temperature != first.temperature:
            raise DataError(
                f"{given.name} is at temperature {given.temperature} and {first.name} at"
                f" {first.temperature}: score one temperature at a time, as evaluate_state_points does."
            )
        sample = given if given.length_scale != 1 else given.in_units_of(scale)
        structure = seen_structure(sample, card)
        _check_like_training(card, sample, structure, warned)
        predicted = estimator.unchecked(structure)
        check_finite(card, structure.types, predicted)
        predicted = predicted[:, model_index]
        true = np.asarray(sample.propensities, dtype=np.float64)[:, data_index]
        shape = (len(chosen), len(pairs), 6)
        ours, half = np.zeros(shape), np.full(shape, np.nan)
        for s, name in enumerate(chosen):
            mask = sample.structure.types == card.species.index(name)
            ours[s] = moments(predicted[mask], true[mask])
            if sample.halves is not None:
                half[s] = moments(*np.asarray(sample.halves, dtype=np.float64)[:, mask][:, :, data_index])
            some = rng.permutation(np.flatnonzero(mask))[:share]
            for t in range(len(pairs)):
                scatter.setdefault((s, t), []).append((predicted[some, t], true[some, t]))
        sums.append(ours)
        half_sums.append(half)
        names.append(sample.name)
        groups.append(sample.group or sample.name)
    return _summary(
        chosen,
        np.array(card.times)[model_index],
        data_times[data_index],
        names,
        groups,
        np.array(sums),
        np.array(half_sums),
        n_resamples,
        seed,
        {key: tuple(np.concatenate(a) for a in zip(*parts, strict=True)) for key, parts in scatter.items()},
    )


def _check_like_training(card: Card, sample: Sample, structure: Structure, warned: set[str]) -> None:
    try:
        check_dimension(card, structure)
        near = measured(card, structure)
    except InputError as error:
        raise InputError(f"{sample.name}: {error}") from None
    found = doubts(card, structure, length_scale=sample.length_scale, potential=sample.potential, found=near)
    for topic, message in found.items():
        if topic not in warned:
            warned.add(topic)
            warnings.warn(f"{sample.name}: {message}", PropensityWarning, stacklevel=3)


def match_times(model: np.ndarray, data: np.ndarray, tolerance: float = 0.02) -> list[tuple[int, int]]:
    """Pairs (model index, data index) of times that agree within a relative ``tolerance``.

    Raises
    ------
    DataError
        When no time agrees.
    """
    pairs = []
    for m, time in enumerate(model):
        d = int(np.argmin(np.abs(np.log(data) - np.log(time))))
        if abs(data[d] / time - 1) <= tolerance:
            pairs.append((m, d))
    if not pairs:
        raise DataError(
            f"the model predicts times {model.tolist()} and the data has {data.tolist()}: "
            "none agree, so choose data with the model's times or pair them by index."
        )
    return pairs


def _check_pairs(pairs: Sequence[tuple[int, int]], n_model: int, n_data: int) -> None:
    if not pairs:
        raise InputError("no pair of times is given: give at least one, e.g. 0:0.")
    shape, kind = np.shape(pairs), np.asarray(pairs).dtype.kind
    if shape != (len(pairs), 2) or kind not in "iu":
        raise InputError(f"pairs are {list(pairs)}: give pairs of indices, such as [(0, 0), (1, 2)].")
    for m, d in pairs:
        if not (0 <= m < n_model and 0 <= d < n_data):
            raise InputError(
                f"the pair {m}:{d} of times is out of range: the model has times 0..{n_model - 1} and the"
                f" data 0..{n_data - 1}, counted from 0."
            )


def _check_alike(sample: Sample, times: np.ndarray, species: tuple[str, ...]) -> None:
    if len(sample.times) != len(times) or not np.allclose(sample.times, times, rtol=1e-6):
        raise DataError(
            f"{sample.name} has times {np.asarray(sample.times).tolist()} and the first structure "
            f"{times.tolist()}: score structures with the same times together."
        )
    if sample.species != species:
        raise DataError(
            f"{sample.name} has species {list(sample.species)} and the model {list(species)}: "
            "they must be the same, in the same order."
        )


def _summary(  # type: ignore[no-untyped-def]
    species, times, data_times, names, groups, sums, half_sums, n_resamples, seed, scatter
) -> Evaluation:
    # NaN stays NaN in a sum: a ceiling is given only where every structure has halves.
    half_each = pearson_of_moments(half_sums)
    half_each = np.where(np.isnan(half_sums[..., 0]), np.nan, half_each)
    each = pearson_of_moments(sums)
    number = sums[..., 0].sum(axis=0)
    pooled_interval, single_interval = bootstrap(
        sums, groups=np.array(groups), n_resamples=n_resamples, seed=seed
    )
    if len(set(groups)) < FEWEST_GROUPS:  # resampling so few says nothing of the others
        pooled_interval, single_interval = (
            np.full_like(x, np.nan) for x in (pooled_interval, single_interval)
        )
    total = sums.sum(axis=0)
    return Evaluation(
        species=species,
        times=times,
        data_times=data_times,
        names=tuple(names),
        pooled=pearson_of_moments(total),
        pooled_interval=pooled_interval,
        per_structure=mean_over_structures(each),
        per_structure_interval=single_interval,
        ceiling=noise_ceiling(pearson_of_moments(half_sums.sum(axis=0)), number),
        ceiling_per_structure=noise_ceiling(mean_over_structures(half_each), number),
        slope=_slope(total),
        mean_ratio=np.divide(
            total[..., 2], total[..., 1], out=np.full(total.shape[:-1], np.nan), where=total[..., 1] != 0
        ),
        n_particles=sums[:, :, 0, 0].sum(axis=0),
        each=each,
        scatter=scatter,
    )


def _slope(total: np.ndarray) -> np.ndarray:
    """Slope of the regression of y on x from moments (..., 6); NaN where x is constant."""
    n, sx, sy, sxx, _, sxy = np.moveaxis(total, -1, 0)
    variance = sxx - sx * sx / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 1e-12 * sxx, (sxy - sx * sy / n) / variance, np.nan)


def _plain(values: np.ndarray) -> list[Any]:
    rounded = np.round(np.asarray(values, dtype=float), 5)
    return [_plain(row) if row.ndim else (None if np.isnan(row) else float(row)) for row in rounded]
