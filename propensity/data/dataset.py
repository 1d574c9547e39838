"""Dataset: a lazy sequence of samples, whatever the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import overload

import numpy as np

from propensity.data.entry import Entry
from propensity.data.sample import Sample
from propensity.errors import DataError, InputError, suggest

#: Times closer than this (relative) are the same time.
SAME_TIME = 1e-3


class Dataset(Sequence[Sample]):
    """Samples that are loaded when asked for; slices and lists of indices give smaller data sets.

    Parameters
    ----------
    entries
        One per structure.
    source
        What a user called it, for messages.
    """

    def __init__(self, entries: Iterable[Entry], source: str = "data set") -> None:
        self.entries = tuple(entries)
        self.source = source
        if not self.entries:
            raise DataError(f"{source} holds no structures.")
        double = [name for name, count in Counter(self.names).items() if count > 1]
        if double:
            raise DataError(
                f"{source} has {len(double)} name(s) twice, e.g. {double[0]!r}: give each file once."
            )

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...

    def __getitem__(self, index: int | slice) -> Sample | Dataset:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        return self.entries[index].load()

    def __iter__(self) -> Iterator[Sample]:
        return (entry.load() for entry in self.entries)

    def __repr__(self) -> str:
        return f"<Dataset {self.source}: {len(self)} structure(s)>"

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each structure."""
        return tuple(entry.name for entry in self.entries)

    @property
    def times(self) -> np.ndarray:
        """Times of the labels, shape (T,).

        Where times differ between structures because each has those at which its own F_s takes given
        levels (Bapst et al.), the median over structures.

        Raises
        ------
        DataError
            When structures have different times: choose common ones by :func:`select_times`.
        """
        return self._axis[0]

    @property
    def fs(self) -> np.ndarray:
        """Self-intermediate scattering function at the times, shape (T,), NaN where unknown."""
        return self._axis[1]

    @property
    def _axis(self) -> tuple[np.ndarray, np.ndarray]:
        if not hasattr(self, "_axis_cache"):
            axes = [entry_axis(entry) for entry in self.entries]
            if len({len(times) for times, _ in axes}) > 1:
                raise DataError(
                    f"structures of {self.source} have {_distinct(len(times) for times, _ in axes)} times: "
                    "choose times that all of them have."
                )
            times, fs = (np.array(values) for values in zip(*axes, strict=True))
            middle = np.median(times, axis=0)
            same_times = np.allclose(times, middle, rtol=SAME_TIME)
            same_levels = np.allclose(fs, fs[:1], atol=1e-6)
            if not (same_times or same_levels):
                raise DataError(
                    f"structures of {self.source} have different times, e.g. {times.min(0)[-1]:g} and "
                    f"{times.max(0)[-1]:g}: choose times that all of them have."
                )
            self._axis_cache = (middle, fs.mean(axis=0) if len(fs) else fs)
        return self._axis_cache

    def subset(self, indices: Iterable[int]) -> Dataset:
        """The structures with these indices, in this order."""
        try:
            return Dataset((self.entries[int(i)] for i in indices), self.source)
        except IndexError:
            raise InputError(f"an index is beyond the {len(self)} structures of {self.source}.") from None

    def by_name(self, name: str) -> Sample:
        """The sample of that name."""
        try:
            return self[self.names.index(name)]
        except ValueError:
            raise InputError(f"{self.source} has no structure {name!r}{suggest(name, self.names)}.") from None

    def map(self, function: Callable[[Sample], Sample]) -> Dataset:
        """Data set whose samples pass through ``function``, which must keep times and may not be a lambda for workers."""
        return Dataset(
            (
                Entry(e.name, partial(_apply, function, e.load), e.times, e.fs, e.split, e.group)
                for e in self.entries
            ),
            self.source,
        )

    def in_memory(self) -> Dataset:
        """The same data set with every sample loaded now, once."""
        return from_samples(list(self), self.source)


def from_samples(samples: Iterable[Sample], source: str = "data set") -> Dataset:
    """Data set of samples that are in memory."""
    return Dataset(
        (Entry(s.name, partial(_same, s), np.asarray(s.times), s.fs, s.split, s.group) for s in samples),
        source,
    )


def entry_axis(entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """Times and F_s levels of an entry, each of shape (T,); loads the sample where only that tells."""
    times, fs = entry.times, entry.fs
    if times is None:
        sample = entry.load()
        times, fs = sample.times, sample.fs
    return np.asarray(times), np.full(len(times), np.nan) if fs is None else np.asarray(fs)


def _same(sample: Sample) -> Sample:
    return sample


def _apply(function: Callable[[Sample], Sample], load: Callable[[], Sample]) -> Sample:
    return function(load())


def _distinct(values: Iterable[int]) -> str:
    return " or ".join(str(value) for value in sorted(set(values)))
