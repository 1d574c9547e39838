"""``propensity info``: what a data file, model or trajectory holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress
from rich.table import Table

from propensity.cli.screen import Screen
from propensity.errors import DataError
from propensity.estimators.places import SHIPPED, shipped_models


@click.command(name="info")
@click.argument("path", type=str)
@click.argument("topology", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--labels",
    type=click.Choice(["published"]),
    help="Take the published labels of an npz set that holds two.",
)
def command(path: str, topology: Path | None, labels: str | None) -> None:
    """Say what PATH holds: labelled data of any format or a folder of it, a model, or a trajectory.

    TOPOLOGY names the particles of a trajectory that doesn't, such as XTC.
    """
    console = Screen(highlight=False)
    if topology is None and _is_model(path):
        _model(path, console)
    elif not Path(path).exists():
        raise DataError(
            f"{path} is neither a file or folder nor a shipped model ({', '.join(shipped_models())})."
        )
    elif topology is None and (Path(path).is_dir() or _is_data(Path(path))):
        _data(path, labels, console)
    else:
        from propensity.files import regular

        _trajectory(regular(path), topology, console)


def _is_model(path: str) -> bool:
    folder = Path(path).parent if Path(path).name == "model.json" else Path(path)
    return folder.suffix == ".safetensors" or any(
        (f / "model.json").exists() for f in (folder, SHIPPED / path)
    )


def _is_data(path: Path) -> bool:
    from propensity.data.opening import suffixes
    from propensity.data.store.reader import is_store

    suffix = path.suffix.lower()
    return path.is_file() and suffix in suffixes() and (suffix not in (".h5", ".hdf5") or is_store(path))


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
        console.print(report.facts(summary))
        console.print(report.labels(summary))
        console.print()


def _model(path: str, console: Screen) -> None:
    from propensity.estimators.storage import load_card, model_files

    weights, description = model_files(path)
    card = load_card(description)
    shown = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    skipped = {"format_version", "target_mean", "target_std"}
    for name, value in card.model_dump(mode="json").items():
        if name not in skipped and value not in (None, "", [], {}):
            shown.add_row(name.replace("_", " "), _text(value))
    if weights.exists():
        shown.add_row("weights", f"{weights.stat().st_size / 1e6:.3f} MB")
    console.print(shown)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _trajectory(path: Path, topology: Path | None, console: Screen) -> None:
    frames, species, box = _read_ase(path) if topology is None else (None, None, None)
    if frames is None:
        frames, species, box = _read_mdanalysis(path, topology)
    shown = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    shown.add_column(style="bold")
    shown.add_column()
    shown.add_row("frames", str(frames))
    assert species is not None
    shown.add_row(
        "particles", f"{sum(species.values())} ({', '.join(f'{k}: {v}' for k, v in species.items())})"
    )
    shown.add_row("box", box or "none")
    console.print(shown)


def _read_ase(path: Path) -> tuple[int | None, Counter[str] | None, str | None]:
    """Frames, species and box of the first frame; None where ASE doesn't know the format."""
    import ase.io
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        if filetype(str(path)) not in ("extxyz", "traj", "xyz", "vasp", "cif", "proteindatabank"):
            return None, None, None
        n, first = 0, None
        for atoms in ase.io.iread(path, index=":"):
            first = first or atoms
            n += 1
    except UnknownFileTypeError:
        return None, None, None
    except Exception as error:
        raise DataError(f"{path} can't be read by ASE ({_short(error)}).") from None
    if first is None:
        raise DataError(f"{path} holds no frames.")
    box = _box(first.positions, first.cell.array, first.pbc) if first.cell.rank else None
    return n, Counter(first.get_chemical_symbols()), box


def _read_mdanalysis(path: Path, topology: Path | None) -> tuple[int, Counter[str], str | None]:
    import warnings

    import MDAnalysis

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if topology is not None:
                universe = MDAnalysis.Universe(str(topology), str(path))
            else:
                known = {".lammpstrj": "LAMMPSDUMP", ".dump": "LAMMPSDUMP"}
                kind = known.get(path.suffix.lower())
                options = {"topology_format": kind, "format": kind} if kind else {}
                universe = MDAnalysis.Universe(str(path), **options)
            frames, ts = len(universe.trajectory), universe.trajectory.ts
            names = universe.atoms.types if hasattr(universe.atoms, "types") else universe.atoms.names
            species = Counter(str(name) for name in names)
    except Exception as error:
        hint = (
            "" if topology else " (formats without names, such as XTC, need a topology: info PATH TOPOLOGY)"
        )
        raise DataError(
            f"{path} is neither data, a model nor a trajectory that can be read{hint}: {_short(error)}."
        ) from None
    boxed = ts.dimensions is not None and ts.triclinic_dimensions.any()
    box = _box(ts.positions, ts.triclinic_dimensions, True) if boxed else None
    return frames, species, box


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


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).split(", ")[0].split(". ")[0][:120] or type(error).__name__
