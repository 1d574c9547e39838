"""The four jobs that faults and kills fall upon, small, and whether their results are whole."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.reliability.readers import _dump_text, _ka3d


@dataclass(frozen=True)
class Job:
    """How to lay out its input, how to run or resume it in a folder, and its result as comparable arrays."""

    prepare: Callable[[Path], None]
    run: Callable[[Path], Any]
    result: Callable[[Path], dict[str, np.ndarray]]
    #: Its outputs, which are whole whenever they are there.
    outputs: tuple[str, ...]


def _prepare_convert(folder: Path) -> None:
    _ka3d(folder / "few_train.npz")


def _convert(folder: Path, workers: int = 1) -> None:
    from propensity.data.convert import convert

    convert([folder / "few_train.npz"], folder / "out" / "s.h5", workers=workers)


def stored(path: Path) -> dict[str, np.ndarray]:
    """Every array of a store."""
    from propensity.data import open_dataset

    arrays = {}
    for sample in open_dataset(path):
        for name in ("propensities", "halves", "inherent_positions", "squared_displacement"):
            if getattr(sample, name) is not None:
                arrays[f"{sample.name} {name}"] = getattr(sample, name)
        arrays[f"{sample.name} positions"] = sample.structure.positions
    return arrays


def _prepare_annotate(folder: Path) -> None:
    from tests.conftest import make_tiny_model

    make_tiny_model(folder / "model")
    (folder / "t.dump").write_text(_dump_text(60, 3), "utf-8")


def _annotate(folder: Path, output: str = "a.dump", workers: int = 1) -> None:
    from propensity.predictor import Predictor
    from propensity.trajectory import annotate

    predictor = Predictor(folder / "model", device="cpu", kernel="reference", species_map={1: "A", 2: "B"})
    annotate(folder / "t.dump", folder / "out" / output, predictor, workers=workers)


def _annotated(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path) as file:
            return {"propensity": file["particles/all/propensity/value"][()]}
    return {"text": np.frombuffer(path.read_bytes(), np.uint8)}


def _prepare_train(folder: Path) -> None:
    from propensity.data import StoreWriter
    from tests.training.conftest import make_sample

    with StoreWriter(folder / "d.h5") as writer:
        for k in range(3):
            writer.add(make_sample(k))


def _train(folder: Path) -> None:
    from propensity.runs.run import set_up

    run = folder / "out"
    if (run / "config.yaml").exists():
        job = set_up({}, resume=run)
    else:
        job = set_up(
            {
                "data": [str(folder / "d.h5")],
                "output": str(run),
                "l_max": 1,
                "channels": 2,
                "n_layers": 1,
                "epochs": 2,
                "kernel": "reference",
                "device": "cpu",
                "fractions": [0.4, 0.3, 0.3],
            }
        )
    job.quiet = True
    job.train()


def _trained(path: Path) -> dict[str, np.ndarray]:
    from propensity.estimators.storage import load_model

    return load_model(path.parent).arrays()


@contextmanager
def _threads(*_: Any, **__: Any) -> Iterator[Any]:
    """Instead of worker processes, whose start would take longer than all the rest."""
    from propensity.workers.pool import LocalPool

    with ThreadPoolExecutor(1) as executor:
        yield LocalPool(executor, 1)


def _simulate(folder: Path, workers: int = 0) -> None:
    from propensity.simulate import simulation
    from tests.simulate.helpers import FreeFlight, small_settings

    before = simulation.open_pool
    if not workers:
        simulation.open_pool = _threads  # type: ignore[assignment]
    try:
        settings = small_settings(n_particles=32, structures=2, runs=2, chains=1, temperature=0.8)
        output = folder / "out" / "s.h5"
        simulation.simulate_propensities(settings, output, FreeFlight(), workers=workers or None, quiet=True)
    finally:
        simulation.open_pool = before


JOBS: dict[str, Job] = {
    "convert": Job(_prepare_convert, _convert, lambda f: stored(f / "out/s.h5"), ("out/s.h5",)),
    "train": Job(
        _prepare_train, _train, lambda f: _trained(f / "out/model.safetensors"), ("out/model.json",)
    ),
    "simulate": Job(lambda folder: None, _simulate, lambda f: stored(f / "out/s.h5"), ("out/s.h5",)),
    "annotate": Job(_prepare_annotate, _annotate, lambda f: _annotated(f / "out/a.dump"), ("out/a.dump",)),
    "annotate, HDF5": Job(
        _prepare_annotate,
        lambda folder: _annotate(folder, "a.h5"),
        lambda f: _annotated(f / "out/a.h5"),
        ("out/a.h5",),
    ),
}

#: The same by several workers: processes of a convert and a simulate, threads of an annotate.
WITH_WORKERS: dict[str, Job] = {
    "convert, 2 workers": replace(JOBS["convert"], run=lambda folder: _convert(folder, 2)),
    "simulate, 2 workers": replace(JOBS["simulate"], run=lambda folder: _simulate(folder, 2)),
    "annotate, 2 workers": replace(JOBS["annotate"], run=lambda folder: _annotate(folder, workers=2)),
}


def warm(job: Job) -> None:
    """Run a job once here, so that forked children find everything imported and compiled: what they do is the
    job, and not the start of Python and of libraries.
    """
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job.prepare(Path(place))
        job.run(Path(place))
        job.result(Path(place))


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether results are equal bit by bit."""
    return a.keys() == b.keys() and all(
        np.array_equal(a[k], b[k], equal_nan=a[k].dtype.kind == "f") for k in a
    )
