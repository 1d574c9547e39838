"""Labels of further isoconfigurational runs of the same structures, averaged into those that are known."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from propensity.data.entry import SAME_TIME, Entry
from propensity.data.opening import open_dataset
from propensity.errors import DataError
from propensity.sample import Sample

#: Positions of the same particle in two files may differ by this, in σ: both are rounded.
SAME_PLACE = 1e-3


class FurtherRuns:
    """Data sets of further runs; structures are found by name and compared by position.

    Parameters
    ----------
    paths
        Data sets, such as ``propensity simulate --start-from`` makes them.

    Raises
    ------
    DataError
        When one can't be read.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self.entries: list[dict[str, Entry]] = [
            {entry.name: entry for entry in open_dataset(path).entries} for path in paths
        ]

    def check(self, names: Sequence[str]) -> None:
        """Refuse further runs of structures that are not among ``names``.

        Raises
        ------
        DataError
            Naming one of them.
        """
        for name in {name for known in self.entries for name in known} - {*names}:
            raise DataError(f"further runs are given of {name}, which is none of the structures.")

    def added(self, sample: Sample) -> Sample:
        """The sample with the labels of all its runs, and ``n_runs`` of the time that has fewest.

        Raises
        ------
        DataError
            When positions differ, or a number of runs is unknown.
        """
        counts = None
        for known in self.entries:
            if sample.name in known:
                if counts is None:
                    counts = np.full(len(sample.times), float(_runs(sample)))
                sample, counts = _joined(sample, known[sample.name].load(), counts)
        return sample if counts is None else replace(sample, n_runs=int(counts.min()))


def _joined(sample: Sample, more: Sample, counts: np.ndarray) -> tuple[Sample, np.ndarray]:
    """Averages over the runs of both at the times that both have, and how many runs each time has now."""
    a, b = sample.structure, more.structure
    same = len(a) == len(b) and np.array_equal(a.types, b.types) and np.allclose(a.cell, b.cell, atol=1e-4)
    if same:
        apart = (b.positions - a.positions) @ np.linalg.inv(a.cell)
        same = bool(np.abs((apart - np.round(apart)) @ a.cell).max() < SAME_PLACE)
    if not same:
        raise DataError(f"{sample.name}: further runs start from other positions, types or another box.")
    out, n = counts.copy(), _runs(more)
    arrays = {
        name: getattr(sample, name) for name in ("propensities", "halves", "squared_displacement", "fs")
    }
    arrays = {name: array.copy() for name, array in arrays.items() if array is not None}
    for k, time in enumerate(sample.times):
        j = int(np.abs(more.times / time - 1).argmin())
        if abs(more.times[j] / time - 1) > SAME_TIME:
            continue
        out[k] += n
        for name, array in arrays.items():
            other = getattr(more, name)
            if other is None:
                array[..., k] = np.nan  # unknown over all runs
            else:
                array[..., k] += (other[..., j] - array[..., k]) * (n / out[k])
    return replace(sample, **arrays), out


def _runs(sample: Sample) -> int:
    if sample.n_runs is None:
        raise DataError(f"{sample.name}: how many runs its labels have is unknown, so none can be added.")
    return sample.n_runs
