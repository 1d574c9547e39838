"""Implementations by name, imported when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from propensity.errors import InputError, PropensityError, suggest

T = TypeVar("T")


class Registry(Generic[T]):
    """Names and what they stand for; a name that is unknown is an error of one sentence.

    Parameters
    ----------
    what
        What the entries are, as errors call them.
    entries
        Name → ``"module:attribute"``, best first; imported on first use.
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
            module, attribute = entry.split(":")
            entry = self._entries[name] = getattr(importlib.import_module(module), attribute)
        return cast(T, entry)
