"""Scenes of trajectories: annotated ones as they are, others with a prediction of each frame."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from propensity.errors import DataError, InputError, suggest
from propensity.species import SpeciesMap, map_species
from propensity.structure import Structure
from propensity.trajectory import Frame, open_trajectory
from propensity.trajectory.stream import Frames
from propensity.viewing.scene import Scene, SceneFrame, evenly, species_of_labels
from propensity.viewing.sizes import drawn_diameters

Model = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None

#: Columns that hold what was simulated, beside predictions.
SIMULATED = ("simulated", "published")
#: Columns of a dump with one time each.
_AT_TIME = re.compile(r"propensity_t([0-9.e+-]+)")


def trajectory_scene(
    path: Path,
    model: Model,
    *,
    topology: str | os.PathLike[str] | None,
    species_map: SpeciesMap | None,
    length_scale: float | None,
    unit: str | None,
    times: Sequence[float | str] | None,
    column: str | None,
    frames: int | Sequence[int],
    potential: str | None,
    temperature: float | None,
    device: str | None,
    box: float | Sequence[float] | None = None,
) -> Scene:
    """Frames of a trajectory with the values that it holds, or that a model predicts."""
    opened = partial(open_trajectory, path, None if topology is None else Path(topology), box=box)
    wanted = _wanted(path, opened, frames)
    first = next(_read(path, opened, wanted[:1]), None)
    if first is None:
        raise DataError(f"{path} has no frame {wanted[0]}.")
    if column is not None and column not in first.arrays:
        numeric = [name for name, array in first.arrays.items() if np.asarray(array).dtype.kind in "fiu"]
        raise InputError(f"{path} has no column {column!r}: choose from {numeric}{suggest(column, numeric)}.")
    if column is None and (model is not None or not _holds(first)):
        return _predicted(
            path,
            opened,
            wanted,
            model,
            species_map,
            length_scale,
            unit,
            times,
            potential,
            temperature,
            device,
        )
    given, known = _values(first, column)
    default = _default(first, given, known)
    keep = _selection(known, times, path)
    species: tuple[str, ...] = ()
    shown = []
    for frame in _read(path, opened, wanted):
        names, types = _species(frame, species_map)
        if species and names != species:
            raise DataError(
                f"frame {frame.number} of {path} has species {list(names)} after {list(species)}."
            )
        species = names
        fields = {name: array[:, keep] for name, array in _values(frame, column)[0].items()}
        structure = Structure(frame.positions, types, frame.cell, frame.pbc)
        shown.append(
            _scene_frame(
                frame, structure, fields, drawn_diameters(structure, names, frame.arrays, length_scale or 1.0)
            )
        )
    index = keep.index(default) if default in keep else len(keep) - 1
    return Scene(str(path), species, known[keep], index, shown, unit or _unit(length_scale))


def _predicted(
    path: Path,
    opened: Callable[..., Frames],
    wanted: list[int],
    model: Model,
    species_map: SpeciesMap | None,
    length_scale: float | None,
    unit: str | None,
    times: Sequence[float | str] | None,
    potential: str | None,
    temperature: float | None,
    device: str | None,
) -> Scene:
    from propensity.predictor import Predictor

    if any(isinstance(time, str) for time in times or ()):
        raise InputError(f"times {list(times or ())} are no numbers: give those of the model.")
    predictor = Predictor(
        "ka-default" if model is None else model,
        device=device,
        species_map=species_map,
        length_scale=length_scale,
        times=None if times is None else [float(time) for time in times],
        potential=potential,
        temperature=temperature,
    )
    shown = []
    for frame in _read(path, opened, wanted):
        try:
            structure = frame.structure(predictor.species, predictor.species_map)
        except InputError as error:
            raise DataError(f"frame {frame.number} of {path}: {error}") from None
        columns = predictor.columns(structure)
        fields = {"predicted": columns["propensities"]}
        if "propensities_std" in columns:
            fields["uncertainty"] = columns["propensities_std"]
        sizes = drawn_diameters(structure, predictor.species, frame.arrays, predictor.length_scale)
        shown.append(_scene_frame(frame, structure, fields, sizes))
    scores = next((s for s in map(predictor.card.metrics.get, ("test", "valid")) if isinstance(s, dict)), {})
    return Scene(
        str(path),
        predictor.species,
        predictor.times,
        predictor.default_time_index,
        shown,
        unit or _unit(predictor.length_scale),
        predictor.card,
        scores,
    )


def _unit(length_scale: float | None) -> str:
    return "σ" if length_scale in (None, 1.0) else "Å"


def _wanted(path: Path, opened: Callable[..., Frames], frames: int | Sequence[int]) -> list[int]:
    """Indices of the frames to show; counting them reads the file once where its format does not say."""
    if not isinstance(frames, int):
        return sorted(set(frames))
    every = opened()
    total = every.total if every.total is not None else sum(1 for _ in every)
    return evenly(total, frames)


def _read(path: Path, opened: Callable[..., Frames], wanted: Sequence[int]) -> Iterator[Frame]:
    """The frames with these indices, ascending."""
    steps = set(np.diff(wanted).tolist()) if len(wanted) > 1 else {1}
    step = steps.pop() if len(steps) == 1 else 1
    frames = opened(start=wanted[0], stop=wanted[-1] + 1, step=step)
    chosen = set(wanted)
    yield from islice((frame for frame in frames if frame.number in chosen), len(chosen))


def _scene_frame(
    frame: Frame, structure: Structure, fields: dict[str, np.ndarray], sizes: np.ndarray
) -> SceneFrame:
    """Particles in the order of their ids, so that rows of two frames are the same particle."""
    name = f"frame {frame.number}" + (f", step {frame.step}" if frame.step is not None else "")
    ids = np.asarray(frame.arrays.get("id", np.arange(len(frame))))
    order = np.argsort(ids, kind="stable")
    ordered = Structure(
        structure.positions[order],
        structure.types[order],
        structure.cell,
        structure.pbc,
        None,
        structure.dimension,
    )
    time = frame.time if frame.time is not None or frame.step is None else float(frame.step)
    shown = {name: values[order] for name, values in fields.items()}
    return SceneFrame(name, ordered, ids[order], shown, sizes[order], time)


def _species(frame: Frame, species_map: SpeciesMap | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the species and the types, from the map where there is one, else from the labels."""
    if species_map is not None:
        names = tuple(dict.fromkeys(str(name) for name in species_map.values()))
        return names, map_species(frame.labels, names, species_map)
    if not frame.labels:
        return ("particles",), np.zeros(len(frame), dtype=np.int64)
    return species_of_labels(next(iter(frame.labels.values())).tolist())


def _holds(frame: Frame) -> bool:
    return any(name in ("propensity", "propensities") or _AT_TIME.fullmatch(name) for name in frame.arrays)


def _values(frame: Frame, column: str | None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Fields (N, T) of a frame, and the times (T,)."""
    arrays = frame.arrays
    if column is not None:
        return {column: _column(frame, column)}, np.array([np.nan])
    predicted, known, spread = _stored_predictions(frame)
    found = {"predicted": predicted}
    if len(known) != predicted.shape[1]:
        known = np.full(predicted.shape[1], np.nan)
    simulated = next((arrays[name] for name in SIMULATED if name in arrays), None)
    if simulated is not None and np.shape(simulated) == predicted.shape:
        found["simulated"] = np.asarray(simulated, dtype=float)
    elif simulated is not None and np.shape(simulated) == (len(frame),):
        # One number a particle belongs to the time of ``propensity``.
        found["simulated"] = np.full(predicted.shape, np.nan)
        found["simulated"][:, _default(frame, found, known)] = simulated
    if spread is not None:
        found["uncertainty"] = np.asarray(spread, dtype=float).reshape(predicted.shape)
    return found, np.asarray(known, dtype=float)


def _column(frame: Frame, column: str) -> np.ndarray:
    """A column that is asked for, shape (N, 1)."""
    if column not in frame.arrays:
        raise DataError(f"frame {frame.number} has no column {column!r}: annotate every frame alike.")
    values = np.asarray(frame.arrays[column], dtype=float)
    if values.ndim != 1:
        raise InputError(f"column {column!r} has shape {values.shape}: choose one with a number a particle.")
    return values[:, None]


def _stored_predictions(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Propensities (N, T), their times as far as the file says, and their spread between models."""
    arrays, info = frame.arrays, frame.info
    at = sorted((float(m[1]), name) for name in arrays if (m := _AT_TIME.fullmatch(name)))
    if "propensities" in arrays:
        values = np.asarray(arrays["propensities"], dtype=float).reshape(len(frame), -1)
        known = info.get("propensity_times", np.full(values.shape[1], np.nan))
        return values, np.atleast_1d(known), arrays.get("propensities_std")
    if at:
        values = np.stack([np.asarray(arrays[name], dtype=float) for _, name in at], axis=1)
        names = [name.replace("propensity", "propensity_std") for _, name in at]
        spread = np.stack([arrays[n] for n in names], axis=1) if all(n in arrays for n in names) else None
        return values, np.array([time for time, _ in at]), spread
    if "propensity" in arrays:
        values = np.asarray(arrays["propensity"], dtype=float).reshape(len(frame), -1)
        known = info.get("propensity_times", info.get("propensity_time", np.nan))
        return values, np.atleast_1d(known), arrays.get("propensity_std")
    raise DataError(f"frame {frame.number} has no propensities although earlier ones do: annotate them all.")


def _default(frame: Frame, fields: dict[str, np.ndarray], known: np.ndarray) -> int:
    """Column that equals ``propensity``, which files hold at the model's own time; else the last."""
    single = frame.arrays.get("propensity")
    if single is not None and "predicted" in fields and np.shape(single) == (len(frame),):
        away = np.nanmean(np.abs(fields["predicted"] - np.asarray(single, dtype=float)[:, None]), axis=0)
        return int(np.nanargmin(away)) if np.isfinite(away).any() else len(known) - 1
    return len(known) - 1


def _selection(known: np.ndarray, times: Sequence[float | str] | None, path: Path) -> list[int]:
    if times is None:
        return list(range(len(known)))
    found = []
    for time in times:
        if isinstance(time, str):
            raise InputError(f"time {time!r} is no number: choose from {known.tolist()}.")
        close = np.flatnonzero(np.isclose(known, time, rtol=0.02))
        if not len(close):
            raise InputError(f"time {time:g} is not among those of {path}: choose from {known.tolist()}.")
        found.append(int(close[0]))
    return found
