"""The network's layers in Triton kernels, forward and backward: one autograd function for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.autograd.function import once_differentiable

from propensity.nn.kernels.triton.ahead import compile_ahead
from propensity.nn.kernels.triton.edge_pass import convolve, edge_gradients, sum_by_source
from propensity.nn.kernels.triton.nodes import mixing_shares
from propensity.nn.kernels.triton.parameters import Gradients, Packing, Values, packing_of, stack_parameters
from propensity.nn.kernels.triton.radial_norm import RadialNorms
from propensity.nn.kernels.triton.radial_pass import RadialPass, total
from propensity.nn.kernels.triton.shapes import Shapes, shapes_of

if TYPE_CHECKING:
    from propensity.nn.kernels.base import Stack
    from propensity.nn.kernels.triton.geometry import TritonGeometry


def run_layers(
    stack: Stack, geometry: TritonGeometry, scalars: torch.Tensor, first: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Features after each layer, in the layout of the kernels, with gradients; ``first`` goes into the
    first.
    """
    parameters = stack_parameters(stack)
    return cast(
        "tuple[torch.Tensor, ...]",
        Layers.apply(stack, geometry, scalars, first, geometry.harmonics, geometry.basis, *parameters),
    )


class Layers(torch.autograd.Function):
    """All layers; gradients of their parameters are views of one vector."""

    @staticmethod
    def forward(
        ctx: Any,
        stack: Stack,
        geometry: TritonGeometry,
        scalars: torch.Tensor,
        first: torch.Tensor,
        harmonics: torch.Tensor | None,
        basis: torch.Tensor,
        *parameters: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Features after each layer, shape (N, width)."""
        radial, device = stack.last.radial, scalars.device
        layouts = tuple(convolution.layout for convolution, _ in stack)
        ctx.packing = packing_of(layouts, radial.n_basis, radial.linear_in.out_features, device)
        packed, basis = ctx.packing.pack(parameters), basis.detach()
        counters = [
            convolution.radial.norm.num_batches_tracked
            for convolution, _ in stack
            if convolution.radial.uses_batch(len(basis))
        ]
        if counters:
            torch._foreach_add_(counters, 1)
        wants = ctx.needs_input_grad[4:6]
        modules = list(stack)
        radials = [convolution.radial for convolution, _ in modules]

        def dry(number: int, shapes: Shapes) -> None:
            convolution, norm = modules[number]
            layer = LayerPass(shapes, geometry, ctx.packing, number)
            before = scalars.new_empty(geometry.n, shapes.width) if number else first
            norms = RadialNorms(shapes.kernels, basis, geometry.count, ctx.packing)
            mask, affine = norms(radials, packed)
            known = mask[number], affine[number]
            after, saved = layer.forward(convolution.radial, norm, packed, before, scalars, basis, *known)
            room = packed.new_empty(ctx.packing.length)
            layer.backward(after, packed, before, scalars, basis, saved, room, wants)

        key = layouts, device, wants, stack.training, radial.n_basis, radial.linear_in.out_features
        compile_ahead(key, stack, device, dry)
        norms = RadialNorms(shapes_of(layouts[-1], device).kernels, basis, geometry.count, ctx.packing)
        mask, affine = norms(radials, packed)
        norms.update_running()
        ctx.layers, kept, features, before = [], [], [], first
        for k, (convolution, norm) in enumerate(stack):
            layer = LayerPass(shapes_of(convolution.layout, device), geometry, ctx.packing, k)
            known = mask[k], affine[k]
            before, saved = layer.forward(convolution.radial, norm, packed, before, scalars, basis, *known)
            ctx.layers.append(layer)
            kept += saved
            features.append(before)
        ctx.shapes = [parameter.shape for parameter in parameters]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(packed, scalars, first, basis, *features, *kept)
        return tuple(features)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        """Gradients of all that :meth:`forward` takes."""
        packed, scalars, first, basis, *saved = ctx.saved_tensors
        n = len(ctx.layers)
        features, kept = saved[:n], saved[n:]
        each = len(kept) // n
        gradients = packed.new_empty(ctx.packing.length)
        grad: torch.Tensor | None = None
        reached = 0
        edges: list[torch.Tensor | None] = [None, None]
        for k in reversed(range(n)):
            layer, given = ctx.layers[k], grads[k]
            grad = given if grad is None else grad if given is None else grad + given
            if grad is None:
                continue
            reached = max(reached, k + 1)
            before = features[k - 1] if k else first
            saved = kept[k * each : (k + 1) * each]
            grad, *found = layer.backward(
                grad.contiguous(),
                packed,
                before,
                scalars,
                basis,
                saved,
                gradients,
                ctx.needs_input_grad[4:6],
            )
            edges = [
                b if a is None else a if b is None else a.add_(b) for a, b in zip(edges, found, strict=True)
            ]
        return (None, None, None, grad, *edges, *ctx.packing.unpack(gradients, ctx.shapes, reached))


class LayerPass:
    """Convolution, mixing, residual and batch norm of one layer in one pass."""

    def __init__(self, shapes: Shapes, geometry: TritonGeometry, packing: Packing, number: int) -> None:
        self.shapes, self.geometry, self.packing, self.number = shapes, geometry, packing, number
        self.has_hidden = bool(shapes.layout.channels_in)

    def forward(
        self,
        radial: Any,
        norm: Any,
        packed: torch.Tensor,
        before: torch.Tensor,
        scalars: torch.Tensor,
        basis: torch.Tensor,
        mask: torch.Tensor,
        affine: torch.Tensor,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Features after the layer, and what :meth:`backward` needs; ``mask`` and ``affine`` as of
        :class:`RadialNorms`.
        """
        shapes, geometry = self.shapes, self.geometry
        values: Values = self.packing.values(packed, self.number)
        n = geometry.n
        self.radial = RadialPass(shapes, radial, basis, geometry.count, self.packing)
        weights: Any
        if self.radial.in_matrix_units:
            x = self.radial.units(basis, mask, affine, values)
            weights = x, affine, self.packing.parts(packed, self.number)[0], values.bias
            del x
        else:
            weights = self.radial.output(basis, mask, affine, values, 1)
        sums = convolve(shapes, geometry, before, scalars, weights, False, slice(0, n))
        del weights
        mixed = scalars.new_empty(n, shapes.width)
        blocks = -(-n // shapes.block)
        partial = scalars.new_empty(blocks, shapes.kinds, shapes.cp)
        launch(
            shapes,
            "mix",
            n,
            sums,
            values.mix_forward,
            before,
            partial,
            partial,
            mixed,
            partial,
            n,
            RESIDUAL=self.has_hidden,
            AFFINE=False,
        )
        self.batch = norm.training
        if norm.training:
            scale, inverse = partial.new_empty(2, shapes.kinds - 1, shapes.cp)
            shift, mean = partial.new_empty(2, shapes.cp)
            shapes.kernels.statistics[(1,)](
                partial,
                (values.norm_weight, values.norm_bias, norm.running_mean, norm.running_var),
                (scale, shift, mean, inverse),
                n,
                blocks,
                norm.momentum,
                norm.eps,
                B=shapes.block,
                CP=shapes.cp,
                C=shapes.layout.channels,
                R=128,
            )
        else:
            scale, shift, mean, inverse = running_norm(shapes, norm)
        after = torch.empty_like(mixed)
        launch(shapes, "normalise", n, mixed, scale, shift, after, n)
        return after, [mask, affine, sums, mixed, scale, mean, inverse]

    def backward(
        self,
        grad: torch.Tensor,
        packed: torch.Tensor,
        before: torch.Tensor,
        scalars: torch.Tensor,
        basis: torch.Tensor,
        saved: list[torch.Tensor],
        gradients: torch.Tensor,
        wants: tuple[bool, bool],
    ) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the features before, harmonics and basis; those of the parameters go to
        ``gradients``.  ``wants`` says whether those of harmonics and of the basis are asked for.
        """
        wants_harmonics, wants_basis = wants
        mask, affine, sums, mixed, scale, mean, inverse = saved
        shapes, geometry = self.shapes, self.geometry
        values: Values = self.packing.values(packed, self.number)
        wanted: Gradients = self.packing.gradients(gradients, self.number)
        n, cp = geometry.n, shapes.cp
        partial = grad.new_empty(-(-n // shapes.block), shapes.kinds * cp)
        launch(shapes, "norm_sums", n, grad, mixed, mean, inverse, partial, n)
        total(shapes, partial, wanted.norm)
        grad_mixed = torch.empty_like(mixed)
        if self.batch:
            launch(shapes, "norm_backward", n, grad, mixed, mean, inverse, scale, wanted.norm, grad_mixed, n)
        else:
            launch(shapes, "normalise", n, grad, scale, torch.zeros_like(mean), grad_mixed, n)
        grad_sums = torch.empty_like(sums)
        launch(shapes, "spread", n, grad_mixed, values.mix_backward, grad_sums, n)
        made, makers, grad_units = None, (), None
        if self.radial.in_matrix_units:
            x = self.radial.units(basis, mask, affine, values)
            weights = basis.new_empty(-(-len(basis) // shapes.warp) * shapes.warp, self.radial.width)
            weight, *back = self.packing.parts(packed, self.number)
            makers = x, affine, weight, values.bias, *back
            grad_units = torch.empty_like(x)
            made = x, grad_units
        else:
            weights = self.radial.output(basis, mask, affine, values, shapes.warp)
        grad_edges, grad_harmonics = edge_gradients(
            shapes, geometry, before, scalars, weights, grad_sums, wants_harmonics, makers, grad_units
        )
        del grad_sums
        grad_before = sum_by_source(shapes, geometry, grad_edges, grad_mixed) if self.has_hidden else None
        del grad_edges
        partial = self.radial.partial(self.packing.sizes[self.number])
        grad_basis = self.radial.backward(
            basis, mask, affine, values, weights, shapes.warp, partial, wanted, wants_basis, made
        )
        shapes.kernels.mix_gradient[(len(partial), shapes.layout.l_max + 1, mixing_shares(shapes.plan))](
            sums,
            grad_mixed,
            partial,
            n,
            CP=cp,
            DQ=shapes.dq,
            START=partial.shape[1] - shapes.mix_size,
            STRIDE=partial.shape[1],
            num_warps=4,
        )
        total(shapes, partial, wanted.edges, self.radial.few, self.packing.sizes[self.number].outer)
        return grad_before, grad_harmonics, grad_basis


def launch(shapes: Shapes, name: str, n: int, *arguments: Any, **constants: Any) -> None:
    """Run a kernel with one thread a particle and channel."""
    block, cp = shapes.block, shapes.cp
    getattr(shapes.kernels, name)[(-(-n // block),)](
        *arguments, B=block, CP=cp, DQ=shapes.dq, num_warps=max(block * cp // 32, 1), **constants
    )


def running_norm(shapes: Shapes, norm: Any) -> tuple[torch.Tensor, ...]:
    """Scale (l, CP), shift (CP), mean (CP) and 1/σ (l, CP) from the running statistics."""
    pad = shapes.cp - shapes.layout.channels
    inverse = torch.rsqrt(norm.running_var.view(-1, shapes.layout.channels) + norm.eps)
    scale = inverse * norm.weight.detach().view(-1, shapes.layout.channels)
    shift = norm.bias.detach() - norm.running_mean * scale[0]
    padded = [torch.nn.functional.pad(t, (0, pad)) for t in (scale, shift, norm.running_mean, inverse)]
    return tuple(t.contiguous() for t in padded)
