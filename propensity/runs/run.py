"""A run: open data, fit any kind of model, score it, and leave everything in one folder."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
import yaml
from pydantic import BaseModel

from propensity.data import (
    Dataset,
    Sample,
    Split,
    in_units,
    make_split,
    open_dataset,
    select_by_state_point,
    select_times,
)
from propensity.data.fingerprints import fingerprints
from propensity.documents import read_json
from propensity.errors import DataError, InputError, PropensityError, PropensityWarning
from propensity.estimators.base import Estimator
from propensity.estimators.kinds import estimator_class
from propensity.estimators.neighbourhood import mean_neighbours
from propensity.estimators.storage import save_model
from propensity.estimators.training_set import NEAR, chosen_species
from propensity.evaluation import Evaluation, evaluate_state_points
from propensity.evaluation.report import plot_scatter
from propensity.files import replacing
from propensity.interrupts import TrainingInterrupted
from propensity.locks import FileLock
from propensity.runs.curves import plot_learning_curve
from propensity.runs.flags import RunOptions, expanded, parse_options, read_option_file
from propensity.version import __version__

CONFIG, SPLITS = "config.yaml", "splits.json"
#: Options that may change when a run goes on: where it runs and how long.
MAY_CHANGE = ("epochs", "device", "devices", "kernel", "patience")

#: Structures whose neighbours are counted before a run starts.
FIRST = 4

#: Sources of structures named in the card; the split file names all.
MAX_SOURCES = 10


@dataclass
class TrainingRun:
    """A training that is set up: options, data and folder."""

    options: RunOptions
    fit: BaseModel
    folder: Path
    split: Split
    parts: dict[str, Dataset | None]
    resume: bool = False
    quiet: bool = False
    evaluations: dict[str, Evaluation] = field(default_factory=dict)
    #: Range of the graph, and neighbours within it in the first structures.
    cutoff: float = NEAR
    neighbours: float = float("nan")
    #: Species in the loss.
    trained: tuple[str, ...] = ()

    @property
    def is_main(self) -> bool:
        """False in the further processes of a training on several devices."""
        return int(os.environ.get("LOCAL_RANK", 0)) == 0

    @property
    def resumable(self) -> bool:
        """Whether a training of this kind goes on where it was stopped."""
        return estimator_class(self.options.model).resumable

    def train(self, progress: Callable[[Sequence[Sample]], Iterable[Sample]] = iter) -> Estimator:
        """Fit, save the model, score it on validation and test, draw the figures.

        Raises
        ------
        TrainingInterrupted
            After the model learned so far was saved.
        PropensityError
            When another process is training in the folder.
        """
        lock = FileLock(self.folder / ".lock", passing=True)
        if self.is_main and not lock.acquire(wait=False):
            raise PropensityError(
                f"another process is training in {self.folder}: wait until it is done, or choose another"
                " --output."
            )
        try:
            return self._train(progress)
        except PropensityError:
            lock.release()
            if self.is_main and not self.resume:
                self._forget()
            raise
        finally:
            lock.release()

    def _forget(self) -> None:
        """Take back what a start that failed has written, so that the next try finds the name free."""
        if any(self.folder.glob("checkpoints/*.ckpt")) or (self.folder / "model.json").exists():
            return  # it got somewhere: there is something to go on from
        for name in (CONFIG, SPLITS):
            (self.folder / name).unlink(missing_ok=True)
        for name in ("tensorboard", "checkpoints"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        with suppress(OSError):  # something else is in it
            self.folder.rmdir()

    def _train(self, progress: Callable[[Sequence[Sample]], Iterable[Sample]]) -> Estimator:
        cls = estimator_class(self.options.model)
        train, valid = self.parts["train"], self.parts["valid"]
        assert train is not None
        started = time.monotonic()
        place: dict[str, Any] = {"folder": self.folder, "resume": self.resume, "progress": not self.quiet}
        try:
            estimator = cls.fit(
                train,
                valid if valid is not None else (),
                **self.fit.model_dump(),
                **(place if cls.resumable else {}),
            )
        except TrainingInterrupted as stopped:
            if self.is_main:
                self._complete(stopped.estimator, time.monotonic() - started)
                self._sign()
                save_model(self.folder, stopped.estimator)
            raise
        if not self.is_main:
            return estimator
        self._complete(estimator, time.monotonic() - started)
        self._sign()
        save_model(self.folder, estimator)  # before anything else can fail
        for part in ("valid", "test"):
            samples = self.parts[part]
            if samples is not None:
                self.evaluations |= evaluate_state_points(estimator, samples, part, progress=progress)
        estimator.card.metrics = {part: score.to_dict() for part, score in self.evaluations.items()}
        save_model(self.folder, estimator)
        write_json(self.folder / "metrics.json", estimator.card.metrics)
        if (self.folder / "log.csv").exists():
            plot_learning_curve(self.folder / "log.csv", self.folder / "learning_curve.png")
        if self.evaluations:
            plot_scatter(list(self.evaluations.values())[-1], self.folder / "predicted_vs_true.png")
        return estimator

    def _sign(self) -> None:
        """Note the structures by their particles, so that they are known under any name."""
        known = {
            part: fingerprints(sample.structure for sample in samples)
            for part, samples in self.parts.items()
            if samples is not None
        }
        write_json(self.folder / SPLITS, {**self.split.to_dict(), "fingerprints": known})

    def _complete(self, estimator: Estimator, seconds: float) -> None:
        """Put into the card what only the run knows."""
        card = estimator.card
        card.name = self.options.name or self.folder.resolve().name
        card.description = self.options.description
        sources = card.training.get("sources", [])
        if len(sources) > MAX_SOURCES:
            card.training["sources"] = [
                *sources[: MAX_SOURCES - 1],
                f"and {len(sources) - MAX_SOURCES + 1} more",
            ]
        card.training = {
            **card.training,
            "data": list(self.options.data),
            "split": {part: len(getattr(self.split, part)) for part in ("train", "valid", "test")},
            "seconds": round(seconds, 1),
            "software": {"propensity": __version__, "python": platform.python_version()},
        }


def set_up(values: dict[str, Any], resume: str | os.PathLike[str] | None = None) -> TrainingRun:
    """Prepare a run from options, or go on with the one in a folder.

    Raises
    ------
    InputError, DataError
        For options or data that can't be used; nothing has been written then.
    PropensityError
        When the folder can't be written or holds another run.
    """
    if resume is not None:
        values = _of_earlier(Path(resume), values)
    options, fit = parse_options(values)
    if not options.data:
        raise InputError("no data was given: name at least one file or folder to train on.")
    if resume is not None:
        folder = Path(resume)
        stored = (
            Split.from_dict(read_json(folder / SPLITS, "split file")) if (folder / SPLITS).exists() else None
        )
    else:
        folder, stored = (
            Path(options.output or f"runs/{options.model}-{time.strftime('%Y%m%d-%H%M%S')}"),
            None,
        )
    everything = _open(options, by_state_point=bool(getattr(fit, "condition", None)))
    split = stored or _split(everything, options, int(getattr(fit, "seed", 0)))
    parts = split.apply(everything)
    if parts["train"] is None:
        raise DataError(
            f"no structure is left for training of {len(everything)}: change --fractions or --split."
        )
    if not getattr(fit, "condition", None):
        _warn_of_several_liquids(parts["train"])
    run = TrainingRun(options, fit, folder, split, parts, resume is not None)
    run.cutoff = float(getattr(fit, "cutoff", NEAR))
    first = [parts["train"][i] for i in range(min(FIRST, len(parts["train"])))]
    occurring = np.unique(np.concatenate([sample.structure.types for sample in first]))
    all_of_them = tuple(first[0].species[k] for k in occurring)
    run.trained = chosen_species(first, getattr(fit, "trained_species", all_of_them))
    # Refuses a wrong unit of length before there is a folder.
    run.neighbours = mean_neighbours(
        first, getattr(fit, "input_positions", "thermal"), run.cutoff, warn=False
    )
    if run.is_main:
        _write_set_up(run, new=resume is None)
    return run


def _warn_of_several_liquids(train: Dataset) -> None:
    """Say that a model won't know at which temperature, or in which interaction, its answers hold."""
    headers = [train.header(index) for index in range(len(train))]
    for what, values, instead in (
        ("T", {header.temperature for header in headers}, "learn them apart with --condition temperature"),
        ("potential", {header.potential for header in headers}, "train a model for each"),
    ):
        if len(known := values - {None}) > 1:
            listed = " and ".join(sorted(f"{v:g}" if isinstance(v, float) else repr(v) for v in known))
            warn(
                f"structures of {what} = {listed} are learned as one liquid, whose answers hold for none of"
                f" them: {instead}.",
                PropensityWarning,
                stacklevel=3,
            )


def _of_earlier(folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    if not (folder / CONFIG).exists():
        raise DataError(
            f"{folder} holds no run ({CONFIG} is missing): give the folder of an earlier training."
        )
    for name in changes:
        if name not in MAY_CHANGE:
            raise InputError(
                f"option {name!r} can't change when a run goes on: only {', '.join(MAY_CHANGE)} can; start a"
                " new run."
            )
    return {**read_option_file(folder / CONFIG), **changes}


def _open(options: RunOptions, by_state_point: bool) -> Dataset:
    """All structures of the run at the chosen times, train, validation and test together."""
    paths, times = [*options.data, *options.valid, *options.test], list(options.times)
    everything = open_dataset(paths)
    everything = (
        select_by_state_point(everything, times) if by_state_point else select_times(everything, times)
    )
    return everything if options.length_scale is None else in_units(everything, options.length_scale)


def _split(everything: Dataset, options: RunOptions, seed: int) -> Split:
    """Parts as given by their own paths; what was not given is split off from the data."""
    names = {part: _names(getattr(options, part)) for part in ("valid", "test")}
    given = set(names["valid"]) | set(names["test"])
    if set(names["valid"]) & set(names["test"]):
        raise InputError("the validation and the test structures overlap: give each structure once.")
    rest = [i for i, name in enumerate(everything.names) if name not in given]
    if not rest:
        raise DataError("every structure is for validation or test: give data to train on.")
    data = everything.subset(rest)
    if not given:
        return make_split(data, options.split, options.fractions, seed)
    how = {"method": "given", "seed": seed}
    if names["valid"]:
        return Split(data.names, names["valid"], names["test"], how)
    shares = (options.fractions[0], options.fractions[1], 0.0)
    # Test is elsewhere: all of the data train or validate.
    inner = make_split(data, "group" if options.split == "auto" else options.split, shares, seed)
    return Split(inner.train, inner.valid, names["test"], {**inner.how, **how})


def _names(paths: Sequence[str]) -> tuple[str, ...]:
    return open_dataset(list(paths)).names if paths else ()


def _write_set_up(run: TrainingRun, new: bool) -> None:
    folder = run.folder
    if new and (folder / CONFIG).exists():
        raise PropensityError(
            f"{folder} already holds a run: choose another --output, or go on with --resume {folder}."
        )
    if folder.exists() and not folder.is_dir():
        raise PropensityError(f"{folder} is a file: choose another --output.")
    with replacing(folder / CONFIG) as path:
        path.write_text(
            yaml.safe_dump(expanded(run.options, run.fit), sort_keys=False, allow_unicode=True), "utf-8"
        )
    if new or not (folder / SPLITS).exists():
        write_json(folder / SPLITS, run.split.to_dict())


def write_json(path: Path, values: Any) -> None:
    """Write JSON, replacing the file at once."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8", "backslashreplace"
        )
