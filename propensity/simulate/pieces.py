"""Finished pieces on disk: each written at once and whole, so that a killed run resumes where it was."""

from __future__ import annotations

import fcntl
import json
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from propensity.archive import read_archive
from propensity.documents import read_json
from propensity.errors import DataError, InputError, PropensityError
from propensity.files import replacing
from propensity.simulate.engine import Microstate

#: What the members that make a microstate begin with: now, and in releases before this word.
MICROSTATE = ("microstate_", "state_")
#: Bytes of the last pieces that are kept in memory too, since most are asked for soon.
_RECENT = 256_000_000
#: Member of a piece that holds the checksum of the others.
_CHECKSUM = "crc32"


class Piece(dict[str, np.ndarray]):
    """Arrays of a stored piece; one that it should have and lacks is damage."""

    def __init__(self, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__(arrays)
        self.path = path

    def __missing__(self, name: str) -> np.ndarray:
        raise _damaged(self.path, f"it has no {name}")


class PieceStore:
    """Folder of finished pieces that belong to one set of settings.

    Parameters
    ----------
    folder
        Made when absent.
    identity
        Settings in JSON types; a folder begun with others is refused.

    Raises
    ------
    InputError
        When the folder was begun with other settings, with the first that differs.
    PropensityError
        When it can't be written or another run is using it.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(folder / "lock", "w", encoding="utf-8")
        except OSError as error:
            raise PropensityError(
                f"{folder} can't be written ({error.strerror}): choose a writable folder for -o."
            ) from None
        try:
            # The kernel drops the lock with the process, however it dies.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PropensityError(
                f"another run is working in {folder}: wait for it or choose another -o."
            ) from None
        except OSError:
            pass  # a file system without locks
        settings = folder / "settings.json"
        if settings.exists():
            begun = read_json(settings, "settings file", PropensityError)
            check_identity(begun if isinstance(begun, dict) else {}, identity, str(folder))
        else:
            with replacing(settings) as path:
                path.write_text(json.dumps(identity, indent=1), "utf-8")
        self._recent: dict[str, dict[str, np.ndarray]] = {}
        self._held = 0
        self._done = {
            str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.npz") if p.name[0] != "."
        }

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def save(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        """Store a piece; it is there whole or not at all."""
        try:
            with replacing(self.folder / f"{key}.npz") as path:
                np.savez(path, **{**arrays, _CHECKSUM: _checksum(arrays)})  # type: ignore[arg-type]
            self._done.add(key)
            self._remember(key, arrays)
            with open(self.folder / "stored.log", "a", encoding="utf-8") as log:
                log.write(key + "\n")
        except OSError as error:
            raise PropensityError(
                f"{self.folder / key}.npz can't be written ({error.strerror or error}): make room, then run"
                " the same command again."
            ) from None

    def _remember(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        self._held += sum(a.nbytes for a in arrays.values())
        self._recent[key] = arrays
        while self._held > _RECENT:
            old = self._recent.pop(next(iter(self._recent)))
            self._held -= sum(a.nbytes for a in old.values())

    def load(self, key: str) -> Piece:
        """Read a piece."""
        path = self.folder / f"{key}.npz"
        if key in self._recent:
            return Piece(path, self._recent[key])
        try:
            arrays = read_archive(path)
        except (OSError, DataError) as error:
            reason = str(error).rstrip(".").removesuffix(": copy it again").removeprefix(f"{path} is ")
            raise _damaged(path, reason) from None
        stored = arrays.pop(_CHECKSUM, None)
        wrong = [name for name, array in arrays.items() if array.dtype.kind not in "iuf"]
        if wrong or (stored is not None and not np.array_equal(stored, _checksum(arrays))):
            raise _damaged(path, f"its {wrong[0]} are no numbers" if wrong else "its checksum differs")
        return Piece(path, arrays)

    def close(self) -> None:
        """Let another run use the folder; it goes when nothing was finished."""
        if not self._done:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def remove(self) -> None:
        """Delete the folder, its pieces having gone into the data set."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()


def check_identity(old: dict[str, Any], new: dict[str, Any], where: str) -> None:
    """Refuse to continue ``where`` with other settings, naming the first that differs."""
    old = {"engine": "lammps", "anneal": 0.0} | old  # all that there was, once
    for key in new:
        a, b = old.get(key), new[key]
        if a == b:
            continue
        if isinstance(b, dict) and isinstance(a, dict):
            part = next(k for k in b if a.get(k) != b[k])
            key, a, b = f"{key}.{part}", a.get(part), b[part]
        raise InputError(
            f"{where} was begun with {key} {_short(a)}, and now it is {_short(b)}: repeat the first settings,"
            " choose another -o or delete it."
        )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def pack_microstate(microstate: Microstate) -> dict[str, np.ndarray]:
    """Microstate as arrays for :meth:`PieceStore.save`."""
    assert microstate.masses is not None
    sizes = {} if microstate.diameters is None else {"microstate_diameters": microstate.diameters}
    return sizes | {
        "microstate_positions": microstate.positions,
        "microstate_velocities": microstate.velocities,
        "microstate_types": microstate.types,
        "microstate_box": microstate.box,
        "microstate_masses": microstate.masses,
    }


def unpack_microstate(arrays: Mapping[str, np.ndarray]) -> Microstate:
    """Inverse of :func:`pack_microstate`."""
    prefix = next((p for p in MICROSTATE if f"{p}positions" in arrays), MICROSTATE[0])
    n = len(np.atleast_1d(arrays[f"{prefix}positions"]))
    shapes = {"positions": (n, 3), "velocities": (n, 3), "types": (n,), "box": (3,), "masses": (n,)}
    if f"{prefix}diameters" in arrays:
        shapes["diameters"] = (n,)
    found = {name: arrays[f"{prefix}{name}"] for name in shapes}
    for name, shape in shapes.items():
        if found[name].shape != shape or (name == "types") != (found[name].dtype.kind in "iu"):
            where = arrays.path if isinstance(arrays, Piece) else "a microstate"
            raise _damaged(where, f"its {name} have shape {found[name].shape} instead of {shape}")
    return Microstate(**found)


def _checksum(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of names, shapes and contents, shape ()."""
    value = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        value = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(array.tobytes(), value)
    return np.array(value, dtype=np.uint32)


def _damaged(path: object, why: str) -> PropensityError:
    return PropensityError(f"{path} is damaged ({why}): delete it and run the same command again.")
