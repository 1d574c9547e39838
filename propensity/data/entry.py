"""Entry: where one structure of a data set is, how to load it, and what is known without loading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from propensity.errors import DataError, InputError
from propensity.sample import Sample
from propensity.structure import Structure

#: Times closer than this (relative) are the same time.
SAME_TIME = 1e-3


@dataclass(frozen=True, eq=False)
class Header:
    """What describes a sample besides its arrays; fields as in :class:`~propensity.data.Sample`."""

    times: np.ndarray
    fs: np.ndarray
    tau_alpha: float | None = None
    temperature: float | None = None
    potential: str | None = None

    @classmethod
    def of(cls, sample: Sample) -> Header:
        """Header of a loaded sample."""
        return cls.make(sample.times, sample.fs, sample.tau_alpha, sample.temperature, sample.potential)

    @classmethod
    def make(
        cls,
        times: np.ndarray,
        fs: np.ndarray | None,
        tau_alpha: float | None,
        temperature: float | None,
        potential: str | None,
    ) -> Header:
        """Header with NaN for unknown F_s levels."""
        times = np.asarray(times, dtype=float)
        levels = np.full(len(times), np.nan) if fs is None else np.asarray(fs, dtype=float)
        return cls(times, levels, tau_alpha, temperature, potential)


@dataclass(frozen=True, eq=False)
class Entry:
    """One structure of a data set; pickles, so that worker processes can load it.

    Parameters
    ----------
    name
        Unique within a data set.
    load
        Function without arguments that returns the sample.
    split, group
        As in :class:`~propensity.data.Sample`.
    header
        None where only loading tells.
    """

    name: str
    load: Callable[[], Sample]
    split: str | None = None
    group: str | None = None
    header: Header | None = None


def aligned(headers: Sequence[Header]) -> bool:
    """Whether column k means the same for all: equal times, or equal F_s levels."""
    if len({len(header.times) for header in headers}) > 1:
        return False
    times = np.array([header.times for header in headers])
    if np.allclose(times, times[:1], rtol=SAME_TIME, atol=0):
        return True
    fs = np.array([header.fs for header in headers])
    return bool(np.allclose(fs, fs[:1], atol=1e-6))


def structure_of(where: str, positions: Any, types: Any, cell: Any, diameters: Any = None) -> Structure:
    """Periodic structure of a file; what is wrong with it is said of ``where``.

    Raises
    ------
    DataError
        For positions, types or a cell that are none.
    """
    try:
        return Structure(positions, types, cell, diameters=diameters)
    except InputError as error:
        raise DataError(f"{where}: {error}") from None
