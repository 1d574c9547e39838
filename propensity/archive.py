"""Reading npz archives from strangers: plain arrays of bounded size, or one sentence."""

from __future__ import annotations

import os
import warnings
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from propensity.errors import DataError
from propensity.files import regular

#: Unpacked bytes that no archive may exceed.
MAX_BYTES = 16 * 2**30
#: Unpacked bytes that any archive may have; beyond, at most ``MAX_RATIO`` times its size on disk.
FREE_BYTES = 64 * 2**20
MAX_RATIO = 50
MAX_MEMBERS = 10_000
#: Letters of dtypes that are plain data: booleans, integers, floats, complex numbers, text.
_KINDS = "biufcSU"
_FORMATS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def archive_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the arrays of an archive, from its table of contents alone.

    Raises
    ------
    DataError
        When it is none.
    """
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            return list(_members(archive, Path(path).stat().st_size))
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None


def read_archive(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All arrays of an archive, each of numbers or text.

    Nothing is allocated before sizes are known to be sane: members by the table of contents, arrays by their
    headers, which must agree with it.

    Raises
    ------
    DataError
        When the archive is damaged, holds anything but plain arrays, or unpacks to absurd sizes.
    """
    try:
        with zipfile.ZipFile(regular(path)) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            members = _members(archive, Path(path).stat().st_size)
            return {name: _array(archive, member) for name, member in members.items()}
    except DataError:
        raise
    except Exception as error:  # zip, deflate, tokenizer and dtype machinery raise nearly anything
        raise _unreadable(path, error) from None


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Members by the names of their arrays."""
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise ValueError(f"it has {len(infos)} members, more than {MAX_MEMBERS}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            raise ValueError(f"its member {_shown(name)} is no array (.npy)")
        if name in members:
            raise ValueError(f"it holds {_shown(name)} twice")
        if info.flag_bits & 0x1:
            raise ValueError(f"its member {_shown(name)} is encrypted")
        if info.compress_type not in _FORMATS:
            raise ValueError(f"its member {_shown(name)} is compressed by an unknown method")
        members[name] = info
    total = sum(info.file_size for info in infos)
    if total > MAX_BYTES or total > max(FREE_BYTES, MAX_RATIO * size):
        raise ValueError(f"its {size / 2**20:.3g} MiB claim to unpack to {total / 2**20:.4g} MiB")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(stream)
        left = info.file_size - stream.tell()
        if dtype.kind not in _KINDS:
            what = "Python objects" if dtype.kind == "O" else f"dtype {str(dtype)[:40]}"
            raise ValueError(f"its array {_shown(info.filename)} holds {what} instead of numbers or text")
        count = 1
        for n in shape:
            count *= int(n)
        if any(n < 0 for n in shape) or count * dtype.itemsize != left or len(shape) > 32:
            raise ValueError(f"its array {_shown(info.filename)} has another size than its header says")
        data = stream.read(left)
        # Reading to the end is what makes zipfile compare the checksum.
        if len(data) != left or stream.read(1):
            raise ValueError(f"its array {_shown(info.filename)} is cut short")
    order = "F" if fortran else "C"
    if dtype.itemsize == 0:
        return np.zeros(shape, dtype)
    # A copy, since what comes from a buffer of bytes can't be written to.
    return np.frombuffer(data, dtype=dtype, count=count).reshape(shape, order=order).copy(order="K")  # type: ignore[call-overload,no-any-return]


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"an array has version {version} of the npy format")


def _shown(name: str) -> str:
    return repr(name[:60])


def _unreadable(path: str | os.PathLike[str], error: Exception) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{path} can't be read ({error.strerror}).")
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return DataError(f"{path} is not a readable npz archive ({reason}): copy it again.")
