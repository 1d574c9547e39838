"""One training with its scores, kept on disk so that an experiment that stops goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from propensity.data import Dataset, make_split, open_dataset, select_times
from propensity.data.fingerprints import fingerprint, fingerprints, same_as
from propensity.documents import read_json
from propensity.errors import DataError, InputError
from propensity.estimators.base import Estimator
from propensity.estimators.kinds import estimator_class
from propensity.estimators.storage import load_model, save_model
from propensity.estimators.training_set import time_nearest
from propensity.evaluation import evaluate
from propensity.files import replacing
from propensity.runs.flags import parse_options
from propensity.version import __version__


@dataclass(frozen=True)
class System:
    """Training and test structures of one state point."""

    name: str
    train: Dataset
    test: Dataset
    temperature: float | None
    tau_index: int

    @property
    def times(self) -> np.ndarray:
        """Times of the labels, shape (T,)."""
        return self.train.times


def open_system(spec: str, *, n_train: int | None = None, n_test: int | None = None) -> System:
    """Open ``TRAIN:TEST``, or one data set split as its files say or 50:40:10; keep the first structures of
    each.  Where the files name no test structures those for validation are scored: they choose nothing.

    Raises
    ------
    DataError, InputError
        For files that can't be read, or with different times.
    """
    first, separator, second = spec.partition(":")
    train = open_dataset(first)
    if separator:
        test = open_dataset(second)
    else:
        parts = make_split(train).apply(train)
        held_out = parts["test"] or parts["valid"]
        if parts["train"] is None or held_out is None:
            raise DataError(f"{spec} has too few structures to divide: give TRAIN:TEST.")
        train, test = parts["train"], held_out
    test = select_times(test, [float(t) for t in train.times])
    for name, number, data in (("train", n_train, train), ("test", n_test, test)):
        if number is not None and not 1 <= number <= len(data):
            raise InputError(f"{number} {name} structures were asked for and {spec} has {len(data)}.")
    sample = train[0]
    label = (
        Path(first).stem.removesuffix("_train") if sample.temperature is None else f"T={sample.temperature:g}"
    )
    if sample.potential not in (None, "lj/cut"):
        label += f" {sample.potential.removeprefix('lj/cut ')}"
    tau_index = time_nearest(np.asarray(train.times), sample.tau_alpha)
    train, test = train[:n_train].in_memory(), test[:n_test].in_memory()
    _check_apart(train, test, spec)
    return System(label, train, test, sample.temperature, tau_index)


def _check_apart(train: Dataset, test: Dataset, spec: str) -> None:
    """Refuse test structures that are trained on, whatever their files are called."""
    known = np.array(fingerprints(sample.structure for sample in train))
    for sample in test:
        if (same := same_as(fingerprint(sample.structure), known)) is not None:
            raise InputError(
                f"{spec}: the test structure {sample.name} is the training structure {train.names[same]}:"
                " give others, or one data set that is divided."
            )


@dataclass(frozen=True)
class Job:
    """A model to be trained on one system and scored on some.

    Parameters
    ----------
    label
        Name of the curve it belongs to.
    kind
        Estimator, as registered.
    system
        Name of the system to train on.
    tests
        Names of the systems to score on; other systems than ``system`` are compared at τ_α only.
    options
        Options of ``fit``.
    n_train
        Structures to train on; None: all.
    times
        Indices of the times to learn; None: all at once.
    x
        Value of what the experiment varies.
    refit
        Readout of a network: name of the system on whose training structures it is fitted anew.
    n_refit
        Structures for that readout; None: all.
    follow
        Score the test structures after every epoch, for a learning curve; they never choose the weights.
    """

    label: str
    kind: str
    system: str
    tests: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)
    n_train: int | None = None
    times: tuple[int, ...] | None = None
    x: float | None = None
    refit: str | None = None
    n_refit: int | None = None
    follow: bool = False

    def checked_options(self) -> dict[str, Any]:
        """Options read by the estimator's own types.

        Raises
        ------
        InputError
            For an option that the kind doesn't have.
        """
        _, fit = parse_options({"model": self.kind, **self.options})
        return fit.model_dump()

    def key(self, systems: dict[str, System]) -> str:
        """Short hash of everything that decides the trained model."""
        what = {
            "kind": self.kind,
            "options": self.checked_options(),
            "times": self.times,
            "data": systems[self.system].train.names[: self.n_train],
            "follow": self.follow,
            "version": __version__,
        }
        return f"{self.kind}-{hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]}"


def trained(job: Job, systems: dict[str, System], folder: Path) -> Estimator:
    """The model of a job: loaded when it is in ``folder/models``, else fitted and saved there."""
    place = folder / "models" / job.key(systems)
    if (place / "model.json").exists():
        return load_model(place)
    data = systems[job.system].train[: job.n_train]
    if job.times is not None:
        data = select_times(data, [f"#{k}" for k in job.times])
    cls = estimator_class(job.kind)
    started = time.monotonic()
    options = job.checked_options()
    if cls.resumable:
        followed = systems[job.system].test if job.follow else ()
        resume = (place / "checkpoints").exists()
        estimator = cls.fit(data, followed, **options, progress=False, folder=place, resume=resume)
    else:
        estimator = cls.fit(data, **options)
    estimator.card.training["seconds"] = round(time.monotonic() - started, 1)
    save_model(place, estimator)
    return estimator


def run_job(job: Job, systems: dict[str, System], folder: Path) -> list[dict[str, Any]]:
    """Train and score, or read what was done before; one row for each test system, species and time."""
    refitted = None if job.refit is None else systems[job.refit].train.names[: job.n_refit]
    models: list[Estimator] = []
    rows: list[dict[str, Any]] = []
    for name in job.tests:
        what = json.dumps([job.key(systems), refitted, name, systems[name].test.names])
        stored = folder / "scores" / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.json"
        if stored.exists():
            found = read_json(stored, "file of scores")
        else:
            models = models or [_ready(job, systems, folder)]
            found = list(_score(job, models[0], systems, name))
            with replacing(stored) as temporary:
                temporary.write_text(json.dumps(found), "utf-8")
        rows += [{"label": job.label, "x": job.x, **row} for row in found]
    return rows


def _ready(job: Job, systems: dict[str, System], folder: Path) -> Estimator:
    """The model to score, on its device."""
    from propensity.devices import chosen_device

    estimator = trained(job, systems, folder)
    if job.refit is not None:
        from propensity.experiments.readout import refit_readout

        estimator = refit_readout(estimator, systems[job.refit].train[: job.n_refit])
    return estimator.to(chosen_device(job.options.get("device")))


def _tau_pair(estimator: Estimator, source: System, test: System) -> tuple[int, int]:
    """Indices of τ_α among the model's times and among the data's."""
    tau = source.times[source.tau_index]
    return int(np.argmin(np.abs(np.log(np.array(estimator.card.times) / tau)))), test.tau_index


def _score(job: Job, estimator: Estimator, systems: dict[str, System], name: str) -> Iterator[dict[str, Any]]:
    test, source = systems[name], systems[job.refit or job.system]
    pairs = None if name == source.name else [_tau_pair(estimator, source, test)]
    score = evaluate(estimator, test.test, pairs=pairs)
    for s, species in enumerate(score.species):
        for t, at in enumerate(score.data_times):
            yield {
                "kind": job.kind,
                "system": job.system,
                "refit": job.refit,
                "test": name,
                "temperature": test.temperature,
                "n_train": estimator.card.training["n_structures"],
                "n_test": len(score.names),
                "species": species,
                "time": float(at),
                "is_tau": bool(np.isclose(at, test.times[test.tau_index])),
                "pooled": float(score.pooled[s, t]),
                "pooled_low": float(score.pooled_interval[0, s, t]),
                "pooled_high": float(score.pooled_interval[1, s, t]),
                "per_structure": float(score.per_structure[s, t]),
                "per_structure_low": float(score.per_structure_interval[0, s, t]),
                "per_structure_high": float(score.per_structure_interval[1, s, t]),
                "ceiling": float(score.ceiling[s, t]),
                "ceiling_per_structure": float(score.ceiling_per_structure[s, t]),
                "seed": job.options.get("seed"),
                "seconds": estimator.card.training.get("seconds"),
            }


def write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Rows as CSV; NaN and None are empty."""
    import csv

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return "" if np.isnan(value) else f"{value:.5g}"
        return "" if value is None else value

    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: plain(value) for key, value in row.items()} for row in rows)
