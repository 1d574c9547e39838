"""Consecutive layers of a gated network as one function of autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from propensity.nn.gated.layer import GatedLayer
from propensity.nn.gated.triton.passes import Edges, Pass, Run, Weights
from propensity.nn.gated.triton.sizes import Sizes, parameters_of
from propensity.nn.kernels.triton.ahead import NotedKernels, noted

Features = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def pass_layers(
    layers: Sequence[GatedLayer], weights: Sequence[Weights], edges: Edges, features: Features
) -> Features:
    """Features after some layers, each of which sees its ``weights``."""
    half = weights[0].radial.dtype
    kept, p = None, layers[0].dropout.p
    if p > 0 and layers[0].training:
        shape = (len(layers), len(features[0]), layers[0].widths.hidden)
        kept = features[0].new_empty(shape, dtype=half).bernoulli_(1 - p).div_(1 - p)
    task = Run(layers, weights, edges, half, kept)
    tensors = [*(f.contiguous() for f in features), *(p for layer in layers for p in parameters_of(layer))]
    _compile_ahead(task, tensors)
    found: Features = _Layers.apply(task, *tensors)  # type: ignore[no-untyped-call]
    return found


def _compile_ahead(task: Run, tensors: Sequence[torch.Tensor]) -> None:
    """Compile the kernels of a pass side by side, once for each kind of layers."""
    device, sizes = tensors[0].device, Sizes(task.layers[0], 0)
    key = "gated", device, task.half, task.kept is None, len(task.layers) > 1, *sizes.edges.values()
    with (
        noted((*key, *sizes.mix.values(), *sizes.update.values()), device) as wanted,
        torch.autocast(device.type, enabled=False),
        torch.no_grad(),
    ):
        if wanted is not None:
            dry = Pass(task, tensors[3:])
            dry.kernels = NotedKernels(0, dry.kernels, wanted)
            dry.forward(tensors[:3])
            dry.backward([torch.zeros_like(x) for x in tensors[:3]])


class _Layers(torch.autograd.Function):
    """See :func:`pass_layers`."""

    @staticmethod
    def forward(ctx: Any, task: Run, *tensors: torch.Tensor) -> Features:
        """Features after all layers."""
        with torch.autocast(tensors[0].device.type, enabled=False):
            passing = Pass(task, tensors[3:])
            passing.forward(tensors[:3])
        ctx.passing = passing
        return passing.scalars[-1], passing.vectors[-1], passing.quadrupoles

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        """Gradients of the features before, and of all parameters."""
        passing, ctx.passing = ctx.passing, None
        if passing is None:  # its buffers have been written over
            raise RuntimeError("layers of the gated network in kernels go backward once.")
        with torch.autocast(grads[0].device.type, enabled=False):
            return (None, *passing.backward([g.contiguous() for g in grads]))
