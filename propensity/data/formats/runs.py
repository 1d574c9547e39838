"""Files of one structure with the runs at one time each, as BOTAN and GlassBench lay them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from propensity.data.formats.archive import array, read_npz
from propensity.errors import DataError
from propensity.physics.isoconfigurational import average_runs


def structure_name(name: str) -> str:
    """Name of a file without its time: files that share it are one structure at several times."""
    return re.sub(r"_tc\d+$", "", name)


def average_files(
    paths: Sequence[Path],
    types: np.ndarray,
    box: np.ndarray,
    time: Callable[[Path, dict[str, np.ndarray]], float],
    *,
    wrapped: bool = False,
) -> dict[str, Any]:
    """Average ``positions`` (runs, N, d) of every file from its ``initial_positions`` (N, d).

    Parameters
    ----------
    paths
        Archives that start from one configuration.
    types, box, wrapped
        As in :func:`~propensity.physics.isoconfigurational.average_runs`.
    time
        From a file and its arrays to its time.

    Returns
    -------
    dict
        Fields of a :class:`~propensity.sample.Sample`, in order of time.

    Raises
    ------
    DataError
        When a file is damaged, files start from different configurations, or a time occurs twice.
    """
    first, found = read_npz(paths[0]), []
    for path in paths:
        data = read_npz(path)
        keys = ("initial_positions", "types", "box")
        if data is not first and not all(np.array_equal(first.get(k, []), data.get(k, [])) for k in keys):
            raise DataError(f"{path} and {paths[0]} start from different configurations, but share a name.")
        initial = data["initial_positions"]
        runs = array(data, "positions", path, (None, *initial.shape))
        found.append((time(path, data), average_runs(initial, runs, types, box, str(path), wrapped=wrapped)))
    found.sort(key=lambda pair: pair[0])
    times = np.array([t for t, _ in found])
    if (np.diff(times) == 0).any():
        raise DataError(f"{paths[0]} and its siblings give one time twice: {times.tolist()}.")
    averages = [a for _, a in found]
    return {
        "times": times,
        "propensities": np.stack([a.propensity for a in averages], axis=-1),
        "halves": np.stack([a.halves for a in averages], axis=-1),
        "squared_displacement": np.stack([a.squared_displacement for a in averages], axis=-1),
        "n_runs": min(a.n_runs for a in averages),
        "fs": np.array([a.fs for a in averages]),
    }
