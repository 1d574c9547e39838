"""Reader of npz archives with many labelled structures of one liquid (``positions`` of shape (C, N, 3)).

Arrays: ``positions`` (C, N, 3), or (C, N, 2) in a plane; ``types`` (N,) or (C, N), from 0; ``box`` for all,
as a number, (3,) or (3, 3), or for each structure, (C, 3) or (C, 3, 3); ``times`` (T,); ``propensity`` (C, T,
N); and what is known of ``species`` (names in the order of the types; default A, B, C, ...),
``inherent_positions``, ``propensity_halves`` (C, 2, T, N), ``squared_displacement`` (C, T, N), ``n_runs``,
``temperature``, ``potential``, ``fs`` (T,), ``tau_alpha``, ``diameters`` (N,) or (C, N).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from propensity.data.entry import Entry, Header, structure_of
from propensity.data.formats.archive import array, integer, read_npz, read_number, text
from propensity.data.formats.base import Format
from propensity.dimension import in_space
from propensity.errors import DataError, InputError
from propensity.sample import Sample

REQUIRED = ("positions", "types", "box", "times", "propensity")


def is_ka3d(keys: Sequence[str]) -> bool:
    """Whether an archive with these arrays is of this format."""
    return set(REQUIRED) <= set(keys)


def ka3d_entries(path: str | os.PathLike[str], labels: str | None = None) -> list[Entry]:
    """Entries of an archive; ``labels="published"`` takes ``published_propensity_tau``, at τ_α only."""
    path = Path(path)
    data = _checked(path, labels)
    stem = path.stem
    split = next((part for part in ("train", "valid", "test") if stem.endswith(f"_{part}")), None)
    header = Header.make(
        _times(data, path, labels),
        _levels(data, path, labels),
        read_number(data, "tau_alpha", path),
        read_number(data, "temperature", path),
        text(data, "potential", path),
    )
    width = len(str(len(data["positions"]) - 1))
    return [
        Entry(
            name=f"{stem}/{i:0{width}d}",
            load=partial(read_ka3d, path, i, f"{stem}/{i:0{width}d}", split, labels),
            split=split,
            group=_group(data, path, i),
            header=header,
        )
        for i in range(len(data["positions"]))
    ]


def read_ka3d(
    path: str | os.PathLike[str], index: int, name: str, split: str | None = None, labels: str | None = None
) -> Sample:
    """Read structure ``index`` of an archive.

    Raises
    ------
    DataError
        When arrays are missing, damaged, of other kinds than they should be, or of shapes that don't fit
        together.
    """
    path = Path(path)
    data = _checked(path, labels)
    times = _times(data, path, labels)
    published = labels == "published"
    if published:
        propensities, halves = _published_labels(data, path, index)
        squares = None
    else:
        propensities, halves, squares = _labels(data, path, index, len(times))
    types = data["types"]
    return Sample(
        structure=structure_of(
            f"{path}[{index}]",
            data["positions"][index],
            types if types.ndim == 1 else types[index],
            _box(data, index),
            _diameters(data, path, index),
        ),
        times=times,
        propensities=np.array(propensities, dtype=np.float64),
        name=name,
        species=_species(data),
        inherent_positions=_inherent(data, path, index),
        halves=halves,
        squared_displacement=squares,
        n_runs=integer(data, "published_n_runs" if published else "n_runs", path, 1),
        temperature=read_number(data, "temperature", path),
        potential=text(data, "potential", path),
        fs=_levels(data, path, labels),
        tau_alpha=read_number(data, "tau_alpha", path),
        split=split,
        group=_group(data, path, index),
        source=f"{path.name}[{index}]" + (", published labels" if published else ""),
    )


def _labels(
    data: dict[str, np.ndarray], path: Path, index: int, n_times: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The file's own propensities (N, T), half-ensemble means (2, N, T), squared displacements (N, T)."""
    n_structures, n = data["positions"].shape[:2]
    tau = integer(data, "tau_index", path, 0, n_times)
    halves = squares = None
    if "propensity_halves" in data:
        found = array(data, "propensity_halves", path, (n_structures, 2, n_times, n))[index]
        halves = np.array(found.transpose(0, 2, 1), dtype=np.float64)
    elif tau is not None and "propensity_tau_halves" in data:
        halves = np.full((2, n, n_times), np.nan)
        halves[:, :, tau] = array(data, "propensity_tau_halves", path, (n_structures, 2, n))[index]
    if "squared_displacement" in data:
        if data["squared_displacement"].ndim == 3:
            found = array(data, "squared_displacement", path, (n_structures, n_times, n))[index]
            squares = np.array(found.T, dtype=np.float64)
        elif tau is not None:
            squares = np.full((n, n_times), np.nan)
            squares[:, tau] = array(data, "squared_displacement", path, (n_structures, n))[index]
    return data["propensity"][index].T, halves, squares


def _published_labels(
    data: dict[str, np.ndarray], path: Path, index: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Published propensities (N, 1) at τ_α, and half-ensemble means (2, N, 1) where there are any."""
    n_structures, n = data["positions"].shape[:2]
    halves = None
    if "published_tau_halves" in data:
        found = array(data, "published_tau_halves", path, (n_structures, 2, n))[index]
        halves = np.array(found[:, :, None], dtype=np.float64)
    return array(data, "published_propensity_tau", path, (n_structures, n))[index][:, None], halves


def _checked(path: Path, labels: str | None) -> dict[str, np.ndarray]:
    data = read_npz(path)
    missing = [key for key in REQUIRED if key not in data]
    if missing:
        raise DataError(f"{path} lacks the arrays {missing}.")
    if labels not in (None, "published"):
        raise InputError(f"labels are {labels!r}: choose None (the file's own) or 'published'.")
    if labels == "published" and "published_propensity_tau" not in data:
        raise InputError(f"{path} has no published labels: open it without labels='published'.")
    flat = data["positions"].ndim == 3 and data["positions"].shape[2] == 2
    structures, n, _ = array(data, "positions", path, (None, None, 2 if flat else 3)).shape
    times = array(data, "times", path, (None,))
    if not len(times) or not np.isfinite(times).all() or times.min() <= 0:
        raise DataError(f"{path}: times are {times[:8].tolist()} instead of positive numbers.")
    array(data, "propensity", path, (structures, len(times), n))
    array(data, "types", path, (n,) if data["types"].ndim == 1 else (structures, n), "iu")
    if data["types"].size and data["types"].min() == 1 and "species" not in data:
        raise DataError(
            f"{path}: types begin with 1: count species from 0, or name one for type 0, too, in an array"
            " species."
        )
    box = array(data, "box", path).shape
    if box not in ((), (2,), (2, 2), (3,), (3, 3)) and box[:1] != (structures,):
        raise DataError(
            f"{path}: box has shape {box}: give one for all, (), (3,) or (3, 3), or one for each of the"
            f" {structures} structures."
        )
    if "species" in data and len(_species(data)) <= int(data["types"].max()):
        raise DataError(
            f"{path}: types go up to {int(data['types'].max())}, but species names only"
            f" {list(_species(data))}."
        )
    return data


def _box(data: dict[str, np.ndarray], index: int) -> np.ndarray:
    """Box of one structure: its own, or that of all."""
    box, structures = data["box"], len(data["positions"])
    own = box.ndim == 3 or (box.ndim == 2 and box.shape[0] == structures)
    if own and box.shape == (3, 3) and (box == 0).any():
        own = False  # three cell vectors of which some components are 0; edges are not
    return box[index] if own else box


def _diameters(data: dict[str, np.ndarray], path: Path, index: int) -> np.ndarray | None:
    """Diameter of each particle of one structure."""
    if "diameters" not in data:
        return None
    structures, n = data["positions"].shape[:2]
    shape = (n,) if data["diameters"].ndim == 1 else (structures, n)
    found = array(data, "diameters", path, shape)
    return found if found.ndim == 1 else found[index]


def _species(data: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Names of the species; A, B, C, ... where the archive has none."""
    if "species" in data:
        return tuple(str(name) for name in np.atleast_1d(data["species"]))
    # Sizes stand for species; else one type alone is part of a mixture.
    number = max(1 if "diameters" in data else 2, int(data["types"].max()) + 1)
    return tuple(chr(ord("A") + s) if s < 26 else f"species {s + 1}" for s in range(number))


def _times(data: dict[str, np.ndarray], path: Path, labels: str | None) -> np.ndarray:
    times = np.asarray(data["times"], dtype=np.float64)
    return times[[_tau(data, path)]] if labels == "published" else times


def _levels(data: dict[str, np.ndarray], path: Path, labels: str | None) -> np.ndarray | None:
    """F_s levels where the archive has them."""
    if "fs" not in data:
        return None
    levels = np.asarray(array(data, "fs", path, (len(data["times"]),)), dtype=np.float64)
    return levels[[_tau(data, path)]] if labels == "published" else levels


def _tau(data: dict[str, np.ndarray], path: Path) -> int:
    """Index of τ_α, which published labels are at."""
    found = integer(data, "tau_index", path, 0, len(data["times"]))
    if found is None:
        raise DataError(f"{path} doesn't say which time its published labels are at: it lacks tau_index.")
    return found


def _group(data: dict[str, np.ndarray], path: Path, index: int) -> str | None:
    """Children of a structure are correlated with it and with each other: one name for all of them."""
    for key in ("parent_structure", "structure_id"):
        if key in data:
            parents = array(data, key, path, (len(data["positions"]),), "iu")
            return group_name(read_number(data, "temperature", path), int(parents[index]))
    return None


def group_name(temperature: float | None, structure: int) -> str:
    """Name shared by a public structure and all that descend from it."""
    return f"structure {structure}" if temperature is None else f"T{temperature:g} structure {structure}"


def _inherent(data: dict[str, np.ndarray], path: Path, index: int) -> np.ndarray | None:
    if "inherent_positions" not in data:
        return None
    found = array(data, "inherent_positions", path, data["positions"].shape)
    return cast("np.ndarray | None", in_space(np.asarray(found[index], dtype=np.float64)))


FORMAT = Format(
    suffixes=(".npz",),
    recognises=lambda path, keys: is_ka3d(keys),
    entries=lambda paths, name, labels: ka3d_entries(paths[0], labels),
    label_sets=("published",),
)
