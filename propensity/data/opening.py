"""open_dataset: from a path, whatever it is, to a data set."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from propensity.data.dataset import Dataset
from propensity.data.entry import Entry
from propensity.data.formats import FORMATS
from propensity.data.formats.archive import npz_keys
from propensity.data.formats.base import Format
from propensity.data.store.reader import is_store, natural_key
from propensity.errors import DataError, InputError, PropensityWarning
from propensity.sample import Sample

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def open_dataset(paths: Paths, *, labels: str | None = None) -> Dataset:
    """Open labelled structures of any known format without loading them.

    Parameters
    ----------
    paths
        A file or folder, or a list of them: stores (``.h5``), pickles of Bapst et al. (2020), npz
        archives of BOTAN or GlassBench (files of one structure at several times become one sample) or
        with many structures.  Folders are searched to any depth.
    labels
        None for a file's own labels; ``"published"`` for ``published_propensity_tau`` of an npz archive.

    Returns
    -------
    Dataset
        In the order of the paths; files of a folder in natural order.

    Raises
    ------
    DataError
        When a path doesn't exist or is of no known format.
    InputError
        For labels that the files don't have.

    Examples
    --------
    >>> dataset = open_dataset("temperature_044")             # doctest: +SKIP
    >>> sample = dataset[0]                                   # doctest: +SKIP
    """
    if not isinstance(paths, (str, os.PathLike, Iterable)):
        raise InputError(f"the paths are {paths!r}: name a file or folder, or a list of them.")
    given = [Path(paths)] if isinstance(paths, (str, os.PathLike)) else [Path(path) for path in paths]
    if not given:
        raise InputError("no path was given: name at least one file or folder.")
    files: list[tuple[Path, str]] = []
    for path in given:
        if not path.exists():
            raise DataError(f"{path} doesn't exist.")
        files += _folder_files(path) if path.is_dir() else [(path, path.stem)]
    entries = list(_entries(files, labels, strict=not any(path.is_dir() for path in given)))
    source = str(given[0]) if len(given) == 1 else f"{given[0]} and {len(given) - 1} more"
    return Dataset(entries, source)


def suffixes() -> list[str]:
    """Endings of the files of every known format."""
    return list(dict.fromkeys(suffix for name in FORMATS for suffix in FORMATS[name].suffixes))


def may_be_labelled(path: Path) -> bool:
    """Whether a path is a folder or, by its ending, a file of a known format; of HDF5 only a store."""
    if path.is_dir():
        return True
    suffix = path.suffix.lower()
    return path.is_file() and suffix in suffixes() and (suffix not in (".h5", ".hdf5") or is_store(path))


def _entries(files: Sequence[tuple[Path, str]], labels: str | None, strict: bool) -> Iterator[Entry]:
    """Entries of files with the names for their structures.

    Archives of an unknown layout end it only if ``strict``.
    """
    known = suffixes()
    groups: dict[tuple[str, Path, str, int], list[Path]] = {}
    skipped: list[Path] = []
    for path, name in files:
        if path.suffix.lower() not in known:
            raise DataError(f"{path} is of no known format: give {', '.join(known)} or a folder of them.")
        try:
            keys = npz_keys(path) if path.suffix.lower() == ".npz" else []
        except DataError as error:
            if strict:
                raise
            yield _damaged(name, error)
            continue
        kind = next((kind for kind in FORMATS if _fits(FORMATS[kind], path, keys)), None)
        if kind is None:
            if strict:
                shown = ", ".join(keys[:6]) + (", ..." if len(keys) > 6 else "")
                raise DataError(
                    f"{path} is an npz archive of no known format: it holds {shown or 'nothing'}."
                )
            skipped.append(path)
            continue
        siblings = FORMATS[kind].siblings
        # Only siblings share an entry: the same file given twice must be seen twice.
        where = (kind, path.parent, siblings(name), 0) if siblings else (kind, path, name, len(groups))
        groups.setdefault(where, []).append(path)
    for (kind, _, name, _), paths in groups.items():
        layout = FORMATS[kind]
        if labels is not None and not layout.label_sets:
            raise InputError(
                f"{paths[0]} has one set of labels: labels={labels!r} is for npz archives that hold two."
            )
        try:
            yield from layout.entries(paths, name, labels)
        except DataError as error:
            if strict:
                raise
            yield _damaged(name, error)
    if skipped:
        warnings.warn(
            f"skipped {len(skipped)} npz archive(s) that hold no labelled structures, e.g. {skipped[0]}.",
            PropensityWarning,
            stacklevel=3,
        )


def _damaged(name: str, error: DataError) -> Entry:
    """Entry of a file among others that can't be read: loading it says so, and the others are served."""
    return Entry(name, partial(_raise, str(error)))


def _raise(message: str) -> Sample:
    raise DataError(message)


def _fits(layout: Format, path: Path, keys: Sequence[str]) -> bool:
    return path.suffix.lower() in layout.suffixes and layout.recognises(path, keys)


def _folder_files(folder: Path) -> list[tuple[Path, str]]:
    """Data files below a folder, each with its path inside the folder as name."""
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes()
        and path.is_file()
        # Work files: hidden, or parts of an unfinished store.
        and not path.name.startswith(".")
        and not path.parent.name.endswith(".parts")
    ]
    if not files:
        raise DataError(f"{folder} holds no data files ({', '.join(suffixes())}).")
    files.sort(key=natural_key)
    return [(path, path.relative_to(folder).with_suffix("").as_posix()) for path in files]
