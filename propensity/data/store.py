"""The compact store: any number of labelled structures in one HDF5 file."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

import propensity
from propensity.data.entry import Entry
from propensity.data.record import FORMAT_VERSION, read_record, write_record
from propensity.data.sample import Sample
from propensity.errors import DataError, InputError
from propensity.files import replacing

SUFFIXES = (".h5", ".hdf5")
_FORMAT = "propensity-store"
# Written so that HDF5 1.10 and later read it; its metadata are checksummed.
_LIBVER = ("v110", "v110")


class StoreWriter:
    """Write a store one structure at a time; what was added survives any interruption.

    Each structure is a small file in ``<path>.parts`` until :meth:`close` merges them into ``path``
    by one rename.  Opened again after an interruption, it goes on where it stopped; opened on a
    finished store, it extends it.  Several processes may add to one store at once, one of them closes.

    Parameters
    ----------
    path
        The store, ``.h5``.
    n_expected
        With it, :meth:`close` merges only when that many structures are done and keeps the parts otherwise.
    provenance
        JSON-able facts to store beside the command, version and date.

    Examples
    --------
    >>> with StoreWriter("ka.h5") as writer:                # doctest: +SKIP
    ...     for sample in samples:
    ...         if sample.name not in writer.done():
    ...             writer.add(sample)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        n_expected: int | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{self.path} is no name for a store: let it end in .h5.")
        self.parts = self.path.with_name(self.path.name + ".parts")
        self.n_expected = n_expected
        self.provenance = provenance or {}
        self._stored = set(store_names(self.path)) if self.path.exists() else set()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def done(self) -> set[str]:
        """Names of the structures that are safely on disk."""
        return self._stored | set(_part_names(self.parts))

    def add(self, sample: Sample) -> None:
        """Put one structure on disk, whole or not at all."""
        part = self.parts / _part_file(sample.name)
        with replacing(part) as temporary, _opened(temporary, "w") as file:
            _write_root(file, {"name": sample.name})
            write_record(file.create_group("record"), sample)

    def close(self) -> None:
        """Merge the parts into the store; with ``n_expected`` unmet, keep them for later."""
        parts = _part_names(self.parts)
        if not parts:
            if not self._stored:
                raise DataError(f"nothing was added to {self.path}: a store holds at least one structure.")
            _remove(self.parts)
            return
        if self.n_expected is not None and len(self._stored | set(parts)) < self.n_expected:
            return
        with replacing(self.path) as temporary, _opened(temporary, "w") as target:
            _write_root(target, self.provenance)
            names = sorted(self._stored | set(parts), key=natural_key)
            structures = target.create_group("structures")
            old = store_names(self.path) if self._stored else []
            for i, name in enumerate(names):
                if name in parts:
                    with _reading(parts[name]) as source:
                        source.copy("record", structures, name=_key(i))
                else:
                    with _reading(self.path) as source:
                        source.copy(f"structures/{_key(old.index(name))}", structures, name=_key(i))
            target.create_dataset("names", data=np.array(names, dtype=h5py.string_dtype()))
        self._stored = set(names)
        _remove(self.parts)


def store_names(path: str | os.PathLike) -> list[str]:
    """Names of the structures of a store, in its order."""
    with _reading(path) as file:
        return [name.decode() for name in file["names"][()]]


def store_entries(path: str | os.PathLike) -> list[Entry]:
    """Entries of a store, with times, splits and groups read now and the rest when asked for."""
    path = Path(path)
    entries = []
    with _reading(path) as file:
        names = [name.decode() for name in file["names"][()]]
        for i, name in enumerate(names):
            group = file["structures"][_key(i)]
            metadata = json.loads(group.attrs["metadata"])
            fs = group["fs"][()] if "fs" in group else None
            entries.append(
                Entry(
                    name,
                    partial(read_stored, path, i),
                    group["times"][()],
                    fs,
                    metadata["split"],
                    metadata["group"],
                )
            )
    return entries


def read_stored(path: str | os.PathLike, index: int) -> Sample:
    """Read structure ``index`` of a store.

    Raises
    ------
    DataError
        When the file is not a store, of a newer format, or damaged.
    """
    with _reading(path) as file:
        group = file["structures"][_key(index)]
        return read_record(group, f"structure {index} of {path}", int(file.attrs["format_version"]))


def store_provenance(path: str | os.PathLike) -> dict[str, Any]:
    """What made a store: command, version, date and what the writer was told."""
    with _reading(path) as file:
        return json.loads(file.attrs["provenance"])


def natural_key(name: os.PathLike | str) -> list[tuple[int, int | str]]:
    """Sort key under which 2 comes before 10."""
    import re

    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", str(name)) if part]


def _key(index: int) -> str:
    return f"{index:06d}"


def _part_file(name: str) -> str:
    """File name of a part: readable start and a hash, since names may hold slashes or be long."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[-60:]
    return f"{safe}.{hashlib.sha1(name.encode()).hexdigest()[:12]}.h5"


def _part_names(folder: Path) -> dict[str, Path]:
    """Name → file of the parts that are whole."""
    found = {}
    for file in sorted(folder.glob("*.h5")) if folder.is_dir() else []:
        if not file.name.startswith("."):
            with _reading(file) as part:
                found[json.loads(part.attrs["provenance"])["name"]] = file
    return found


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)


def _write_root(file: h5py.File, provenance: dict[str, Any]) -> None:
    file.attrs["format"] = _FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    facts = {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "propensity": propensity.__version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    file.attrs["provenance"] = json.dumps({**facts, **provenance}, ensure_ascii=False)


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, mode, libver=_LIBVER) as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} can't be written ({_short(error)}).") from None


@contextmanager
def _reading(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Open a store or part for reading; every way in which it may be broken becomes a DataError."""
    if not Path(path).exists():
        raise DataError(f"{path} doesn't exist.")
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise DataError(f"{path} is an HDF5 file, but not a store made by propensity convert.")
            version = int(file.attrs["format_version"])
            if not 1 <= version <= FORMAT_VERSION:
                raise DataError(
                    f"{path} has format version {version} and this release reads 1..{FORMAT_VERSION}: update propensity."
                )
            yield file
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError, TypeError, json.JSONDecodeError) as error:
        raise DataError(
            f"{path} is damaged or not a store ({_short(error)}): convert or copy it again."
        ) from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
