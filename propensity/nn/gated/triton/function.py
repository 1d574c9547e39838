"""Launches of kernels, forward and backward, as one function of autograd."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from propensity.nn.kernels.triton.ahead import NotedKernels, noted


class Work(Protocol):
    """Launches ``kernels``; what :meth:`forward` keeps serves one :meth:`backward`."""

    kernels: Any

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Results."""

    def backward(self, grads: list[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients of the tensors."""


def launched(work: Work, key: tuple[Any, ...], tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Results of some work, whose kernels are compiled side by side the first time that a key appears."""
    device = tensors[0].device
    with (
        noted((*key, device), device) as wanted,
        torch.autocast(device.type, enabled=False),
        torch.no_grad(),
    ):
        if wanted is not None:
            dry = copy.copy(work)
            dry.kernels = NotedKernels(0, dry.kernels, wanted)
            dry.backward([torch.zeros_like(x) for x in dry.forward(tensors)])
    found: tuple[torch.Tensor, ...] = _Launched.apply(work, *tensors)  # type: ignore[no-untyped-call]
    return found


class _Launched(torch.autograd.Function):
    """See :func:`launched`."""

    @staticmethod
    def forward(ctx: Any, work: Work, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Results."""
        ctx.work = work
        with torch.autocast(tensors[0].device.type, enabled=False):
            return work.forward(tensors)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of the tensors."""
        work, ctx.work = ctx.work, None
        if work is None:  # its buffers have been written over
            raise RuntimeError("layers of the gated network in kernels go backward once.")
        with torch.autocast(grads[0].device.type, enabled=False):
            return (None, *work.backward([g.contiguous() for g in grads]))
