"""open_dataset: from a path, whatever it is, to a data set."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from propensity.data.dataset import Dataset
from propensity.data.entry import Entry
from propensity.data.formats.archive import npz_keys
from propensity.data.formats.bapst import SUFFIXES as PICKLES
from propensity.data.formats.bapst import bapst_entries
from propensity.data.formats.botan import botan_entry, is_botan, structure_name
from propensity.data.formats.npz import is_ka3d, ka3d_entries
from propensity.data.store.reader import SUFFIXES as STORES
from propensity.data.store.reader import natural_key, store_entries
from propensity.errors import DataError, InputError, PropensityWarning

SUFFIXES = (*STORES, *PICKLES, ".npz")

Paths = str | os.PathLike | Sequence[str | os.PathLike]


def open_dataset(paths: Paths, *, labels: str | None = None) -> Dataset:
    """Open labelled structures of any known format without loading them.

    Parameters
    ----------
    paths
        A file or folder, or a list of them: stores (``.h5``), pickles of Bapst et al. (2020), npz
        archives of BOTAN (files of one structure at several times become one sample) or with many
        structures.  Folders are searched to any depth.
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

    Examples
    --------
    >>> dataset = open_dataset("temperature_044")             # doctest: +SKIP
    >>> sample = dataset[0]                                   # doctest: +SKIP
    """
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


def _entries(files: Sequence[tuple[Path, str]], labels: str | None, strict: bool) -> Iterator[Entry]:
    """Entries of files with the names for their structures; unknown npz archives end it only if
    ``strict``.
    """
    botan: dict[tuple[Path, str], list[Path]] = {}
    skipped: list[Path] = []
    for path, name in files:
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise DataError(f"{path} is of no known format: give {', '.join(SUFFIXES)} or a folder of them.")
        keys = npz_keys(path) if suffix == ".npz" else []
        if is_ka3d(keys):
            yield from ka3d_entries(path, labels)
            continue
        if labels is not None:
            raise InputError(
                f"{path} has one set of labels: labels={labels!r} is for npz archives that hold two."
            )
        if suffix in STORES:
            yield from store_entries(path)
        elif suffix in PICKLES:
            yield from bapst_entries(path, name)
        elif is_botan(keys):
            botan.setdefault((path.parent, structure_name(name)), []).append(path)
        elif strict:
            shown = ", ".join(keys[:6]) + (", ..." if len(keys) > 6 else "")
            raise DataError(f"{path} is an npz archive of no known format: it holds {shown or 'nothing'}.")
        else:
            skipped.append(path)
    for (_, name), paths in botan.items():
        yield botan_entry(paths, name)
    if skipped:
        warnings.warn(
            f"skipped {len(skipped)} npz archive(s) that hold no labelled structures, e.g. {skipped[0]}.",
            PropensityWarning,
            stacklevel=3,
        )


def _folder_files(folder: Path) -> list[tuple[Path, str]]:
    """Data files below a folder, each with its path inside the folder as name."""
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        # Work files: hidden, or parts of an unfinished store.
        and not path.name.startswith(".")
        and not path.parent.name.endswith(".parts")
    ]
    if not files:
        raise DataError(f"{folder} holds no data files ({', '.join(SUFFIXES)}).")
    files.sort(key=natural_key)
    return [(path, path.relative_to(folder).with_suffix("").as_posix()) for path in files]
