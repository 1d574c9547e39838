"""An evaluation as a table on screen and as figures on disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from propensity.evaluation.scores import Evaluation
from propensity.plotting import new_figure, save_figure, styled
from propensity.statistics import score_text

if TYPE_CHECKING:
    from rich.table import Table


def score_table(evaluation: Evaluation, title: str = "") -> Table:
    """Rich table: one row a species and time; ± is half the 95 % interval."""
    from rich import box
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for name in ("species", "time", "ρ pooled (95 %)", "ceiling", "ρ per structure (95 %)", "ceiling"):
        shown.add_column(name, justify="left" if name == "species" else "right", no_wrap=True)
    for s, species in enumerate(evaluation.species):
        for t, time in enumerate(evaluation.data_times):
            shown.add_row(
                species if t == 0 else "",
                f"{time:.4g}",
                score_text(evaluation.pooled[s, t], evaluation.pooled_interval[:, s, t]),
                score_text(evaluation.ceiling[s, t]),
                score_text(evaluation.per_structure[s, t], evaluation.per_structure_interval[:, s, t]),
                score_text(evaluation.ceiling_per_structure[s, t]),
                end_section=t == len(evaluation.data_times) - 1,
            )
    return shown


@styled
def plot_pearson(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """ρ against time for each species, pooled and per structure, under the noise ceiling, as PNG."""
    figure = new_figure(5.5, 4)
    axes = figure.add_subplot()
    times = evaluation.data_times
    for s, species in enumerate(evaluation.species):
        color = f"C{s}"
        axes.plot(times, evaluation.pooled[s], "o-", color=color, label=f"{species} pooled")
        axes.fill_between(times, *evaluation.pooled_interval[:, s], color=color, alpha=0.2, lw=0)
        axes.plot(
            times, evaluation.per_structure[s], "s--", color=color, mfc="w", label=f"{species} per structure"
        )
        if np.isfinite(evaluation.ceiling[s]).any():
            axes.plot(
                times, evaluation.ceiling[s], "_", ms=14, mew=2, color=color, label=f"{species} noise ceiling"
            )
    if len(times) > 1:
        axes.set_xscale("log")
    low = np.nanmin([evaluation.pooled, evaluation.per_structure], initial=1.0)
    axes.set(xlabel="time $t$ (LJ units)", ylabel="Pearson correlation ρ", ylim=(min(0.0, low - 0.05), 1))
    axes.legend(loc="lower right")
    save_figure(figure, path)


@styled
def plot_scatter(evaluation: Evaluation, path: str | os.PathLike[str]) -> None:
    """Predicted against true propensity, one panel a species and time, as PNG."""
    rows, columns = len(evaluation.species), len(evaluation.data_times)
    width = min(columns, 5)
    lines = -(-columns // width) * rows
    figure = new_figure(2.3 * width + 0.4, 2.4 * lines)
    panels = figure.subplots(lines, width, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for s, species in enumerate(evaluation.species):
        for t, time in enumerate(evaluation.data_times):
            panel = panels[s * (lines // rows) + t // width, t % width]
            panel.set_axis_on()
            predicted, true = evaluation.scatter[s, t]
            ends = _range(np.concatenate([predicted, true]))
            panel.hexbin(
                true,
                predicted,
                gridsize=40,
                extent=(*ends, *ends),
                bins="log",
                cmap="viridis",
                mincnt=1,
                lw=0,
            )
            panel.plot(ends, ends, color="0.5", lw=0.8)
            panel.set(xlim=ends, ylim=ends, aspect="equal")
            panel.set_title(f"{species}, t = {time:.4g}, ρ = {evaluation.pooled[s, t]:.3f}", fontsize=8)
            panel.tick_params(labelsize=7)
            panel.locator_params(nbins=4)
    figure.supxlabel("true propensity (σ)", fontsize=9)
    figure.supylabel("predicted propensity (σ)", fontsize=9)
    save_figure(figure, path)


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = np.nanquantile(values, [0.001, 0.999])
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)
