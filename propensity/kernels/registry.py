"""Which kernels there are and which one runs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Protocol

import torch

from propensity.errors import InputError, suggest

if TYPE_CHECKING:
    from propensity.nn.convolution import Convolution


class Kernel(Protocol):
    """One implementation of :class:`propensity.nn.convolution.Convolution`."""

    name: str

    def prepare(self, graph: Any, convolution: Convolution) -> Any:
        """Compute what all layers share (directions, lengths, order of edges) once a forward pass."""

    def convolve(
        self, convolution: Convolution, hidden: torch.Tensor, scalars: torch.Tensor, geometry: Any
    ) -> torch.Tensor:
        """Return the convolved features, shape (N, layout.dim_out)."""


#: Name → module with ``KERNEL`` and ``is_available(device, dtype)``; fastest first.
_MODULES: dict[str, str] = {
    "triton": "propensity.kernels.triton_kernel",
    "cpu": "propensity.kernels.cpu",
    "reference": "propensity.kernels.reference",
}


def available_kernels(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> list[str]:
    """Names of the kernels that can run here on ``device``, fastest first."""
    return [
        name
        for name, path in _MODULES.items()
        if importlib.import_module(path).is_available(torch.device(device), dtype)
    ]


def get_kernel(name: str, device: torch.device | str, dtype: torch.dtype) -> Kernel:
    """Return the kernel called ``name``, or the fastest available one for ``"auto"``."""
    if name == "auto":
        name = available_kernels(device, dtype)[0]
    if name not in _MODULES:
        raise InputError(
            f"kernel {name!r} is unknown: choose from {['auto', *_MODULES]}{suggest(name, _MODULES)}."
        )
    return importlib.import_module(_MODULES[name]).KERNEL
