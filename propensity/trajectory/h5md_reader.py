"""Frames of H5MD files: those that ``propensity annotate`` writes, with all that they say, and others'."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from propensity.errors import DataError
from propensity.trajectory.frame import Frame
from propensity.trajectory.stream import Frames, numbered_frames

#: Element of H5MD → column of a frame.
_COLUMNS = {
    "id": "id",
    "velocity": "velocities",
    "force": "forces",
    "image": "image",
    "mass": "mass",
    "propensity": "propensity",
    "propensities": "propensities",
    "propensity_std": "propensity_std",
    "propensities_std": "propensities_std",
}
#: What an annotation says of each frame.
_SAID = {"out_of_distribution": bool, "outside": float, "negative": int}


def is_h5md(path: Path) -> bool:
    """Whether a file is H5MD, by its suffix and its group ``h5md``."""
    if path.suffix.lower() not in (".h5", ".hdf5", ".h5md"):
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "h5md" in file and "particles" in file
    except OSError:
        return False


def open_h5md(path: Path, start: int, stop: int | None, step: int) -> Frames:
    """Frames of the one group of particles of a file.

    Raises
    ------
    DataError
        When the file is damaged, or has several groups.
    """
    file = h5py.File(path, "r", locking=False)
    particles = _reading(path, lambda: _only_group(file["particles"]))
    n = _reading(path, lambda: len(particles["position/value"]))
    numbers = range(n)[start:stop:step]
    return numbered_frames(numbers, lambda k: _reading(path, lambda: _frame(file, particles, k)), n - 1)


def _reading(path: Path, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (OSError, KeyError, IndexError, ValueError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} can't be read as H5MD ({reason}): write it again.") from None


def _only_group(groups: h5py.Group) -> h5py.Group:
    if "all" in groups:
        return groups["all"]
    if len(groups) != 1:
        raise ValueError(f"it has the groups of particles {sorted(groups)}, none of them called all")
    return next(iter(groups.values()))


def _frame(file: h5py.File, particles: h5py.Group, k: int) -> Frame:
    position = particles["position"]
    positions = np.asarray(position["value"][k], dtype=float)
    arrays = {
        column: _at(particles[name], k, len(position["value"]))
        for name, column in _COLUMNS.items()
        if name in particles
    }
    # Files of before 0.1.0 call all times "propensity".
    if "propensities" not in arrays and arrays.get("propensity", positions[:, 0]).ndim == 2:
        arrays["propensities"] = arrays["propensity"]
        default = int(particles["propensity"].attrs["default_time_index"])
        arrays["propensity"] = arrays["propensities"][:, default]
    boundary = [_word(edge) for edge in particles["box"].attrs["boundary"]]
    pbc = np.array([edge == "periodic" for edge in boundary])
    cell, origin = np.zeros((3, 3)), None
    if "edges" in particles["box"]:
        edges = np.asarray(_at(particles["box/edges"], k, len(position["value"])), dtype=float)
        cell = edges if edges.ndim == 2 else np.diag(edges)
    if "origin" in particles["box"]:
        found = np.asarray(_at(particles["box/origin"], k, len(position["value"])), dtype=float)
        origin = found if found.any() else None
    step = int(position["step"][k]) if "step" in position and position["step"].shape else None
    time = float(position["time"][k]) if "time" in position and position["time"].shape else None
    return Frame(
        k, positions, cell, pbc, _labels(particles, k), arrays, _info(file, particles, k), step, time, origin
    )


def _at(element: h5py.Group | h5py.Dataset, k: int, n: int) -> np.ndarray:
    """Value of an element that depends on time, or does not."""
    if isinstance(element, h5py.Dataset):
        return np.asarray(element[()])
    if len(element["value"]) != n:
        raise ValueError(f"{element.name} has {len(element['value'])} values for {n} positions")
    return np.asarray(element["value"][k])


def _labels(particles: h5py.Group, k: int) -> dict[str, np.ndarray]:
    if "species" not in particles:
        return {}
    species = _at(particles["species"], k, len(particles["position/value"]))
    key = next((name for name in ("propensities", "propensity") if name in particles), None)
    if key is None or "species" not in particles[key].attrs:
        return {"type": species}
    names = np.array([_word(name) for name in particles[key].attrs["species"]], dtype=object)
    return {"type": names[species]}


def _info(file: h5py.File, particles: h5py.Group, k: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("propensity", "propensities"):
        if name in particles and "times" in particles[name].attrs:
            found["propensity_times"] = np.asarray(particles[name].attrs["times"], dtype=float)
    if "parameters/propensity" in file:
        said = file["parameters/propensity"]
        found |= {f"propensity_{key}": _plain(value) for key, value in said.attrs.items()}
        found |= {f"propensity_{key}": kind(said[key][k]) for key, kind in _SAID.items() if key in said}
    return found


def _word(text: Any) -> str:
    return text.decode() if isinstance(text, bytes) else str(text)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
