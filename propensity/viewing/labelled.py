"""Scenes of labelled structures: data sets, and the held-out part of a training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from propensity.data import Dataset, Split, open_dataset, select_by_state_point, select_times
from propensity.documents import read_json, read_yaml
from propensity.errors import DataError, InputError
from propensity.sample import Sample
from propensity.viewing.scene import Scene, SceneFrame, evenly
from propensity.viewing.sizes import drawn_diameters

Model = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None


def data_scene(
    path: Path,
    model: Model,
    *,
    length_scale: float | None,
    match: Sequence[tuple[int, int]] | None,
    unit: str | None,
    times: Sequence[float | str] | None,
    frames: int | Sequence[int],
    device: str | None,
) -> Scene:
    """Labelled structures beside what a model predicts for them, where one is given."""
    if length_scale not in (None, 1.0):
        raise InputError("labelled structures are in units of σ already: leave the length scale out.")
    dataset = open_dataset(path)
    return _scene(dataset, model, str(path), unit, times, frames, device, match=match)


def run_scene(
    folder: Path,
    model: Model,
    *,
    unit: str | None,
    times: Sequence[float | str] | None,
    frames: int | Sequence[int],
    device: str | None,
) -> Scene:
    """Held-out structures of a training with its model and scores."""
    if model is not None:
        raise InputError(
            f"{folder} is a training with a model of its own: leave the model out, or give its data."
        )
    try:
        options: dict[str, Any] = read_yaml(folder / "config.yaml")
        split = Split.from_dict(read_json(folder / "splits.json", "split file"))
        paths = [p for part in ("data", "valid", "test") for p in options.get(part) or ()]
        chosen = list(options.get("times") or ["all"])
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(
            f"{folder} is no complete training ({reason}): give its data and its model."
        ) from None
    if not (folder / "model.json").exists():
        raise DataError(f"{folder} holds no model yet: wait for the training, or go on with it by --resume.")
    select = select_by_state_point if options.get("condition") else select_times
    parts = split.apply(select(open_dataset(paths), chosen))
    part = next((name for name in ("test", "valid", "train") if parts[name] is not None), "train")
    dataset = parts[part]
    assert dataset is not None
    scene = _scene(dataset, folder, str(folder), unit, times, frames, device, part)
    scores = scene.card.metrics.get(part, {}) if scene.card is not None else {}
    return scene.with_scores(scores if isinstance(scores, dict) else {})


def _scene(
    dataset: Dataset,
    model: Model,
    source: str,
    unit: str | None,
    times: Sequence[float | str] | None,
    frames: int | Sequence[int],
    device: str | None,
    part: str = "",
    match: Sequence[tuple[int, int]] | None = None,
) -> Scene:
    if times is not None:
        dataset = select_times(dataset, list(times))
    points = dataset.state_points()
    dataset = points[0]
    known = np.asarray(dataset.times, dtype=float)
    estimators: list[Any] = []
    pairs = [(k, k) for k in range(len(known))]
    if model is not None:
        from propensity.data import in_units
        from propensity.estimators.conditioned import at_state_point_of
        from propensity.estimators.storage import load_model
        from propensity.evaluation.scores import match_times
        from propensity.predictor import Predictor, models_of

        place = Predictor(model, device=device).device  # which refuses models that don't belong together
        estimators = [at_state_point_of(load_model(path), dataset[0]).to(place) for path in models_of(model)]
        dataset = in_units(dataset, estimators[0].card.length_scale)
        ours = np.array(estimators[0].card.times)
        pairs = match_times(ours, known) if match is None else list(match)
        for m, d in pairs:
            if not (0 <= m < len(ours) and 0 <= d < len(known)):
                raise InputError(
                    f"the model has {len(ours)} times and the data {len(known)}: there is no pair {m}:{d}."
                )
    card = estimators[0].card if estimators else None
    rows = evenly(len(dataset), frames) if isinstance(frames, int) else [_checked(k, dataset) for k in frames]
    shown = [_frame(dataset[row], estimators, pairs) for row in rows]
    here = [d for _, d in pairs]
    tau = _default(np.array([m for m, _ in pairs]), card, len(here))
    species = dataset[rows[0]].species
    return Scene(source, species, known[here], tau, shown, unit or "σ", card, part=part)


def _checked(index: int, dataset: Dataset) -> int:
    if index >= len(dataset):
        raise InputError(f"structure {index} is beyond the {len(dataset)} of {dataset.source}: count from 0.")
    return index


def _default(model_columns: np.ndarray, card: Any, n: int) -> int:
    where = np.flatnonzero(model_columns == (-1 if card is None else card.default_time_index))
    return int(where[0]) if len(where) else n - 1


def _frame(sample: Sample, estimators: Sequence[Any], pairs: Sequence[tuple[int, int]]) -> SceneFrame:
    from propensity.estimators.inputs import seen_structure
    from propensity.estimators.uncertainty import error_of_mean

    ours, theirs = [m for m, _ in pairs], [d for _, d in pairs]
    fields: dict[str, np.ndarray] = {}
    if estimators:
        card = estimators[0].card
        if sample.species != card.species:
            raise DataError(
                f"{sample.name} has species {list(sample.species)} and the model {list(card.species)}: "
                "they must be the same, in the same order."
            )
        structure = seen_structure(sample, card)
        members = np.stack([e.predict(structure)[:, ours] for e in estimators])
        fields["predicted"] = members.mean(axis=0)
        error = error_of_mean(card, structure.types, members, ours)
        if error is not None:
            fields["uncertainty"] = error
    fields["simulated"] = np.asarray(sample.propensities, dtype=float)[:, theirs]
    halves = None if sample.halves is None else np.asarray(sample.halves, dtype=float)[:, :, theirs]
    structure = sample.structure
    return SceneFrame(
        sample.name,
        structure,
        np.arange(len(structure)),
        fields,
        drawn_diameters(structure, sample.species, {}),
        halves=halves,
    )
