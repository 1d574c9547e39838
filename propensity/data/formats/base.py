"""Format: how the files of one layout become entries of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from propensity.data.entry import Entry


@dataclass(frozen=True)
class Format:
    """A layout in which labelled structures are stored; one object ``FORMAT`` a file of this folder.

    Parameters
    ----------
    suffixes
        Endings of its files, lower case with the dot.
    recognises
        From the path of a file and the names of its arrays (empty but for npz archives) to whether it is
        of this layout.
    entries
        From the files of one structure or archive, the name for it and the choice of labels to entries.
        What is wrong with a file is a :class:`~propensity.errors.DataError` that names it.
    label_sets
        Choices of ``labels`` beside None that the layout knows.
    siblings
        From the name of a file to one that all files of the same structure share; None: each file stands
        for itself.
    """

    suffixes: tuple[str, ...]
    recognises: Callable[[Path, Sequence[str]], bool]
    entries: Callable[[Sequence[Path], str, str | None], Iterable[Entry]]
    label_sets: tuple[str, ...] = ()
    siblings: Callable[[str], str] | None = None


def split_of(path: Path) -> str | None:
    """Split that a file lies in, read from the names of its folders."""
    return next((part for part in reversed(path.parts[:-1]) if part in ("train", "test", "valid")), None)
