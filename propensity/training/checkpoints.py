"""Checkpoints that are safe to load: one safetensors file of tensors and plain values, never code."""

from __future__ import annotations

import json
import math
import zlib
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from propensity.documents import parse_json
from propensity.errors import DataError
from propensity.files import regular
from propensity.tensors import read_tensors, write_tensors
from propensity.training.later import Later
from propensity.training.torch_archive import read_torch_archive

#: Names of the tensors that hold everything but tensors, as JSON, and the checksum of all.
TREE, CHECKSUM = "tree", "crc32"
#: What every checkpoint of a training has, and of which type.
_PARTS = {"state_dict": dict, "callbacks": dict, "optimizer_states": list, "epoch": int, "global_step": int}


class SafeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints in our own format: nothing in them can run.

    Parameters
    ----------
    later
        Calls what writes a file, when the device has come to what is in it.
    """

    def __init__(self, later: Later) -> None:
        self.later = later

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, then rename."""
        write_checkpoint(path, checkpoint, self.later)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read without executing anything."""
        return read_checkpoint(path, map_location)


def write_checkpoint(path: str | Path, checkpoint: Mapping[str, Any], later: Later | None = None) -> None:
    """Write nested dicts, lists, tuples, numbers, texts and tensors as they are now; the file is replaced at
    once, or by ``later`` when the device has come to this.

    Raises
    ------
    TypeError
        For a value of any other type.
    """
    vectors, when = _Vectors(), later or Later()
    tree = json.dumps(_packed(checkpoint, vectors)).encode()
    when.add(vectors.device, partial(_write, path, tree, vectors.on_host()))
    if later is None:
        when.finish()


def _write(path: str | Path, tree: bytes, vectors: dict[str, torch.Tensor]) -> None:
    tensors = dict(vectors)
    tensors[TREE] = torch.frombuffer(bytearray(tree), dtype=torch.uint8)
    tensors[CHECKSUM] = torch.tensor(_checksum(tensors), dtype=torch.int64)
    write_tensors(path, tensors)


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Load a checkpoint of a training.

    Raises
    ------
    DataError
        When it is missing, damaged, or no checkpoint of this package.
    """
    try:
        with open(regular(path), "rb") as file:
            old = file.read(4) == b"PK\x03\x04"
        checkpoint = read_torch_archive(path) if old else _read(path, map_location or "cpu")
        for name, kind in _PARTS.items():
            if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(name), kind):
                raise ValueError(f"it has no {name}")
        return cast("dict[str, Any]", checkpoint)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: there is no checkpoint to continue from.") from None
    except DataError as error:
        reason = str(error).rstrip(".").removesuffix(": copy it again")
        raise DataError(f"{reason}; it was not loaded: train again.") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise DataError(
            f"{path} is not a readable checkpoint ({reason}) and was not loaded: train again."
        ) from None


def _read(path: str | Path, device: Any) -> Any:
    tensors = read_tensors(path, "checkpoint")
    stored = tensors.pop(CHECKSUM)
    if stored.shape != () or int(stored) != _checksum(tensors):
        raise ValueError("its checksum differs")
    tree = parse_json(tensors.pop(TREE).numpy().tobytes())
    return _unpacked(tree, {name: tensor.to(device) for name, tensor in tensors.items()})


class _Vectors:
    """Tensors end to end, one vector for all of a device and type: a training has hundreds of small ones, and
    to fetch, check and write each by itself took ten milliseconds an epoch.
    """

    def __init__(self) -> None:
        self._parts: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = defaultdict(list)
        self._lengths: dict[tuple[torch.device, torch.dtype], int] = defaultdict(int)
        self._names: dict[tuple[torch.device, torch.dtype], str] = {}

    def add(self, value: torch.Tensor) -> list[Any]:
        """Where it will be: vector, start, shape."""
        key = value.device, value.dtype
        start, self._lengths[key] = self._lengths[key], self._lengths[key] + value.numel()
        self._parts[key].append(value.detach().flatten())
        if key not in self._names:
            self._names[key] = " ".join(map(str, key))
        return [self._names[key], start, list(value.shape)]

    @property
    def device(self) -> torch.device:
        """That of which some are, or the host."""
        return next((device for device, _ in self._parts if device.type == "cuda"), torch.device("cpu"))

    def on_host(self) -> dict[str, torch.Tensor]:
        """The vectors by name, of a GPU when it has come to this."""
        return {
            self._names[key]: torch.cat(parts).to("cpu", non_blocking=key[0].type == "cuda")
            for key, parts in self._parts.items()
        }


def _packed(value: Any, vectors: _Vectors) -> Any:
    """JSON for a value; containers become lists whose first entry says of what kind they are."""
    # What there is most of comes first: the log alone has a number for each epoch and label.
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return ["tensor", *vectors.add(value)]
    if isinstance(value, Mapping):
        return ["dict", *([_packed(k, vectors), _packed(v, vectors)] for k, v in value.items())]
    if isinstance(value, (list, tuple)):
        kind = "list" if isinstance(value, list) else "tuple"
        return [kind, *(_packed(item, vectors) for item in value)]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a checkpoint can't hold a {type(value).__name__}")


def _unpacked(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Inverse of :func:`_packed`."""
    if not isinstance(value, list):
        if isinstance(value, dict):
            raise ValueError("its tree is malformed")
        return value
    kind, items = value[0], value[1:]
    if kind == "tensor":
        if len(items) == 1:  # as it was written before vectors
            return tensors[items[0]]
        name, start, shape = items
        return tensors[name][start : start + math.prod(shape)].view(shape).clone()
    if kind == "dict":
        return {_key(_unpacked(k, tensors)): _unpacked(v, tensors) for k, v in items}
    if kind in ("list", "tuple"):
        parts = [_unpacked(item, tensors) for item in items]
        return parts if kind == "list" else tuple(parts)
    raise ValueError(f"its tree holds a {str(kind)[:40]!r}")


def _key(key: Any) -> Any:
    if not isinstance(key, (str, int, float)):
        raise ValueError(f"its tree has a key of type {type(key).__name__}")
    return key


def _checksum(tensors: Mapping[str, torch.Tensor]) -> int:
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(
            tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"", value
        )
    return value
