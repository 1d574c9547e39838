"""The compact store: any number of labelled structures in one HDF5 file."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from propensity.data.entry import Entry, Header
from propensity.data.store.record import FORMAT_VERSION, read_record, read_text
from propensity.errors import DataError, PropensityError
from propensity.files import disk_reason
from propensity.sample import Sample

SUFFIXES = (".h5", ".hdf5")
#: Value of the attribute ``format``; bytes, since HDF5 keeps those in its checksummed header.
FORMAT = np.bytes_("propensity-store")
#: Errors of the system that say nothing of the file.
_PASSING = (
    errno.EACCES,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EINTR,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOLCK,
    errno.EPERM,
    errno.ESTALE,
    errno.ETIMEDOUT,
)


def is_store(path: str | os.PathLike[str]) -> bool:
    """Whether a file is HDF5 with our mark, or at least not someone else's HDF5."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            return marked(file)
    except OSError:
        return True  # damaged or no HDF5 at all: opening it as a store says so


def store_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the structures of a store, in its order."""
    with open_store(path) as file:
        return cast("list[str]", json.loads(read_text(file, "names")))


def store_entries(path: str | os.PathLike[str]) -> list[Entry]:
    """Entries of a store: times, splits and groups are read now, the rest when asked for."""
    path = Path(path)
    entries = []
    with open_store(path) as file:
        for i, name in enumerate(json.loads(read_text(file, "names"))):
            facts = json.loads(read_text(file["structures"][key(i)], "metadata"))
            header = Header.make(
                *(facts[field] for field in ("times", "fs", "tau_alpha", "temperature", "potential"))
            )
            entries.append(Entry(name, partial(read_stored, path, i), facts["split"], facts["group"], header))
    return entries


def read_stored(path: str | os.PathLike[str], index: int) -> Sample:
    """Read structure ``index`` of a store.

    Raises
    ------
    DataError
        When the file is not a store, of a newer format, or damaged.
    """
    with open_store(path) as file:
        group = file["structures"][key(index)]
        return read_record(group, f"structure {index} of {path}", int(file.attrs["format_version"]))


def store_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What made a store: command, version, date and what the writer was told."""
    with open_store(path) as file:
        return cast("dict[str, Any]", json.loads(read_text(file, "provenance")))


def natural_key(name: os.PathLike[str] | str) -> list[tuple[int, int | str]]:
    """Sort key under which 2 comes before 10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", str(name)) if part]


def marked(file: h5py.File) -> bool:
    """Whether an open HDF5 file carries our mark."""
    return cast("bool", file.attrs.get("format") == FORMAT)


def key(index: int) -> str:
    """Name of a structure's group."""
    return f"{index:06d}"


def _number(error: Exception) -> int:
    """Number of the system's error, which HDF5 keeps in the text only; 0 where there is none."""
    found = re.search(r"errno = (\d+)", str(error))
    return int(found[1]) if found else getattr(error, "errno", None) or 0


@contextmanager
def open_store(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Open a store or part for reading; every way in which it may be broken becomes a DataError.

    HDF5's own locks are left out: what is read is complete, and some file systems have none.
    """
    if not Path(path).is_file():
        raise DataError(f"{path} doesn't exist.")
    try:
        with h5py.File(path, "r", locking=False) as file:
            if not marked(file):
                raise DataError(f"{path} is an HDF5 file, but not a store made by propensity convert.")
            version = int(file.attrs["format_version"])
            if not 1 <= version <= FORMAT_VERSION:
                raise DataError(
                    f"{path} has format version {version} and this release reads 1..{FORMAT_VERSION}: "
                    "update propensity."
                )
            yield file
    except (PropensityError, MemoryError):
        raise
    except Exception as error:
        if disk_reason(error) is not None:
            raise  # of what is written meanwhile, not of this file
        number = _number(error)
        if number in _PASSING:
            raise PropensityError(
                f"{path} can't be read now ({os.strerror(number)}): run the same command again."
            ) from None
        # Damaged bytes surface as nearly any exception of h5py, numpy or json.
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path} is damaged or not a store ({detail}): convert or copy it again.") from None
