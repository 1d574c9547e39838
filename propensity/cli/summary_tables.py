"""What ``annotate`` and ``demo`` show on screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from propensity.cli.screen import Screen
from propensity.demo.demonstration import DemoResult
from propensity.trajectory import PropensitySummary
from propensity.trajectory.stream import Frames


@contextmanager
def frame_progress(quiet: bool) -> Iterator[Callable[[Frames, PropensitySummary], None] | None]:
    """Progress bar on stderr: by frames where their number is known, else by the part of the file read."""
    console = Screen(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[frames]} frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("annotating", total=1.0, frames=0)

        def update(frames: Frames, summary: PropensitySummary) -> None:
            fraction = summary.n_frames / frames.total if frames.total else frames.done or 0.0
            bar.update(task, completed=fraction, frames=summary.n_frames)

        yield update


def print_summary(summary: PropensitySummary, output: str, state_point: str) -> None:
    """Table of mean, smallest and largest propensity by time and species; ``state_point``: which liquid."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("t", "species", "particles", "mean", "min", "max"):
        table.add_column(name, justify="left" if name == "species" else "right")
    for column, time in enumerate(summary.times):
        for row, name in enumerate(summary.species):
            if summary.count[row]:
                statistics = (summary.mean, summary.low, summary.high)
                values = [_number(array[row, column]) for array in statistics]
                table.add_row(f"{time:g}" if row == 0 else "", name, str(summary.count[row]), *values)
    console = Screen()
    console.print(table)
    console.print(f"t in σ√(m/ε); {state_point}", highlight=False, soft_wrap=True)
    if summary.negative.any():
        at = np.unravel_index(np.nanargmin(summary.low), summary.low.shape)
        lowest, when = int(at[0]), int(at[1])
        console.print(
            f"{summary.negative.sum()} of {int(summary.count.sum()) * len(summary.times)} predictions are"
            f" negative, which no propensity is (lowest {summary.low[lowest, when]:.3g}:"
            f" {summary.species[lowest]} at t = {summary.times[when]:g})",
            highlight=False,
            soft_wrap=True,
        )
    if summary.n_doubtful:
        console.print(
            f"{summary.n_doubtful} of {summary.n_frames} frames are unlike the training set of the model: see"
            " propensity_out_of_distribution in the output",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"{summary.n_frames} frame{'s' * (summary.n_frames != 1)}, {summary.n_particles} particles →"
        f" {output}",
        highlight=False,
        soft_wrap=True,
    )


def _number(value: float) -> str:
    return "—" if np.isnan(value) else f"{value:.4f}"


def print_demo(result: DemoResult) -> None:
    """Compare predicted and published propensities per time and species."""
    console = Screen()
    console.print(f"{result.model} on {result.source}", style="bold", highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("t", justify="right")
    for name in result.species:
        for column in (f"{name}: predicted", "published", "Pearson ρ"):
            table.add_column(column, justify="right")
    for k, time in enumerate(result.times):
        row = [f"{time:g}"]
        for s in range(len(result.species)):
            row += [_number(array[s, k]) for array in (result.predicted, result.published)]
            row.append("—" if np.isnan(result.pearson[s, k]) else f"{result.pearson[s, k]:.3f}")
        table.add_row(*row)
    console.print(table)
    note = "Means in σ over the particles of a species; published values interpolated in ln t."
    console.print(note, highlight=False, soft_wrap=True)
    for file, what in zip(
        result.files, ("open in OVITO, colour by propensity", "slab of the box"), strict=True
    ):
        console.print(f"{file}  ({what})", highlight=False, soft_wrap=True)
