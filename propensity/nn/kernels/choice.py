"""Which kernels there are and which one runs."""

from __future__ import annotations

from functools import lru_cache

import torch

from propensity.nn.kernels.base import Kernel
from propensity.registry import Registry

#: Implementations of the network's layers, fastest first.
KERNELS: Registry[Kernel] = Registry(
    "kernel",
    {
        "triton": "propensity.nn.kernels.triton.kernel:KERNEL",
        "cpu": "propensity.nn.kernels.cpu.kernel:KERNEL",
        "reference": "propensity.nn.kernels.reference:KERNEL",
    },
)


def available_kernels(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[str]:
    """Names of the kernels that can run here on ``device``, fastest first."""
    device = torch.device(device)
    return KERNELS.able(lambda kernel: kernel.is_available(device, dtype))


def get_kernel(name: str, device: torch.device | str, dtype: torch.dtype) -> Kernel:
    """Return the kernel called ``name``, or the fastest that can run here for ``"auto"``.

    Raises
    ------
    InputError
        For a name that is unknown or a kernel that cannot run here.
    """
    return _choose(name, torch.device(device), dtype)


@lru_cache(maxsize=64)
def _choose(name: str, device: torch.device, dtype: torch.dtype) -> Kernel:
    return KERNELS.choose(
        name,
        lambda kernel: kernel.is_available(device, dtype),
        f"on {device} in {dtype}",
        # On CPUs Triton only runs in its interpreter, which is for tests that ask for it by name.
        lambda other: (other, device.type) != ("triton", "cpu"),
    )
