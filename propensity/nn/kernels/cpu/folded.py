"""What inference makes of a layer's parameters, kept until one of them changes."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from propensity.nn.kernels.cpu.layer import product_of, radial_of, radial_parameters, running_moments
from propensity.nn.kernels.cpu.radial import Radial
from propensity.nn.kernels.cpu.rows import padded
from propensity.nn.kernels.cpu.tiles import Product
from propensity.nn.layout import ConvolutionLayout


class Folded(NamedTuple):
    """A layer for the loops of inference."""

    product: Product
    radial: Radial  # its ``kept`` is empty
    scale: torch.Tensor  # batch norm of each feature, padded to whole vectors
    shift: torch.Tensor  # of each scalar, likewise


_HELD: weakref.WeakKeyDictionary[Any, tuple[list[np.ndarray], Folded]] = weakref.WeakKeyDictionary()


def folded(convolution: Any, norm: Any) -> Folded:
    """One layer; made anew when a number has changed, which versions of tensors don't always tell."""
    mlp = convolution.radial
    tensors = (
        *radial_parameters(mlp),
        mlp.norm.running_mean,
        mlp.norm.running_var,
        *convolution.mix,
        norm.weight,
        norm.bias,
        norm.running_mean,
        norm.running_var,
    )
    now = [tensor.detach().numpy() for tensor in tensors]
    held = _HELD.get(convolution)
    if held is None or not all(map(_same, held[0], now)):
        layout, nothing = convolution.layout, np.empty(0, np.uint16)
        # Copies, since what is made may share memory with the parameters.
        own = [torch.from_numpy(array.copy()) for array in now]
        radial = radial_of(layout, tuple(own[:6]), running_moments(mlp), nothing, 1.0)
        product = product_of(layout, "forward", own[8 : 8 + len(convolution.mix)])
        held = [tensor.numpy() for tensor in own], Folded(product, radial, *_norm(norm, layout))
        _HELD[convolution] = held
    return held[1]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def _norm(norm: Any, layout: ConvolutionLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """The equivariant batch norm at inference as scale and shift of each feature, padded to whole vectors."""
    channels, width = layout.channels, padded(layout.dim_out)
    sizes = torch.arange(layout.l_max + 1).mul(2).add(1).repeat_interleave(channels)
    own = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias.detach() - norm.running_mean * own[:channels]
    own = own.repeat_interleave(sizes)
    return pad(own, (0, width - layout.dim_out)), pad(shift, (0, width - channels))
