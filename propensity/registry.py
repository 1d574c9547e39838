"""Implementations by name, imported when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from propensity.errors import InputError, PropensityError, suggest
from propensity.extras import explained

T = TypeVar("T")


class Registry(Generic[T]):
    """Names and what they stand for; a name that is unknown is an error of one sentence.

    Parameters
    ----------
    what
        What the entries are, as errors call them.
    entries
        Name → ``"module:attribute"``, or ``"module"`` where that is the entry; best first; imported on
        first use.
    error
        Class of the error for unknown names.
    """

    def __init__(
        self, what: str, entries: Mapping[str, str], error: type[PropensityError] = InputError
    ) -> None:
        self.what, self.error = what, error
        self._entries: dict[str, Any] = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def register(self, name: str, entry: T) -> None:
        """Add an implementation of your own, or replace one, under ``name``."""
        self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise self.error(
                f"{self.what} {name!r} is unknown: choose from {sorted(self)}{suggest(name, list(self))}."
            )
        entry = self._entries[name]
        if isinstance(entry, str):
            path, _, attribute = entry.partition(":")
            with explained():
                module = importlib.import_module(path)
            entry = self._entries[name] = getattr(module, attribute) if attribute else module
        return cast(T, entry)

    def able(self, can: Callable[[T], bool]) -> list[str]:
        """Names of the entries that can do what is asked, best first."""
        return [name for name in self if can(self[name])]

    def choose(
        self,
        name: str,
        can: Callable[[T], bool],
        where: str,
        automatic: Callable[[str], bool] = lambda name: True,
    ) -> T:
        """Return the entry called ``name``, or the best one for ``"auto"``.

        Parameters
        ----------
        name
            Of an entry, or ``"auto"``.
        can
            Whether an entry can do what is asked.
        where
            What is asked, as errors say it, e.g. ``"on cpu"``.
        automatic
            Which names ``"auto"`` may mean.

        Raises
        ------
        InputError
            (or the registry's own error) for a name that is unknown, or an entry that can't do it: nothing
            else is taken in its place.
        """
        if name == "auto":
            name = next(other for other in self if automatic(other) and can(self[other]))
        elif name not in self:
            known = ["auto", *self]
            raise self.error(f"{self.what} {name!r} is unknown: choose from {known}{suggest(name, known)}.")
        elif not can(self[name]):
            raise self.error(
                f"{self.what} {name!r} cannot run {where}: choose from {['auto', *self.able(can)]}."
            )
        return self[name]
