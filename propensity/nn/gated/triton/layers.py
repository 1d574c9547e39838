"""Consecutive layers of a gated network as one function of autograd."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from propensity.nn.gated.layer import GatedLayer
from propensity.nn.gated.triton.function import launched
from propensity.nn.gated.triton.passes import Edges, Pass, Run, Weights
from propensity.nn.gated.triton.sizes import parameters_of

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
    work = Pass(Run(layers, weights, edges, half, kept))
    key = "gated", half, kept is None, len(layers) > 1, *work.sizes.mix.values(), *work.sizes.update.values()
    tensors = [*(f.contiguous() for f in features), *(p for layer in layers for p in parameters_of(layer))]
    scalars, vectors, quadrupoles = launched(work, (*key, *work.sizes.edges.values()), tensors)
    return scalars, vectors, quadrupoles
