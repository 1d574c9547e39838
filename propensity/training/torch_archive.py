"""Reading the files of ``torch.save`` without torch's unpickler: numbers and containers, nothing that runs.

Runs begun before checkpoints were safetensors go on from such files.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from propensity.data.formats.pickled_arrays import RefusedError
from propensity.data.formats.pickles import parse_pickle
from propensity.errors import DataError
from propensity.files import regular

MAX_BYTES = 4 * 2**30
_STORAGES = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


def read_torch_archive(path: str | os.PathLike[str]) -> Any:
    """Tensors and plain containers of a file of ``torch.save``.

    Raises
    ------
    DataError
        When it is damaged or holds anything else.
    """
    try:
        with zipfile.ZipFile(regular(path)) as archive:
            total = sum(info.file_size for info in archive.infolist())
            # Stored, never compressed, by torch.
            if total > MAX_BYTES or total > 2 * Path(path).stat().st_size:
                raise ValueError("it claims to unpack to more than it has")
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            reader = _Storages(archive, name.removesuffix("data.pkl"))
            tree = parse_pickle(archive.read(name), str(path), reader.makers(), reader.storage)
        return _tensors(tree)
    except (DataError, FileNotFoundError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise DataError(f"{path} is not a readable file of torch ({reason})") from None


class _Storages:
    """Storages of an archive, and the tensors that look into them."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        self.archive, self.prefix = archive, prefix
        self.found: dict[str, np.ndarray] = {}

    def makers(self) -> dict[str, Any]:
        """What a pickle of torch may call."""
        kinds = {f"torch {name}Storage": _kind for name in _STORAGES}
        return {"collections OrderedDict": dict, "torch._utils _rebuild_tensor_v2": self.tensor, **kinds}

    def storage(self, identifier: Any) -> Any:
        """Numbers of a persistent identifier ``("storage", kind, key, device, count)``."""
        if not isinstance(identifier, tuple) or len(identifier) != 5 or identifier[0] != "storage":
            raise RefusedError("it refers to something that is no storage")
        kind, key = getattr(identifier[1], "name", ""), str(identifier[2])
        dtype = _STORAGES.get(kind.removeprefix("torch ").removesuffix("Storage"))
        if dtype is None:
            raise RefusedError(f"it has a storage of kind {kind[:40]!r}")
        if key not in self.found:
            self.found[key] = np.frombuffer(self.archive.read(f"{self.prefix}data/{key}"), dtype)
        return _Numbers(self.found[key])

    def tensor(self, numbers: Any, offset: Any, size: Any, stride: Any, *_: Any) -> np.ndarray:
        """Array of a tensor; its view must lie inside its storage and not repeat it."""
        if not isinstance(numbers, _Numbers) or not isinstance(size, tuple) or not isinstance(stride, tuple):
            raise RefusedError("it has a malformed tensor")
        whole = (offset, *size, *stride)
        if len(size) != len(stride) or not all(isinstance(n, int) and 0 <= n < 2**40 for n in whole):
            raise RefusedError("it has a malformed tensor")
        flat, count = numbers.array, int(np.prod(size, dtype=object))
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if count > len(flat) or (count and last >= len(flat)):
            raise RefusedError("it has a tensor beyond its storage")
        steps = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], size, steps).copy()


class _Numbers:
    """A storage on the stack of the pickle."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def _kind(*_: Any) -> Any:
    raise RefusedError("it makes a storage")


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, dict):
        return {key: _tensors(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_tensors(item) for item in value)
    return value
