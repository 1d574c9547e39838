"""Types that change along a trajectory (swap Monte Carlo): MDAnalysis reads those of the first frame only."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np

from propensity.errors import InputError


def refuse_varying_types(trajectory: Any) -> None:
    """Refuse a LAMMPS dump or GSD file whose types differ in its first, middle or last frame.

    A dump whose types MDAnalysis reads along (``additional_columns=["type"]``) is fine.

    Raises
    ------
    InputError
        With the way to read them.
    """
    last = len(trajectory) - 1
    if last < 1 or "type" in trajectory.ts.data:
        return
    read = {"LAMMPSDUMP": _dump_types, "GSD": _gsd_types}.get(getattr(trajectory, "format", ""))
    if read is None:
        return
    first = read(trajectory, 0)
    for k in sorted({last // 2, last} - {0}):
        types = read(trajectory, k)
        if first is not None and types is not None and not np.array_equal(first, types):
            how = (
                'open the universe with additional_columns=["type"]'
                if trajectory.format == "LAMMPSDUMP"
                else "use `propensity annotate`, which reads GSD itself"
            )
            raise InputError(
                f"particles change their types between frames 0 and {k}, and MDAnalysis knows those of the"
                f" first only: {how}."
            )


def _dump_types(trajectory: Any, frame: int) -> np.ndarray | None:
    """Types of a frame of a LAMMPS dump by ascending id; None where they can't be found."""
    from MDAnalysis.lib.util import openany

    offsets = getattr(trajectory, "_offsets", None)
    if offsets is None:
        return None
    with openany(trajectory.filename) as stream:
        stream.seek(offsets[frame])
        header = []
        for line in islice(stream, 20):
            header.append(line)
            if line.startswith("ITEM: ATOMS"):
                break
        columns = header[-1].split()[2:]
        if "type" not in columns or "id" not in columns:
            return None
        rows = [line.split() for line in islice(stream, trajectory.n_atoms)]
    order = np.argsort([int(row[columns.index("id")]) for row in rows])
    return np.array([row[columns.index("type")] for row in rows])[order]


def _gsd_types(trajectory: Any, frame: int) -> np.ndarray | None:
    stored = getattr(trajectory, "_file", None)
    return None if stored is None else np.asarray(stored[frame].particles.typeid)
