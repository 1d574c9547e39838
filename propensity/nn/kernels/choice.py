"""Which kernels there are and which one runs."""

from __future__ import annotations

import importlib
import logging
from functools import lru_cache

import torch

from propensity.errors import InputError, suggest
from propensity.nn.kernels.base import Kernel

log = logging.getLogger(__name__)

#: Name → module with ``KERNEL`` and ``is_available(device, dtype)``; fastest first.
_MODULES: dict[str, str] = {
    "triton": "propensity.nn.kernels.triton.kernel",
    "cpu": "propensity.nn.kernels.cpu.kernel",
    "reference": "propensity.nn.kernels.reference",
}


def available_kernels(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[str]:
    """Names of the kernels that can run here on ``device``, fastest first."""
    return [
        name
        for name, path in _MODULES.items()
        if importlib.import_module(path).is_available(torch.device(device), dtype)
    ]


def get_kernel(name: str, device: torch.device | str, dtype: torch.dtype) -> Kernel:
    """Return the kernel called ``name``, or the fastest available one for ``"auto"``.

    A kernel that cannot run here is replaced by the fastest that can, with one line in the log.
    """
    if name != "auto" and name not in _MODULES:
        raise InputError(
            f"kernel {name!r} is unknown: choose from {['auto', *_MODULES]}{suggest(name, _MODULES)}."
        )
    return _choose(name, torch.device(device), dtype)


@lru_cache(maxsize=64)
def _choose(name: str, device: torch.device, dtype: torch.dtype) -> Kernel:
    available = available_kernels(device, dtype)
    # On CPUs Triton only runs in its interpreter, which is for tests that ask for it by name.
    fastest = next(kernel for kernel in available if (kernel, device.type) != ("triton", "cpu"))
    if name not in ("auto", *available):
        log.warning("kernel %r cannot run on %s in %s: using %r.", name, device, dtype, fastest)
        name = "auto"
    return importlib.import_module(_MODULES[fastest if name == "auto" else name]).KERNEL
