"""Predict the demo configuration, compare, and leave a file for OVITO and a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from propensity.demo import Configuration, load_demo
from propensity.plotting import DIAMETERS, plot_propensity, save_figure
from propensity.predictor import Predictor
from propensity.trajectory import Frame, open_writer


@dataclass(frozen=True)
class DemoResult:
    """What the demo found, by species (rows) and time (columns).

    Parameters
    ----------
    model, source
        Name of the model and origin of the configuration.
    species, times
        Names, and times of the predictions in LJ units.
    predicted, published
        Mean propensity, shape (n_species, n_times).
    pearson
        Correlation over the particles of a species, shape (n_species, n_times).
    files
        What was written.
    """

    model: str
    source: str
    species: tuple[str, ...]
    times: np.ndarray
    predicted: np.ndarray
    published: np.ndarray
    pearson: np.ndarray
    files: tuple[Path, Path]


def run_demo(
    folder: Path, model: str | os.PathLike[str] = "ka-default", device: str | None = None
) -> DemoResult:
    """Write ``demo.extxyz`` and ``demo.png`` into a folder and return the comparison.

    Minimum and cage state of the configuration are made for models that see them, in the potential of its
    dynamics.
    """
    predictor = Predictor(model, device=device, potential="lj/cut")
    demo = load_demo()
    columns = predictor.columns(demo.structure)
    published = np.stack([demo.propensity_at(t) for t in predictor.times], axis=1)
    predicted, types = columns["propensities"], demo.structure.types
    shape = (len(predictor.species), len(predictor.times))
    means = np.full((2, *shape), np.nan)
    pearson = np.full(shape, np.nan)
    for k in range(shape[0]):
        chosen = types == k
        means[:, k] = predicted[chosen].mean(axis=0), published[chosen].mean(axis=0)
        for column in range(shape[1]):
            pearson[k, column] = np.corrcoef(predicted[chosen, column], published[chosen, column])[0, 1]
    files = (folder / "demo.extxyz", folder / "demo.png")
    _write(files[0], predictor, demo, columns, published)
    _draw(files[1], predictor, demo, columns["propensity"], published, pearson)
    name = predictor.card.name or str(model)
    return DemoResult(
        name, demo.source, predictor.species, predictor.times, means[0], means[1], pearson, files
    )


def _write(
    path: Path,
    predictor: Predictor,
    demo: Configuration,
    columns: dict[str, np.ndarray],
    published: np.ndarray,
) -> None:
    structure, k = demo.structure, predictor.default_time_index
    frame = Frame(
        0,
        structure.positions,
        structure.cell,
        structure.pbc,
        # Kob and Andersen modelled Ni80P20.
        {"symbol": np.array(["Ni", "P"])[structure.types]},
        {
            "type": structure.types + 1,
            "radius": np.array(DIAMETERS)[structure.types] / 2,
            "published": published[:, k],
        },
        {"source": demo.source, "propensity_time": predictor.times[k]},
    )
    with open_writer(path, predictor) as writer:
        writer.append(writer.prepare(frame, structure.types, columns))


def _draw(
    path: Path,
    predictor: Predictor,
    demo: Configuration,
    predicted: np.ndarray,
    published: np.ndarray,
    pearson: np.ndarray,
) -> None:
    k = predictor.default_time_index
    title = f"predicted, one snapshot (ρ = {pearson[0, k]:.2f} for {predictor.species[0]})"
    panels = {title: predicted, "simulated, mean of 30 runs": published[:, k]}
    label = f"propensity at t = {predictor.times[k]:g} / mean of the species"
    figure = plot_propensity(demo.structure, panels, relative=True, label=label)
    save_figure(figure, path, dpi=200)
