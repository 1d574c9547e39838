"""Reader of the data set of Bapst et al., Nature Physics 16, 448 (2020): one pickle a structure."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from propensity.data.entry import Entry, structure_of
from propensity.data.formats.base import Format, split_of
from propensity.data.formats.pickles import load_pickle
from propensity.errors import DataError
from propensity.physics.isoconfigurational import average_runs
from propensity.sample import Sample
from propensity.structure import Structure

SUFFIXES = (".pickle", ".pkl")
#: Plain truncated Lennard-Jones, Kob–Andersen parameters.
POTENTIAL = "lj/cut"


def bapst_entries(path: str | os.PathLike[str], name: str | None = None) -> list[Entry]:
    """The one structure of a file; train or test is read from the names of its folders."""
    path = Path(path)
    split, name = split_of(path), name or path.stem
    return [Entry(name, partial(read_bapst, path, name, split), split=split)]


def read_bapst(path: str | os.PathLike[str], name: str | None = None, split: str | None = None) -> Sample:
    """Read one structure with the propensities at every time that the file has runs or ready targets for.

    Runs are unwrapped positions, so displacements are plain differences.  Times are
    ``time[time_indices]``; they differ from file to file, since they are those at which F_s of this
    very structure takes the values ``is_values`` (which ends with 1/e, so times are sorted here).

    Raises
    ------
    DataError
        When the pickle isn't plain numpy data, lacks a field, or contradicts itself.
    """
    path = Path(path)
    raw = load_pickle(path)
    where = str(path)
    if not isinstance(raw, dict):
        raise DataError(f"{where} holds a {type(raw).__name__} instead of the dict of the Bapst data set.")
    positions = _array(raw, "positions", where)
    types = _array(raw, "types", where)
    box = _array(raw, "box", where)
    if box.shape != (3,) or not (box > 0).all():
        raise DataError(f"{where}: box is {box.tolist()} instead of three positive edges.")
    structure = structure_of(where, positions, types, box)
    times, fs = _times(raw, where)
    labels = _Labels(raw, len(times), structure, where)
    order = np.argsort(times[: labels.n_times])
    return Sample(
        structure=structure,
        times=times[order],
        propensities=labels.propensities[:, order],
        name=name or path.stem,
        halves=labels.halves[..., order] if labels.runs else None,
        squared_displacement=labels.squares[:, order] if labels.runs else None,
        n_runs=labels.n_runs,
        temperature=_temperature(raw, where),
        potential=POTENTIAL,
        fs=fs[order],
        tau_alpha=_tau_alpha(times[: labels.n_times], fs[: labels.n_times]),
        split=split,
        source=f"{path.name} (Bapst et al. 2020)",
    )


class _Labels:
    """Propensities (N, T) from runs and ready targets, for as many times as the file has either; from runs
    also their halves and squared displacements.
    """

    def __init__(self, raw: dict[str, Any], n_times: int, structure: Structure, where: str) -> None:
        self.targets = _lists(raw, "targets", n_times, where)
        self.runs = _lists(raw, "trajectory_target_positions", n_times, where)
        self.n_times = max(len(self.targets), len(self.runs))
        if self.n_times == 0:
            raise DataError(
                f"{where} has neither targets nor trajectory_target_positions: no propensities to read."
            )
        shape = (len(structure), self.n_times)
        self.propensities, self.squares = np.full(shape, np.nan), np.full(shape, np.nan)
        self.halves = np.full((2, *shape), np.nan)
        self.n_runs: int | None = None
        for k, runs in enumerate(self.runs):
            self._average(k, runs, structure, where)
        for k, target in enumerate(self.targets):
            self._take(k, target, where)

    def _average(self, k: int, runs: Any, structure: Structure, where: str) -> None:
        if not isinstance(runs, (list, np.ndarray)):
            raise DataError(f"{where}: runs at time {k} are not a list of arrays.")
        if any(not _is_numeric(run) for run in runs):
            raise DataError(f"{where}: runs at time {k} are not arrays of numbers.")
        edges = np.diag(structure.cell)
        averages = average_runs(structure.positions, runs, structure.types, edges, f"{where}, time {k}")
        self.propensities[:, k], self.halves[..., k] = averages.propensity, averages.halves
        self.squares[:, k] = averages.squared_displacement
        if self.n_runs not in (None, averages.n_runs):
            raise DataError(f"{where}: {averages.n_runs} runs at time {k} and {self.n_runs} at time 0.")
        self.n_runs = averages.n_runs

    def _take(self, k: int, target: Any, where: str) -> None:
        n = len(self.propensities)
        target = np.asarray(target, dtype=np.float64) if _is_numeric(target) else np.zeros(0)
        if target.shape != (n,):
            raise DataError(f"{where}: targets[{k}] is not an array of {n} numbers.")
        known = self.propensities[:, k]
        if k < len(self.runs) and not np.allclose(target, known, rtol=1e-3, atol=1e-3):
            raise DataError(f"{where}: targets[{k}] contradicts the propensities of the runs at that time.")
        self.propensities[:, k] = target


def _lists(raw: dict[str, Any], label: str, n_times: int, where: str) -> list[Any]:
    """A value for each of the first times; none where the file has none."""
    values = raw.get(label)
    if values is not None and (not isinstance(values, list) or len(values) > n_times):
        raise DataError(f"{where}: {label} is not a list of at most {n_times} times.")
    return values or []


def _times(raw: dict[str, Any], where: str) -> tuple[np.ndarray, np.ndarray]:
    time, indices = (np.asarray(_numbers(raw, key, where)) for key in ("time", "time_indices"))
    if indices.dtype.kind not in "iu" or len(indices) == 0 or indices.min() < 0 or indices.max() >= len(time):
        raise DataError(f"{where}: time_indices don't index the {len(time)} values of time.")
    times = time[indices].astype(np.float64)
    if len(np.unique(times)) < len(times):
        raise DataError(f"{where}: time_indices name one time twice.")
    levels = np.asarray(_numbers(raw, "is_values", where), dtype=np.float64) if "is_values" in raw else None
    if levels is None:
        levels = np.full(len(times), np.nan)
    elif levels.shape != times.shape:
        raise DataError(f"{where}: {len(levels)} is_values for {len(times)} time_indices.")
    return times, levels


def _tau_alpha(times: np.ndarray, fs: np.ndarray) -> float | None:
    """Time at which F_s = 1/e."""
    at = np.flatnonzero(np.abs(fs - np.exp(-1)) < 1e-3)
    return float(times[at[0]]) if len(at) else None


def _temperature(raw: dict[str, Any], where: str) -> float | None:
    metadata = raw.get("metadata")
    value = metadata.get("temperature") if isinstance(metadata, dict) else None
    if value is None:
        return None
    if np.ndim(value) == 0 and isinstance(value, (int, float, np.integer, np.floating, np.ndarray)):
        number = float(value) if not isinstance(value, np.ndarray) or _is_numeric(value) else np.nan
        if np.isfinite(number) and number > 0:
            return number
    raise DataError(f"{where}: metadata give the temperature as {str(value)[:60]!r} instead of a number.")


def _is_numeric(value: Any) -> bool:
    """Whether something is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "iuf"


def _array(raw: dict[str, Any], key: str, where: str) -> np.ndarray:
    if not _is_numeric(raw.get(key)):
        raise DataError(f"{where} has no array {key!r}: it is not a structure of the Bapst data set.")
    return cast("np.ndarray", raw[key])


def _numbers(raw: dict[str, Any], key: str, where: str) -> Any:
    value = raw.get(key)
    if value is not None and _is_numeric(value) and value.ndim == 1:
        return value
    if isinstance(value, list) and all(isinstance(item, (int, float, np.number)) for item in value):
        return value
    raise DataError(f"{where} has no list of numbers {key!r}: it is not a structure of the Bapst data set.")


FORMAT = Format(
    suffixes=SUFFIXES,
    recognises=lambda path, keys: path.suffix.lower() in SUFFIXES,
    entries=lambda paths, name, labels: bapst_entries(paths[0], name),
)
