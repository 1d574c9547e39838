"""The devices that networks run on: by name, side by side, and their memory."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from propensity.errors import InputError


def chosen_device(name: str | torch.device | None) -> torch.device:
    """Device by name; None takes CUDA where there is one.

    Raises
    ------
    InputError
        For a device that is unknown or absent.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is unknown: give cpu, cuda, cuda:0 or mps.") from None
    missing = (
        device.type == "cuda"
        and not (torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count())
    ) or (device.type == "mps" and not torch.backends.mps.is_available())
    if missing or device.type not in ("cpu", "cuda", "mps"):
        raise InputError(
            f"device {name!r} is not available here: give cpu or install a build of torch for it."
        )
    return device


def all_gpus(device: torch.device) -> tuple[str, ...]:
    """All GPUs of the host for a device that says CUDA without a number; for any other none."""
    if device.type != "cuda" or device.index is not None:
        return ()
    return tuple(f"cuda:{number}" for number in range(torch.cuda.device_count()))


@contextmanager
def side_by_side(count: int) -> Iterator[Callable[[Callable[[Any], None], Iterable[Any]], None]]:
    """Within the block, a function is called for each of so many devices, by a thread each."""
    if count == 1:  # without one, which would have memory of its own for products of matrices
        yield lambda function, values: deque(map(function, values), maxlen=0)  # type: ignore[misc]
        return
    with ThreadPoolExecutor(count) as pool:
        yield lambda function, values: deque(pool.map(function, values), maxlen=0)  # type: ignore[misc]


def free_memory() -> None:
    """Give the devices' memory back of what was begun and could not be finished."""
    gc.collect()  # what frames and errors hold in circles
    torch.cuda.empty_cache()
