"""Dataset: a lazy sequence of samples, whatever the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np

from propensity.data.entry import Entry, Header, aligned
from propensity.errors import DataError, InputError, suggest
from propensity.sample import Sample

if TYPE_CHECKING:
    from propensity.data.summary import DatasetSummary


class Dataset(Sequence[Sample]):
    """Samples that are loaded when asked for; slices and lists of indices give smaller data sets.

    Parameters
    ----------
    entries
        One per structure.
    source
        What a user called it, for messages.

    Raises
    ------
    DataError
        When there is no structure, or a name occurs twice.
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
        self._headers: list[Header | None] = [entry.header for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int]) -> Dataset: ...

    def __getitem__(self, index: int | slice | Sequence[int]) -> Sample | Dataset:
        if isinstance(index, slice):
            return self.subset(range(len(self))[index])
        if isinstance(index, (Sequence, np.ndarray)):
            return self.subset(index)
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

        Where each structure has the times at which its own F_s takes given levels (Bapst et al.), the
        median over structures; :func:`select_times` gives every sample these.

        Raises
        ------
        DataError
            When structures have different times.
        """
        return cast("np.ndarray", np.median([header.times for header in self._aligned()], axis=0))

    @property
    def fs(self) -> np.ndarray:
        """Mean self-intermediate scattering function at the times, shape (T,), NaN where unknown."""
        return cast("np.ndarray", np.mean([header.fs for header in self._aligned()], axis=0))

    def header(self, index: int) -> Header:
        """Times, temperature and the like of one structure; loads it where only that tells.

        Parameters
        ----------
        index
            Of the structure.

        Returns
        -------
        Header
            Times, F_s, τ_α, temperature and potential.
        """
        header = self._headers[index]
        if header is None:
            header = self._headers[index] = Header.of(self[index])
        return header

    def _aligned(self) -> list[Header]:
        headers = [self.header(i) for i in range(len(self))]
        if not aligned(headers):
            points = sorted({describe_state_point(header) for header in headers})
            raise DataError(
                f"structures of {self.source} have different times ({'; '.join(points[:4])}"
                f"{'; ...' if len(points) > 4 else ''}): choose one state point, or times that all have "
                "such as 'tau_alpha'."
            )
        return headers

    def subset(self, indices: Iterable[int]) -> Dataset:
        """The structures with these indices, in this order.

        Parameters
        ----------
        indices
            Of the structures to keep; negative ones count from the end.

        Returns
        -------
        Dataset
            Those structures; nothing is loaded.

        Raises
        ------
        InputError
            For an index that is out of range.
        """
        try:
            return Dataset((self._entry(int(i)) for i in indices), self.source)
        except IndexError:
            raise InputError(f"an index is beyond the {len(self)} structures of {self.source}.") from None

    def by_name(self, name: str) -> Sample:
        """The sample of that name.

        Parameters
        ----------
        name
            Of a structure, see :attr:`names`.

        Returns
        -------
        Sample
            Loaded.

        Raises
        ------
        InputError
            When no structure has it.
        """
        names = self.names
        if name not in names:
            raise InputError(f"{self.source} has no structure {name!r}{suggest(name, names)}.")
        return self[names.index(name)]

    def state_points(self) -> list[Dataset]:
        """One data set for each temperature, potential and choice of times, in order of appearance.

        Returns
        -------
        list[Dataset]
            Together they hold every structure once.
        """
        found: list[tuple[tuple[Any, ...], list[int], Header]] = []
        for i in range(len(self)):
            header = self.header(i)
            key = (header.temperature, header.potential)
            for other, members, first in found:
                if other == key and aligned([first, header]):
                    members.append(i)
                    break
            else:
                found.append((key, [i], header))
        return [self] if len(found) == 1 else [self.subset(members) for _, members, _ in found]

    def map(self, function: Callable[[Sample], Sample]) -> Dataset:
        """Data set whose samples pass through ``function`` as they are loaded.

        Parameters
        ----------
        function
            From sample to sample; called at every access, in the process that loads.

        Returns
        -------
        Dataset
            Of the same names and order.
        """
        return Dataset(
            (
                replace(entry, load=partial(_apply, function, entry.load), header=None)
                for entry in self.entries
            ),
            self.source,
        )

    def in_memory(self) -> Dataset:
        """The same data set with every sample loaded, once and now.

        Returns
        -------
        Dataset
            Of loaded samples, whose files are no longer needed.
        """
        return from_samples(self, self.source)

    def summary(self) -> DatasetSummary:
        """Means, spreads and noise ceilings by species and time, in one pass over the samples.

        Returns
        -------
        DatasetSummary
            Arrays of shape (n_species, n_times), lengths in σ and times in LJ units.

        Raises
        ------
        DataError
            When the data set has several state points, see :meth:`state_points`.
        """
        from propensity.data.summary import summarise

        found = summarise(self)
        if len(found) > 1:
            raise DataError(f"{self.source} has {len(found)} state points: summarise each of state_points().")
        return found[0]

    def _entry(self, index: int) -> Entry:
        """Entry with the header that was found out meanwhile."""
        return replace(self.entries[index], header=self._headers[index])


def from_samples(samples: Iterable[Sample], source: str = "data set") -> Dataset:
    """Data set of samples that are in memory.

    Parameters
    ----------
    samples
        In the order of the data set.
    source
        Its name in errors.

    Returns
    -------
    Dataset
        Of these samples.
    """
    return Dataset(
        (Entry(s.name, partial(_same, s), s.split, s.group, Header.of(s)) for s in samples), source
    )


def describe_state_point(header: Header) -> str:
    """Temperature and times in a few words."""
    where = "T unknown" if header.temperature is None else f"T = {header.temperature:g}"
    first, last = header.times[0], header.times[-1]
    return f"{where}: {len(header.times)} times {first:g} to {last:g}"


def _same(sample: Sample) -> Sample:
    return sample


def _apply(function: Callable[[Sample], Sample], load: Callable[[], Sample]) -> Sample:
    return function(load())
