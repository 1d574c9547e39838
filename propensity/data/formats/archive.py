"""npz archives as readers of data sets see them: kept in memory, each array of the shape it should have."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from propensity.archive import archive_names, read_archive
from propensity.errors import DataError

npz_keys = archive_names

#: What kinds of numbers are called.
_WORDS = {"iu": "integers", "iuf": "real numbers", "biu": "integers", "U": "text"}


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of an archive; the last two archives stay in memory, since npz can't be read in part."""
    path = Path(path).absolute()
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}).") from None
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, mtime: int, size: int) -> dict[str, np.ndarray]:
    return read_archive(path)


def array(
    data: Mapping[str, np.ndarray],
    key: str,
    where: object,
    shape: tuple[int | None, ...] | None = None,
    kinds: str = "iuf",
) -> np.ndarray:
    """Array ``key`` of an archive, of numpy kinds ``kinds`` and of ``shape``, where None fits any length.

    Raises
    ------
    DataError
        When it is missing or something else.
    """
    if key not in data:
        raise DataError(f"{where} has no array {key!r}.")
    found = data[key]
    if found.dtype.kind not in kinds:
        raise DataError(f"{where}: {key} {_has(key)} dtype {found.dtype} instead of {_WORDS[kinds]}.")
    if shape is not None and (
        found.ndim != len(shape)
        or any(n is not None and n != m for n, m in zip(shape, found.shape, strict=True))
    ):
        wanted = tuple("any" if n is None else n for n in shape)
        raise DataError(f"{where}: {key} {_has(key)} shape {found.shape} instead of {_tuple(wanted)}.")
    return found


def read_number(data: Mapping[str, np.ndarray], key: str, where: object) -> float | None:
    """Number ``key`` of an archive, finite and positive; None where there is none."""
    if key not in data:
        return None
    value = float(array(data, key, where, ()))
    if not np.isfinite(value) or value <= 0:
        raise DataError(f"{where}: {key} is {value:g} instead of a positive number.")
    return value


def integer(
    data: Mapping[str, np.ndarray], key: str, where: object, least: int, end: int | None = None
) -> int | None:
    """Integer ``key`` of an archive, at least ``least`` and below ``end``; None where there is none."""
    if key not in data:
        return None
    value = int(array(data, key, where, (), "iu"))
    if value < least or (end is not None and value >= end):
        wanted = f"{least} or more" if end is None else f"{least} to {end - 1}"
        raise DataError(f"{where}: {key} is {value} instead of {wanted}.")
    return value


def text(data: Mapping[str, np.ndarray], key: str, where: object) -> str | None:
    """Text ``key`` of an archive; None where there is none."""
    return str(array(data, key, where, (), "U")) if key in data else None


def _has(key: str) -> str:
    return "have" if key.endswith(("positions", "types", "times", "halves")) else "has"


def _tuple(values: tuple[object, ...]) -> str:
    return f"({', '.join(map(str, values))}{',' if len(values) == 1 else ''})"
