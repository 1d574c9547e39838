"""``propensity info``: what a data file, model or trajectory holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress
from rich.table import Table

from propensity.cli.screen import Screen
from propensity.errors import DataError, InputError
from propensity.estimators.places import SHIPPED, shipped_models


@click.command(name="info")
@click.argument("path", type=str)
@click.argument("topology", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--labels",
    type=click.Choice(["published"]),
    help="Take the published labels of an npz set that holds two.",
)
@click.option("--box", metavar="L,L,L", help="Edges of the periodic box, or one, for files without a box.")
def command(path: str, topology: Path | None, labels: str | None, box: str | None) -> None:
    """Say what PATH holds: labelled data of any format or a folder of it, a model, or a trajectory.

    TOPOLOGY names the particles of a trajectory that doesn't, such as XTC.
    """
    console = Screen(highlight=False)
    model = topology is None and _is_model(path)
    if not model and not Path(path).exists():
        raise DataError(
            f"{path} is neither a file or folder nor a shipped model ({', '.join(shipped_models())})."
        )
    data = topology is None and not model and _is_data(path)
    if (model or data) and box is not None:
        raise InputError(f"{path} is no trajectory: leave --box out.")
    if model:
        from propensity.cli.models import show_card

        show_card(console, path)
    elif data:
        _data(path, labels, console)
    else:
        from propensity.files import regular

        _trajectory(regular(path), topology, box, console)


def _is_model(path: str) -> bool:
    folder = Path(path).parent if Path(path).name == "model.json" else Path(path)
    return folder.suffix == ".safetensors" or any(
        (f / "model.json").exists() for f in (folder, SHIPPED / path)
    )


def _is_data(path: str) -> bool:
    from propensity.data.opening import may_be_labelled

    return may_be_labelled(Path(path))


def _data(path: str, labels: str | None, console: Screen) -> None:
    from propensity.cli import data_tables as report
    from propensity.data import Sample, open_dataset
    from propensity.data.summary import summarise

    dataset = open_dataset(path, labels=labels)
    with Progress(console=Screen(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=len(dataset))

        def count(sample: Sample) -> None:
            bar.advance(task)

        summaries = summarise(dataset, count)
    if len(summaries) > 1:
        console.print(f"{path} holds {len(summaries)} state points.\n")
    for summary in summaries:
        console.print(report.overview(summary))
        console.print(report.labels(summary))
        console.print()


def _trajectory(path: Path, topology: Path | None, edges: str | None, console: Screen) -> None:
    """Frames, species and box as every other verb reads them; a broken frame is named."""
    from propensity.cli.annotate import parse_box
    from propensity.trajectory import open_trajectory

    frames = open_trajectory(path, topology, box=parse_box(edges))
    first, n = None, 0
    with Progress(console=Screen(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        for frame in frames:
            first, n = first or frame, n + 1
            bar.update(task, completed=n / frames.total if frames.total else frames.done or 0.0)
    if first is None:
        raise DataError(f"{path} holds no frames: give data, a model or a trajectory.")
    box = _box(first.positions, first.cell, first.pbc) if first.cell.any() else "none: give one by --box"
    shown = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    shown.add_row("frames", str(n))
    shown.add_row("particles", f"{len(first)} ({_species(first)})")
    shown.add_row("box", box)
    console.print(shown)


def _species(frame: Any) -> str:
    """How often each label occurs, by the column that names them best."""
    if not frame.labels:
        return "nothing names their species"
    labels = [column.tolist() for column in frame.labels.values()]
    named = next((column for column in labels if isinstance(column[0], str)), labels[0])
    return ", ".join(f"{label}: {count}" for label, count in sorted(Counter(named).items(), key=str))


def _box(positions: Any, cell: Any, pbc: Any) -> str:
    """Edges of the box; of a planar system those in the plane, and the density there."""
    import numpy as np

    from propensity.structure import Structure

    structure = Structure(positions, np.zeros(len(positions), int), cell, pbc)
    edges = np.linalg.norm(structure.cell[structure.directions], axis=1)
    text = " × ".join(f"{edge:.6g}" for edge in edges)
    if structure.dimension == 3:
        return text
    density = "" if structure.density is None else f", density {structure.density:.5g} per area"
    return f"{text} in two dimensions{density}"
