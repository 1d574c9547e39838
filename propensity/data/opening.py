"""open_dataset: from a path, whatever it is, to a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from propensity.data.bapst import SUFFIXES as PICKLES
from propensity.data.bapst import bapst_entries
from propensity.data.dataset import Dataset
from propensity.data.entry import Entry
from propensity.data.ka3d import is_ka3d, ka3d_entries
from propensity.data.npz import npz_keys
from propensity.data.store import SUFFIXES as STORES
from propensity.data.store import natural_key, store_entries
from propensity.errors import DataError, InputError

Paths = str | os.PathLike | Sequence[str | os.PathLike]


def open_dataset(paths: Paths, *, labels: str | None = None) -> Dataset:
    """Open labelled structures of any known format without loading them.

    Parameters
    ----------
    paths
        A file or folder, or a list of them: stores (``.h5``), pickles of Bapst et al. (2020) or a folder
        of them, npz archives.
    labels
        None for the file's own labels; ``"published"`` for ``published_propensity_tau`` of an npz archive.

    Returns
    -------
    Dataset
        In the order of the paths; files of a folder in natural order.

    Raises
    ------
    DataError
        When a path doesn't exist or is of no known format.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise InputError("no path was given: name at least one file or folder.")
    entries = [entry for path in given for entry in _entries(Path(path), labels)]
    source = str(given[0]) if len(given) == 1 else f"{given[0]} and {len(given) - 1} more"
    return Dataset(entries, source)


def _entries(path: Path, labels: str | None) -> list[Entry]:
    if not path.exists():
        raise DataError(f"{path} doesn't exist.")
    if path.is_dir():
        return _folder_entries(path, labels)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        keys = npz_keys(path)
        if is_ka3d(keys):
            return ka3d_entries(path, labels)
        raise DataError(f"{path} is an npz archive of no known format: it holds {keys}.")
    if labels is not None:
        raise InputError(
            f"{path} has one set of labels: labels={labels!r} is for npz archives that hold two."
        )
    if suffix in STORES:
        return store_entries(path)
    if suffix in PICKLES:
        return bapst_entries(path)
    raise DataError(
        f"{path} is of no known format: give {', '.join((*STORES, *PICKLES, '.npz'))} or a folder of them."
    )


def _folder_entries(folder: Path, labels: str | None) -> list[Entry]:
    known = {*STORES, *PICKLES, ".npz"}
    files = sorted(
        (p for p in folder.rglob("*") if p.suffix.lower() in known and p.is_file() and not _hidden(p)),
        key=natural_key,
    )
    if not files:
        raise DataError(f"{folder} holds no data files ({', '.join(sorted(known))}).")
    entries: list[Entry] = []
    for file in files:
        if file.suffix.lower() in PICKLES:
            entries += bapst_entries(file, file.relative_to(folder).with_suffix("").as_posix())
        else:
            entries += _entries(file, labels)
    return entries


def _hidden(path: Path) -> bool:
    """Whether a file is a work file: hidden, or a part of an unfinished store."""
    return path.name.startswith(".") or path.parent.name.endswith(".parts")
