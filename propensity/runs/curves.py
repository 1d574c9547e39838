"""The learning curve of a run."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from propensity.plotting import new_figure, save_figure, styled


def read_log(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Columns of ``log.csv``, each of shape (epochs,), NaN where an epoch has no entry."""
    with Path(path).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = list(rows[0]) if rows else []
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


@styled
def plot_learning_curve(log: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Loss and validation Pearson against epoch, as PNG."""
    from matplotlib import colormaps

    columns = read_log(log)
    single = [name for name in columns if " t=" in name]
    figure = new_figure(10, 3.8)
    left, right = figure.subplots(1, 2)
    style = "o-" if len(columns["epoch"]) < 20 else "-"
    left.plot(columns["epoch"], columns["loss"], style, label="train", ms=3)
    if "valid_loss" in columns:
        known = np.isfinite(columns["valid_loss"])
        left.plot(columns["epoch"][known], columns["valid_loss"][known], style, label="validation", ms=3)
    left.set(xlabel="epoch", ylabel="mean squared error (standardised)")
    left.legend()
    species = list(dict.fromkeys(name.split(" t=")[0] for name in single))
    times = list(dict.fromkeys(name.split(" t=")[1] for name in single))
    for name in single:
        known = np.isfinite(columns[name])
        who, when = name.split(" t=")
        shade = colormaps["viridis"](times.index(when) / max(len(times) - 1, 1) * 0.9)
        line = ("-", "--", ":")[species.index(who) % 3]
        right.plot(columns["epoch"][known], columns[name][known], line, lw=1, color=shade, label=name)
    if "valid_pearson" in columns:
        known = np.isfinite(columns["valid_pearson"])
        right.plot(
            columns["epoch"][known], columns["valid_pearson"][known], "k" + style, ms=3, lw=2, label="mean"
        )
        right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        right.text(0.5, 0.5, "no validation structures", ha="center", transform=right.transAxes)
    right.set(xlabel="epoch", ylabel="validation Pearson ρ (pooled)")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    save_figure(figure, path)
