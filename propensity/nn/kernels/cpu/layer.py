"""One convolution of the CPU kernel, forward and backward, from torch tensors to the loops of numba.

Going forward it keeps the sums over neighbours and dropout's choices, one bit each; all that belongs to
edges is computed again going backward.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from propensity.nn.kernels.cpu import radial as cpu_radial
from propensity.nn.kernels.cpu import tiles as cpu_tiles
from propensity.nn.kernels.cpu.geometry import CPUGeometry
from propensity.nn.kernels.cpu.radial import InnerGradients, Linear, Norm, Radial
from propensity.nn.kernels.cpu.rows import groups, padded, row_function, sum_offsets
from propensity.nn.kernels.cpu.tiles import (
    After,
    Back,
    Convolution,
    EdgeGradients,
    ParameterGradients,
    Passed,
    Product,
)
from propensity.nn.layout import ConvolutionLayout
from propensity.simd import LANES
from propensity.threads import blocks_of, share

#: Most blocks of tiles going backward: each has a table of sums over the edges that leave a particle, which
#: for thousands of particles stays in a processor's own cache, as a list of these edges would not.
SUMS = 16


def padded_features(hidden: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
    """Features (N+1, F) that the loops gather: both parts padded to whole vectors, a last row for idle
    lanes.
    """
    n, dim = hidden.shape
    wide = padded(dim)
    out = hidden.new_zeros(n + 1, wide + padded(scalars.shape[1]))
    out[:n, :dim] = hidden
    out[:n, wide : wide + scalars.shape[1]] = scalars
    return out


def radial_parameters(radial: Any) -> tuple[torch.Tensor, ...]:
    """Weight and bias of first layer, batch norm and last layer."""
    inner, norm, outer = radial.linear_in, radial.norm, radial.linear_out
    return inner.weight, inner.bias, norm.weight, norm.bias, outer.weight, outer.bias


def running_moments(radial: Any) -> torch.Tensor:
    """Mean and 1/σ from the running statistics, shape (2, hidden)."""
    return torch.stack([radial.norm.running_mean, torch.rsqrt(radial.norm.running_var + radial.norm.eps)])


def radial_of(
    parameters: tuple[torch.Tensor, ...], moments: torch.Tensor, kept: np.ndarray, keep: float
) -> Radial:
    """What the loops need of a radial MLP: batch norm and dropout's 1/keep become scale and shift."""
    inner, inner_bias, gamma, beta, outer, outer_bias = (p.detach() for p in parameters)
    scale = gamma * moments[1]
    shift = beta - moments[0] * scale
    first, last = (
        Linear(weight.t().contiguous().numpy(), bias.contiguous().numpy())
        for weight, bias in ((inner, inner_bias), (outer, outer_bias))
    )
    scale, shift = scale / keep, shift / keep
    return Radial(kept, first, scale.contiguous().numpy(), shift.contiguous().numpy(), last)


@lru_cache(maxsize=256)
def _functions(layout: ConvolutionLayout, kind: str, bits: int) -> np.ndarray:
    """Addresses of the compiled functions of a layout."""
    return np.array([row_function(kind, layout, *paths, bits).address for paths in groups(layout)])


def product_of(layout: ConvolutionLayout, kind: str, mix: list[torch.Tensor]) -> Product:
    """Tensor product and mixing of a layout; ``kind`` as of :func:`rows.row_function`."""
    weights = [layout.paths[first].weight for first, _ in groups(layout)] + [layout.n_comb]
    flat = torch.cat([(m.detach() / math.sqrt(len(m))).flatten() for m in mix]).numpy()
    rows = np.array([layout.rows(l) for l in range(layout.l_max + 1)])
    functions = _functions(layout, kind, 8 * flat.itemsize)
    return Product(
        functions, np.array(weights), sum_offsets(layout)[-1], layout.l_max, layout.channels, rows, flat
    )


def forward(
    geometry: CPUGeometry,
    radial: Radial,
    product: Product,
    features: torch.Tensor,
    after: After,
    sums: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Columns of ``out`` become scale · (convolved + residual · hidden features) + shift; ``sums`` may be
    empty.
    """
    share(
        cpu_tiles.forward,
        blocks_of(geometry.slots.tiles),
        Convolution(geometry.edges, radial, product),
        features.numpy(),
        after,
        sums.numpy(),
        out.numpy(),
    )


class Convolve(torch.autograd.Function):
    """Mixed Σ_j φ(r) · (Y ⊗ h_j), shape (N, layout.dim_out)."""

    @staticmethod
    def forward(
        ctx: Any,
        convolution: Any,
        geometry: CPUGeometry,
        hidden: torch.Tensor,
        scalars: torch.Tensor,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        """Convolve; ``parameters``: six of the radial MLP, then the mixing matrices."""
        mlp, slots, layout = convolution.radial, geometry.slots, convolution.layout
        draws = mlp.dropout_draws(slots.n_edges)
        ctx.keep = 1.0 if draws is None else 1 - mlp.dropout.p
        ctx.kept = slots.bits(draws, mlp.linear_in.out_features)
        ctx.batch = mlp.uses_batch(slots.n_edges)
        ctx.moments, ctx.along = _batch_moments(mlp, geometry) if ctx.batch else (running_moments(mlp), None)
        radial = radial_of(parameters[:6], ctx.moments, ctx.kept, ctx.keep)
        features, width = padded_features(hidden, scalars), padded(layout.dim_out)
        sums = geometry.lent("sums", slots.tiles * sum_offsets(layout)[-1] * LANES)
        out = hidden.new_empty(len(features), width)
        after = After(False, hidden.new_ones(width).numpy(), hidden.new_zeros(width).numpy())
        forward(
            geometry, radial, product_of(layout, "forward", list(parameters[6:])), features, after, sums, out
        )
        ctx.layout, ctx.geometry, ctx.dim_in = layout, geometry, hidden.shape[1]
        ctx.save_for_backward(features, sums, *parameters)
        return out[:-1, : layout.dim_out]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of all that :meth:`forward` takes."""
        features, sums, *parameters = (t.detach() for t in ctx.saved_tensors)
        inner, _, gamma, _, outer, _, *mix = parameters
        geometry, layout, slots = ctx.geometry, ctx.layout, ctx.geometry.slots
        wants_hidden, wants_scalars, wants_harmonics, wants_basis = ctx.needs_input_grad[2:6]
        hidden, n_basis = inner.shape
        empty, wide = inner.new_empty(0), padded(ctx.dim_in)
        columns = features.shape[1] if wants_scalars else wide if wants_hidden else 0
        edges, product = geometry.edges, product_of(layout, "backward", mix)
        radial = radial_of(tuple(parameters[:6]), ctx.moments, ctx.kept, ctx.keep)
        moments = ctx.moments.numpy()
        for_harmonics = product.functions
        if wants_harmonics:
            for_harmonics = _functions(layout, "harmonics", 8 * inner.element_size())
        grad_table = pad(grad, (0, padded(layout.dim_out) - layout.dim_out, 0, 1))
        grad_units = geometry.lent("units", len(slots.live) * hidden * LANES) if wants_basis else empty
        grad_harmonics = torch.zeros_like(geometry.harmonics) if wants_harmonics else empty
        grad_basis = torch.empty_like(geometry.basis) if wants_basis else empty
        sizes = [m.numel() for m in mix]
        blocks = min(blocks_of(slots.tiles), SUMS)
        by_source = geometry.lent("sums by source", blocks * slots.n_nodes * columns)
        by_source = by_source.view(blocks, slots.n_nodes, columns)
        numbers = sum(sizes), len(outer) * (hidden + 1), 2 * hidden, hidden * (n_basis + 1)
        parts = [inner.new_empty(blocks, k) for k in numbers]
        share(
            cpu_tiles.backward,
            blocks,
            Convolution(edges, radial, product),
            Back(for_harmonics, outer.contiguous().numpy(), moments, radial.scale.dtype.type(1 / ctx.keep)),
            Passed(features.numpy(), sums.numpy(), grad_table.numpy()),
            EdgeGradients(by_source.numpy(), grad_units.numpy(), grad_harmonics.view(-1).numpy()),
            ParameterGradients(*(part.numpy() for part in parts)),
        )
        grad_features = by_source.sum(0)
        del by_source
        grad_mix, grad_outer, grad_norm, grad_inner = (part.sum(0) for part in parts)
        # What the batch's mean and variance take away from the gradient of the hidden units.
        means = grad_norm.view(2, hidden) * (1 / slots.n_edges if ctx.batch else 0)
        if wants_basis:
            share(
                cpu_radial.inner_backward,
                blocks_of(len(slots.live)),
                edges,
                radial,
                inner.contiguous().numpy(),
                Norm(moments, gamma.numpy(), means.numpy()),
                InnerGradients(grad_units.numpy(), grad_basis.view(-1).numpy()),
            )
        grad_inner, grad_outer = grad_inner.view(hidden, -1), grad_outer.view(-1, hidden + 1)
        if ctx.along is not None:
            (mean, inverse), (counts, sums) = ctx.moments[..., None], ctx.along
            grad_inner = grad_inner - means[0, :, None] * counts
            grad_inner -= means[1, :, None] * inverse * (sums - mean * counts)
        grad_inner *= (gamma * ctx.moments[1])[:, None]
        return (
            None,
            None,
            grad_features[:, : ctx.dim_in] if wants_hidden else None,
            grad_features[:, wide : wide + layout.n_scalars] if wants_scalars else None,
            grad_harmonics if wants_harmonics else None,
            grad_basis if wants_basis else None,
            grad_inner[:, :-1],
            grad_inner[:, -1],
            grad_norm[hidden:],
            grad_norm[:hidden],
            grad_outer[:, :-1],
            grad_outer[:, -1],
            *(g.view_as(m) / math.sqrt(len(m)) for g, m in zip(grad_mix.split(sizes), mix, strict=True)),
        )


def _batch_moments(mlp: Any, geometry: CPUGeometry) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1/σ of the hidden units over all edges; sums along the basis, (2, hidden, n_basis + 1); the
    running statistics move as in torch's batch norm.
    """
    norm, slots, edges = mlp.norm, geometry.slots, geometry.edges
    zeros = torch.zeros_like(norm.running_mean)
    radial = radial_of(radial_parameters(mlp), torch.stack([zeros, zeros]), slots.live, 1.0)
    partial = zeros.new_empty(blocks_of(len(slots.live)), 2 * len(zeros))
    along = zeros.new_empty(len(partial), 2, len(zeros) * (mlp.linear_in.in_features + 1))

    # Sums about the running mean, near which the batch's lies, lose nothing.
    centre, n = norm.running_mean.clone(), slots.n_edges
    arrays = centre.numpy(), partial.numpy(), along.numpy()
    share(cpu_radial.hidden_moments, len(partial), edges, radial, *arrays)
    away, squares = partial.sum(0).view(2, -1) / n
    mean, variance = centre + away, (squares - away.square()).clamp_min(0)
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (n / (n - 1)), norm.momentum)
    along = along.sum(0).view(2, len(zeros), -1)
    return torch.stack([mean, torch.rsqrt(variance + norm.eps)]), along
