"""StoreWriter: fill a store one structure at a time, through any interruption."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py

from propensity.data.store.reader import (
    FORMAT,
    SUFFIXES,
    key,
    natural_key,
    open_store,
    store_names,
    store_provenance,
)
from propensity.data.store.record import FORMAT_VERSION, read_record, read_text, write_record, write_text
from propensity.errors import DataError, InputError, PropensityError
from propensity.files import disk_reason, disk_trouble, replacing
from propensity.hdf5 import writing
from propensity.locks import FileLock
from propensity.sample import Sample
from propensity.version import __version__

# HDF5 1.10 and later read it, and its metadata are checksummed.
_LIBVER = ("v110", "v110")
_JOB = "job.json"
#: Lock among the parts that all share who write the store; one who replaces it has it alone.
_WRITERS = ".writers"


class StoreWriter:
    """Write a store one structure at a time; what was added survives any interruption.

    Each structure is a small file in ``<path>.parts`` until :meth:`close` merges them into ``path``
    by one rename.  Opened again after an interruption, it goes on where it stopped; opened on a
    finished store, it extends it.  Several writers may add to one store at once, in one process or many;
    whoever closes merges what is there by then, and nothing that another added is lost.

    Parameters
    ----------
    path
        The store, ``.h5``.
    n_expected
        With it, :meth:`close` merges only when that many structures are done and keeps the parts otherwise.
    job
        JSON-able description of what is written, kept in the store; a store or parts made by another
        job are refused, so that two jobs never mix.
    overwrite
        Start afresh; an existing store stays until :meth:`close` replaces it.  Such a writer is alone.

    Raises
    ------
    DataError
        When parts or a store of another job are in the way.
    PropensityError
        When another writer is at work that starts afresh, or this one wants to start afresh beside others.

    Examples
    --------
    >>> with StoreWriter("ka.h5") as writer:                # doctest: +SKIP
    ...     for sample in samples:
    ...         if sample.name not in writer.done():
    ...             writer.add(sample)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        n_expected: int | None = None,
        job: dict[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{self.path} is no name for a store: let it end in .h5.")
        self.parts = self.path.with_name(self.path.name + ".parts")
        self.n_expected = n_expected
        self.job = json.loads(json.dumps(job or {}))
        self.overwrite = overwrite
        self._names: dict[Path, str] = {}
        self._writers = FileLock(self.parts / _WRITERS)
        self._join()

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs to add; it asks the disk for the rest."""
        return {**self.__dict__, "_names": {}, "_writers": None}

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self._leave()

    def done(self) -> set[str]:
        """Names of the structures that are safely on disk.

        Returns
        -------
        set[str]
            Those that a resumed job need not make again.
        """
        return {*self._stored(), *self._part_names()}

    def add(self, sample: Sample) -> None:
        """Put one structure on disk, whole or not at all; one of the same name is replaced.

        Parameters
        ----------
        sample
            With labels, lengths in σ and times in LJ units.

        Raises
        ------
        DataError
            When another writer has begun another job on this store meanwhile.
        InputError
            For what is no sample.
        """
        if not isinstance(sample, Sample):
            raise InputError(f"what was to be added is a {type(sample).__name__}: give a Sample.")
        changes = self._changes()
        try:
            with replacing(self.parts / _part_file(sample.name)) as temporary:
                with _created(temporary) as file:
                    _write_root(file, {"name": sample.name})
                    write_record(file.create_group("record"), sample)
                _check_part(temporary)
                changes.acquire()
                self._claim()
        finally:
            changes.release()

    def close(self) -> None:
        """Verify the parts and merge them into the store; with ``n_expected`` unmet, keep them for later.

        Raises
        ------
        DataError
            When nothing was added, or parts are damaged: these are removed, to be made again.
        """
        if not self._writers.held:
            self._join()
        try:
            with self._changes():
                if self._merge():
                    self.overwrite = False
        finally:
            self._leave()

    def _merge(self) -> bool:
        """Merge what is on disk now, whoever added it; False where it isn't enough."""
        parts, stored = self._part_names(), self._stored()
        if not parts:
            if not stored:
                raise DataError(f"nothing was added to {self.path}: a store holds at least one structure.")
            return True
        if self.n_expected is not None and len({*stored, *parts}) < self.n_expected:
            return False
        if stored:
            self._same_job(store_provenance(self.path).get("job", {}), self.path)
        self._verify(parts)
        # Inside the folder of parts, so that an interrupted merge leaves nothing beside the store.
        merged = self.parts / f".merging-{os.getpid()}.h5"
        names = sorted({*stored, *parts}, key=natural_key)
        try:
            with _created(merged) as target:
                _write_root(target, {"job": self.job})
                structures = target.create_group("structures")
                for i, name in enumerate(names):
                    source, inside = (
                        (parts[name], "record")
                        if name in parts
                        else (self.path, f"structures/{key(stored.index(name))}")
                    )
                    with open_store(source) as file:
                        if file.attrs["format_version"] == FORMAT_VERSION:
                            file.copy(inside, structures, name=key(i))
                        else:
                            version = int(file.attrs["format_version"])
                            write_record(
                                structures.create_group(key(i)), read_record(file[inside], name, version)
                            )
                write_text(target, "names", json.dumps(names))
            _check(merged, len(names))
            with disk_trouble(self.path):
                with merged.open("rb") as stream:
                    os.fsync(stream.fileno())
                os.replace(merged, self.path)
        finally:
            merged.unlink(missing_ok=True)
        for file in parts.values():
            file.unlink(missing_ok=True)
            self._names.pop(file, None)
        return True

    def _join(self) -> None:
        """Enter among the writers of the store, or refuse."""
        try:
            with self._changes():
                # Alone: what is left of another job without parts, or is to be replaced, goes.
                free = self._writers.acquire(wait=False)
                if free and (self.overwrite or not self._part_names()):
                    for path in {*self.parts.iterdir()} - {self._writers.path}:
                        path.unlink()
                if not self.overwrite:
                    free = self._writers.acquire(shared=True, wait=False)
                if not free:
                    raise PropensityError(
                        f"{self.path} is being written by another process or StoreWriter: wait until it is"
                        " done, or choose another name."
                    )
                if self._stored():
                    self._same_job(store_provenance(self.path).get("job", {}), self.path)
                self._claim()
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        """Leave the writers; the last one removes the folder when no parts are in it."""
        if self._writers is None or not self._writers.held:
            return
        with self._changes():
            if self._writers.acquire(wait=False) and not _part_files(self.parts):
                shutil.rmtree(self.parts)
            self._writers.release()

    def _changes(self) -> FileLock:
        """Lock to hold while parts are changed or merged."""
        return _changes_of(self.path)

    def _claim(self) -> None:
        """Note the job with the parts, or check that it is the one they were made by."""
        job = self.parts / _JOB
        try:
            theirs = json.loads(job.read_text(encoding="utf-8"))
        except FileNotFoundError:
            with replacing(job) as temporary:
                temporary.write_text(json.dumps(self.job), encoding="utf-8")
            return
        except (OSError, ValueError) as error:
            raise DataError(f"{job} can't be read ({error}): start afresh with overwrite.") from None
        self._same_job(theirs, self.parts)

    def _stored(self) -> list[str]:
        """Names in the store as it is now; none when it is to be replaced."""
        return store_names(self.path) if not self.overwrite and self.path.exists() else []

    def _part_names(self) -> dict[str, Path]:
        """Name → file of the parts; each file is opened once."""
        files = _part_files(self.parts)
        for file in files:
            if file not in self._names:
                try:
                    with open_store(file) as part:
                        self._names[file] = json.loads(read_text(part, "provenance"))["name"]
                except DataError:
                    file.unlink(missing_ok=True)  # cut short by a power failure: made again
        return {self._names[file]: file for file in files if file in self._names}

    def _verify(self, parts: dict[str, Path]) -> None:
        damaged = []
        for name, file in parts.items():
            try:
                with open_store(file) as part:
                    read_record(part["record"], str(file))
            except DataError:
                damaged.append(name)
                file.unlink()
        if damaged:
            raise DataError(
                f"{len(damaged)} part(s) of {self.path} were damaged and are removed (e.g. {damaged[0]}): "
                "run the same command again."
            )

    def _same_job(self, theirs: dict[str, Any], where: Path) -> None:
        if theirs != self.job:
            fields = sorted(k for k in {*theirs, *self.job} if theirs.get(k) != self.job.get(k))
            raise DataError(
                f"{where} was made by another job (different {', '.join(fields)}): "
                "choose another name, or overwrite it."
            )


def _part_file(name: str) -> str:
    """File name of a part: a readable start and a hash, since names may hold slashes or be long."""
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[-60:]
    return f"{safe}.{hashlib.sha256(name.encode()).hexdigest()[:12]}.h5"


def _part_files(folder: Path) -> list[Path]:
    """Files of finished parts."""
    return sorted(folder.glob("[!.]*.h5")) if folder.is_dir() else []


def _write_root(file: h5py.File, provenance: dict[str, Any]) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = FORMAT_VERSION
    facts = {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "propensity": __version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    write_text(file, "provenance", json.dumps({**facts, **provenance}))


@contextmanager
def _created(path: Path) -> Iterator[h5py.File]:
    try:
        with writing(path, _LIBVER) as (file, _):
            yield file
    except (OSError, RuntimeError) as error:
        detail = disk_reason(error) or " ".join(str(error).split())[:120]
        raise DataError(
            f"{path} can't be written ({detail}): make room or choose another folder, then run the same"
            " command again."
        ) from None


def _check_part(path: Path) -> None:
    """Read a part that was just written, before anyone forgets what it was made from."""
    try:
        with open_store(path) as part:
            read_record(part["record"], path.name)
    except DataError as error:
        raise PropensityError(
            f"a structure could not be written whole ({error}): make room, then run the same command again."
        ) from None


def _check(path: Path, n: int) -> None:
    """Read a store that was just written: not every error of a disk reaches the program that writes."""
    try:
        with open_store(path) as file:
            read_text(file, "provenance")
            if len(json.loads(read_text(file, "names"))) != n:
                raise ValueError("its names are others")
            for i in range(n):
                read_record(file["structures"][key(i)], f"structure {i}")
    except DataError as error:
        raise PropensityError(
            f"the store could not be written whole ({error}) and what was there stays: make room, then run"
            " the same command again."
        ) from None


def _changes_of(path: Path) -> FileLock:
    return FileLock(path.with_name(f".{path.name}.lock"), passing=True)


def forget_lock(path: Path) -> None:
    """Remove the lock file that a writer leaves beside a whole store when it is killed in its last moment."""
    lock = _changes_of(path)
    if lock.path.exists() and lock.acquire(wait=False):
        lock.release()
