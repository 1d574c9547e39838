"""The device that a network runs on, by name."""

from __future__ import annotations

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
