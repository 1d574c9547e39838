"""Opening npz archives with errors in one line and without unpickling."""

from __future__ import annotations

import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from propensity.errors import DataError


def npz_keys(path: str | os.PathLike) -> list[str]:
    """Names of the arrays of an archive."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return list(archive.files)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise DataError(f"{path} is not a readable npz archive ({_short(error)}): copy it again.") from None


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All arrays of an archive; the last two archives stay in memory, since npz can't be read in part."""
    path = Path(path).absolute()
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}).") from None
    return _read(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, mtime: int, size: int) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (
        OSError,
        ValueError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
        MemoryError,
    ) as error:
        raise DataError(f"{path} is not a readable npz archive ({_short(error)}): copy it again.") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
