"""Reader of npz archives with many labelled structures of one liquid (``positions`` of shape (C, N, 3))."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from propensity.data.entry import Entry, Header, structure_of
from propensity.data.formats.archive import read_npz
from propensity.data.formats.base import Format
from propensity.errors import DataError, InputError
from propensity.sample import Sample

REQUIRED = ("positions", "types", "box", "times", "propensity")


def is_ka3d(keys: Sequence[str]) -> bool:
    """Whether an archive with these arrays is of this format."""
    return set(REQUIRED) <= set(keys)


def ka3d_entries(path: str | os.PathLike, labels: str | None = None) -> list[Entry]:
    """Entries of an archive; ``labels="published"`` takes ``published_propensity_tau``, at τ_α only."""
    path = Path(path)
    data = _checked(path, labels)
    stem = path.stem
    split = next((part for part in ("train", "valid", "test") if stem.endswith(f"_{part}")), None)
    times = _times(data, labels)
    header = Header.make(
        times,
        _levels(data, labels),
        _number(data, "tau_alpha"),
        _number(data, "temperature"),
        _text(data, "potential"),
    )
    width = len(str(len(data["positions"]) - 1))
    return [
        Entry(
            name=f"{stem}/{i:0{width}d}",
            load=partial(read_ka3d, path, i, f"{stem}/{i:0{width}d}", split, labels),
            split=split,
            group=_group(data, i),
            header=header,
        )
        for i in range(len(data["positions"]))
    ]


def read_ka3d(
    path: str | os.PathLike, index: int, name: str, split: str | None = None, labels: str | None = None
) -> Sample:
    """Read structure ``index`` of an archive.

    Raises
    ------
    DataError
        When arrays are missing, damaged or of shapes that don't fit together.
    """
    path = Path(path)
    data = _checked(path, labels)
    times = _times(data, labels)
    n, t = data["positions"].shape[1], len(times)
    tau = int(data["tau_index"]) if "tau_index" in data else None
    published = labels == "published"
    halves = squares = None
    if published:
        propensities = data["published_propensity_tau"][index][:, None]
        if "published_tau_halves" in data:
            halves = data["published_tau_halves"][index][:, :, None]
        n_runs = data.get("published_n_runs")
    else:
        propensities = data["propensity"][index].T
        n_runs = data.get("n_runs")
        if "propensity_halves" in data:
            halves = data["propensity_halves"][index].transpose(0, 2, 1)
        elif tau is not None and "propensity_tau_halves" in data:
            halves = np.full((2, n, t), np.nan)
            halves[:, :, tau] = data["propensity_tau_halves"][index]
        if "squared_displacement" in data:
            stored = data["squared_displacement"][index]
            if stored.ndim == 2:
                squares = stored.T
            elif tau is not None:
                squares = np.full((n, t), np.nan)
                squares[:, tau] = stored
    types = data["types"]
    return Sample(
        structure=structure_of(
            f"{path}[{index}]",
            data["positions"][index],
            types if types.ndim == 1 else types[index],
            data["box"],
        ),
        times=times,
        propensities=np.array(propensities, dtype=np.float64),
        name=name,
        inherent_positions=_optional(data, "inherent_positions", index),
        halves=None if halves is None else np.array(halves, dtype=np.float64),
        squared_displacement=None if squares is None else np.array(squares, dtype=np.float64),
        n_runs=None if n_runs is None else int(n_runs),
        temperature=_number(data, "temperature"),
        potential=_text(data, "potential"),
        fs=_levels(data, labels),
        tau_alpha=_number(data, "tau_alpha"),
        split=split,
        group=_group(data, index),
        source=f"{path.name}[{index}]" + (", published labels" if published else ""),
    )


def _checked(path: Path, labels: str | None) -> dict[str, np.ndarray]:
    data = read_npz(path)
    missing = [key for key in REQUIRED if key not in data]
    if missing:
        raise DataError(f"{path} lacks the arrays {missing}.")
    if labels not in (None, "published"):
        raise InputError(f"labels are {labels!r}: choose None (the file's own) or 'published'.")
    if labels == "published" and "published_propensity_tau" not in data:
        raise InputError(f"{path} has no published labels: open it without labels='published'.")
    positions, propensity = data["positions"], data["propensity"]
    if positions.ndim != 3 or positions.shape[2] != 3:
        raise DataError(f"{path}: positions have shape {positions.shape} instead of (structures, N, 3).")
    structures, n, _ = positions.shape
    expected = (structures, len(data["times"]), n)
    if propensity.shape != expected:
        raise DataError(f"{path}: propensity has shape {propensity.shape} instead of {expected}.")
    return data


def _times(data: dict[str, np.ndarray], labels: str | None) -> np.ndarray:
    times = np.asarray(data["times"], dtype=np.float64)
    return times[[int(data["tau_index"])]] if labels == "published" else times


def _levels(data: dict[str, np.ndarray], labels: str | None) -> np.ndarray | None:
    """F_s levels where the archive has them."""
    if "fs" not in data:
        return None
    levels = np.asarray(data["fs"], dtype=np.float64)
    return levels[[int(data["tau_index"])]] if labels == "published" else levels


def _group(data: dict[str, np.ndarray], index: int) -> str | None:
    """Children of a structure are correlated with it and with each other: one name for all of them."""
    for key in ("parent_structure", "structure_id"):
        if key in data:
            return group_name(_number(data, "temperature"), int(data[key][index]))
    return None


def group_name(temperature: float | None, structure: int) -> str:
    """Name shared by a public structure and all that descend from it."""
    return f"structure {structure}" if temperature is None else f"T{temperature:g} structure {structure}"


def _number(data: dict[str, np.ndarray], key: str) -> float | None:
    return float(data[key]) if key in data else None


def _text(data: dict[str, np.ndarray], key: str) -> str | None:
    return str(data[key]) if key in data else None


def _optional(data: dict[str, np.ndarray], key: str, index: int) -> np.ndarray | None:
    return np.asarray(data[key][index], dtype=np.float64) if key in data else None


FORMAT = Format(
    suffixes=(".npz",),
    recognises=lambda path, keys: is_ka3d(keys),
    entries=lambda paths, name, labels: ka3d_entries(paths[0], labels),
    label_sets=("published",),
)
