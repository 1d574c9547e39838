"""One layer of the CPU kernel, forward and backward, from torch tensors to the loops of numba.

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

from propensity.nn.kernels.cpu import radial as cpu_radial
from propensity.nn.kernels.cpu import tiles as cpu_tiles
from propensity.nn.kernels.cpu.geometry import CPUGeometry
from propensity.nn.kernels.cpu.norms import add_up, normalise, normalise_backward
from propensity.nn.kernels.cpu.radial import InnerGradients, Linear, Norm, Radial
from propensity.nn.kernels.cpu.rows import groups, padded, row_function, sum_offsets, weight_order
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


class Joined(torch.autograd.Function):
    """Features (N+1, F) that the loops gather: both parts padded to whole vectors, a last row for idle
    lanes.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, scalars: torch.Tensor) -> torch.Tensor:
        """Put features (N, dim) and scalars (N, n_scalars) side by side."""
        (n, dim), more = hidden.shape, scalars.shape[1]
        wide = padded(dim)
        ctx.columns = slice(0, dim), slice(wide, wide + more)
        # Not by torch, whose threads keep a core busy for a while after all that they share.
        out = np.zeros((n + 1, wide + padded(more)), hidden.detach().numpy().dtype)
        for columns, part in zip(ctx.columns, (hidden, scalars), strict=True):
            out[:n, columns] = part.detach().numpy()
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gradients of both."""
        return tuple(grad[:-1, columns] for columns in ctx.columns)


def radial_parameters(radial: Any) -> tuple[torch.Tensor, ...]:
    """Weight and bias of first layer, batch norm and last layer."""
    inner, norm, outer = radial.linear_in, radial.norm, radial.linear_out
    return inner.weight, inner.bias, norm.weight, norm.bias, outer.weight, outer.bias


def running_moments(radial: Any) -> torch.Tensor:
    """Mean and 1/σ from the running statistics, shape (2, hidden)."""
    return torch.stack([radial.norm.running_mean, torch.rsqrt(radial.norm.running_var + radial.norm.eps)])


def radial_of(
    layout: ConvolutionLayout,
    parameters: tuple[torch.Tensor, ...],
    moments: torch.Tensor,
    kept: np.ndarray,
    keep: float,
) -> Radial:
    """What the loops need of a radial MLP: batch norm and dropout's 1/keep become scale and shift, and
    weights lie as :func:`rows.weight_order` says.
    """
    inner, inner_bias, gamma, beta, outer, outer_bias = (p.detach() for p in parameters)
    scale = gamma * moments[1]
    shift = beta - moments[0] * scale
    first, last = (
        Linear(np.ascontiguousarray(weight.numpy()[order].T), bias.numpy()[order])
        for weight, bias, order in (
            (inner, inner_bias, slice(None)),
            (outer, outer_bias, weight_order(layout)),
        )
    )
    scale, shift = scale / keep, shift / keep
    return Radial(kept, first, scale.contiguous().numpy(), shift.contiguous().numpy(), last)


@lru_cache(maxsize=256)
def _functions(layout: ConvolutionLayout, kind: str, bits: int) -> np.ndarray:
    """Addresses of the compiled functions of a layout."""
    return np.array([row_function(kind, layout, k, bits).address for k in range(len(groups(layout)))])


def product_of(layout: ConvolutionLayout, kind: str, mix: list[torch.Tensor]) -> Product:
    """Tensor product and mixing of a layout; ``kind`` as of :func:`rows.row_function`."""
    weights = [group[0].weight for group in groups(layout)] + [layout.n_comb]
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
    features: np.ndarray,
    after: After,
    sums: np.ndarray,
    out: np.ndarray,
) -> None:
    """Columns of ``out`` become scale · (convolved + residual · hidden features) + shift; ``sums`` may be
    empty.
    """
    share(
        cpu_tiles.forward,
        blocks_of(geometry.slots.tiles),
        Convolution(geometry.edges, radial, product),
        features,
        after,
        sums,
        out,
    )


class Layer(torch.autograd.Function):
    """Convolution, residual where there is one, and batch norm: from features (N+1, F) of :class:`Joined` to
    those after the layer.
    """

    @staticmethod
    def forward(
        ctx: Any,
        convolution: Any,
        norm: Any,
        geometry: CPUGeometry,
        table: torch.Tensor,
        every_column: bool,
        harmonics: torch.Tensor,
        basis: torch.Tensor,
        *parameters: torch.Tensor,
    ) -> torch.Tensor:
        """Run the layer; ``parameters``: six of the radial MLP, the mixing matrices, two of the batch norm.

        ``every_column``: whether those that join every layer want a gradient, too.
        """
        mlp, slots, layout = convolution.radial, geometry.slots, convolution.layout
        draws = mlp.dropout_draws(slots.n_edges)
        keep = 1.0 if draws is None else 1 - mlp.dropout.p
        kept = slots.bits(draws, mlp.linear_in.out_features)
        batch = mlp.uses_batch(slots.n_edges)
        moments, along = _batch_moments(convolution, geometry) if batch else (running_moments(mlp), None)
        radial, width = radial_of(layout, parameters[:6], moments, kept, keep), padded(layout.dim_out)
        product = product_of(layout, "forward", list(parameters[6:-2]))
        sums = geometry.lent("sums", slots.tiles * sum_offsets(layout)[-1] * LANES)
        x = geometry.lent("before the norm", len(table) * width).view(-1, width)
        out = table.new_empty(len(table), width + padded(layout.n_scalars))
        data, residual = table.detach().numpy(), layout.channels_in > 0
        one, zero = np.ones(width, data.dtype), np.zeros(width, data.dtype)
        forward(geometry, radial, product, data, After(residual, one, zero), sums.numpy(), x.numpy())
        x[-1] = 0
        ctx.normed = normalise(norm, x.numpy(), data, out.numpy())
        ctx.of = convolution, norm, geometry, every_column
        ctx.radial, ctx.product, ctx.moments, ctx.along, ctx.keep = radial, product, moments, along, keep
        ctx.save_for_backward(table, sums, *parameters)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of all that :meth:`forward` takes."""
        # Read for its check that no parameter has changed since.
        table, sums, *parameters = (t.detach() for t in ctx.saved_tensors)
        convolution, norm, geometry, every_column = ctx.of
        wants_table, _, wants_harmonics, wants_basis = ctx.needs_input_grad[3:7]
        given = np.ascontiguousarray(grad.numpy())
        of_norm = normalise_backward(norm, ctx.normed, given)
        layout, slots, radial = convolution.layout, geometry.slots, ctx.radial
        inner, gamma, outer, order = parameters[0], parameters[2], parameters[4], weight_order(layout)
        hidden, n_basis = inner.shape
        empty, columns = inner.new_empty(0), table.shape[1] if every_column else padded(layout.dim_in)
        edges = geometry.edges
        product = ctx.product._replace(functions=_functions(layout, "backward", 8 * inner.element_size()))
        moments, for_harmonics = ctx.moments.numpy(), product.functions
        if wants_harmonics:
            for_harmonics = _functions(layout, "harmonics", 8 * inner.element_size())
        grad_units = geometry.lent("units", len(slots.live) * hidden * LANES) if wants_basis else empty
        grad_harmonics = torch.zeros_like(geometry.harmonics) if wants_harmonics else empty
        grad_basis = torch.empty_like(geometry.basis) if wants_basis else empty
        blocks = min(blocks_of(slots.tiles), SUMS)
        columns *= wants_table
        by_source = geometry.lent("sums by source", blocks * slots.n_nodes * columns)
        by_source = by_source.view(blocks, slots.n_nodes, columns)
        numbers = len(product.mix), len(outer) * (hidden + 1), 2 * hidden, hidden * (n_basis + 1)
        parts = [np.empty((blocks, k), given.dtype) for k in numbers]
        share(
            cpu_tiles.backward,
            blocks,
            Convolution(edges, radial, product),
            Back(for_harmonics, outer.numpy()[order], moments, radial.scale.dtype.type(1 / ctx.keep)),
            Passed(table.numpy(), sums.numpy(), of_norm.x),
            EdgeGradients(by_source.numpy(), grad_units.numpy(), grad_harmonics.view(-1).numpy()),
            ParameterGradients(*parts),
        )
        grad_table = None
        if wants_table:
            grad_table = torch.empty_like(table)
            width = of_norm.x.shape[1]
            of_residual = of_norm.x[:, : width * (layout.channels_in > 0)]
            of_scalars = given[:, width : None if every_column else width]
            joined = by_source.numpy(), of_residual, of_scalars, grad_table.numpy()
            share(add_up, blocks_of(slots.n_nodes), *joined)
        del by_source
        grad_mix, grad_outer, grad_norm, grad_inner = (torch.from_numpy(part.sum(axis=0)) for part in parts)
        # What the batch's mean and variance take away from the gradient of the hidden units.
        means = grad_norm.view(2, hidden) * (1 / slots.n_edges if ctx.along is not None else 0)
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
        grad_inner = grad_inner.view(hidden, -1)
        grad_outer = grad_outer.view(-1, hidden + 1)[np.argsort(order)]
        if ctx.along is not None:
            (mean, inverse), (counts, sums) = ctx.moments[..., None], ctx.along
            grad_inner = grad_inner - means[0, :, None] * counts
            grad_inner -= means[1, :, None] * inverse * (sums - mean * counts)
        grad_inner *= (gamma * ctx.moments[1])[:, None]
        mix = parameters[6:-2]
        pieces = zip(grad_mix.split([m.numel() for m in mix]), mix, strict=True)
        return (
            None,
            None,
            None,
            grad_table,
            None,
            grad_harmonics if wants_harmonics else None,
            grad_basis if wants_basis else None,
            grad_inner[:, :-1],
            grad_inner[:, -1],
            grad_norm[hidden:],
            grad_norm[:hidden],
            grad_outer[:, :-1],
            grad_outer[:, -1],
            *(g.view_as(m) / math.sqrt(len(m)) for g, m in pieces),
            torch.from_numpy(of_norm.weight),
            torch.from_numpy(of_norm.bias),
        )


def _batch_moments(convolution: Any, geometry: CPUGeometry) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and 1/σ of the hidden units over all edges; sums along the basis, (2, hidden, n_basis + 1); the
    running statistics move as in torch's batch norm.
    """
    mlp, layout, slots, edges = convolution.radial, convolution.layout, geometry.slots, geometry.edges
    norm = mlp.norm
    zeros = torch.zeros_like(norm.running_mean)
    radial = radial_of(layout, radial_parameters(mlp), torch.stack([zeros, zeros]), slots.live, 1.0)
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
