"""One layer of the network in Triton kernels, forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from propensity.kernels.triton_shapes import Shapes

if TYPE_CHECKING:
    from propensity.kernels.triton_kernel import Geometry

#: Threads of a program: one for each particle or edge and channel.
THREADS = 128
#: The same for the sums over neighbours, where small programs share the work more evenly.
SUM_THREADS = 32
#: Edges that a program of the radial MLP takes at a time: for statistics, forward, and backward.
STATISTICS_BLOCK, OUTPUT_BLOCK, GRADIENT_BLOCK = 128, 64, 64
#: Programs that share a reduction over edges, and columns of the radial weights of each.
PROGRAMS, COLUMNS = 264, 32


class RadialPass:
    """The radial MLP of one layer in one pass: its mask, statistics and kernels."""

    def __init__(self, shapes: Shapes, radial: Any, basis: torch.Tensor, count: torch.Tensor) -> None:
        self.shapes, self.n, self.count = shapes, len(basis), count
        self.batch = radial.uses_batch(self.n)
        self.kept = radial.dropout_mask(basis)
        self.keep = 1.0 if self.kept is None else 1 - radial.dropout.p
        hidden = radial.linear_in.out_features
        self.hp, self.nbp = _power(hidden), _power(radial.n_basis)
        #: A bit for every hidden unit: whether dropout keeps it.
        self.mask = torch.full((self.n, self.hp // 8), 255, dtype=torch.uint8, device=basis.device)
        self.constants = {"NB": radial.n_basis, "NBP": self.nbp, "H": hidden, "HP": self.hp}

    def statistics(self, radial: Any, basis: torch.Tensor) -> torch.Tensor:
        """Mean, 1/σ, scale and shift of the batch norm, shape (4, HP); updates the running statistics."""
        norm, linear = radial.norm, radial.linear_in
        kept = (
            basis.new_ones(self.n, linear.out_features, dtype=torch.bool) if self.kept is None else self.kept
        )
        self.kept = None
        blocks = -(-self.n // STATISTICS_BLOCK)
        partial = basis.new_empty(blocks, 2, self.hp)
        if self.n:
            self.shapes.kernels.radial_sums[(blocks,)](
                basis, kept, self.mask, linear.weight, linear.bias, partial, self.count, B=STATISTICS_BLOCK,
                **self.constants,
            )  # fmt: skip
        affine = basis.new_zeros(4, self.hp)
        hidden = linear.out_features
        if not self.batch:
            inverse = torch.rsqrt(norm.running_var + norm.eps)
            scale = inverse * norm.weight
            shift = norm.bias - norm.running_mean * scale
            affine[:, :hidden] = torch.stack(
                [norm.running_mean, inverse, scale / self.keep, shift / self.keep]
            ).detach()
            return affine
        norm.num_batches_tracked.add_(1)
        self.shapes.kernels.radial_statistics[(1,)](
            partial, norm.weight, norm.bias, norm.running_mean, norm.running_var, affine, self.count,
            norm.momentum, norm.eps, self.keep, B=STATISTICS_BLOCK, H=hidden, HP=self.hp, R=256,
        )  # fmt: skip
        return affine

    def output(self, basis: torch.Tensor, block: int, *parameters: torch.Tensor) -> torch.Tensor:
        """Radial weights before their ReLU, in blocks of edges; parameters: first layer, affine, last layer."""
        out = basis.new_empty(-(-self.n // block) * block, len(parameters[3]))
        if self.n:
            self.shapes.kernels.radial_output[(-(-self.n // OUTPUT_BLOCK),)](
                basis, self.mask, *parameters, out, self.count, EB=block, B=OUTPUT_BLOCK, **self.constants
            )
        return out

    def backward(
        self, basis: torch.Tensor, block: int, wants_basis: bool, weight_in: torch.Tensor, bias_in: torch.Tensor,
        affine: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor,
    ) -> tuple[torch.Tensor | None, ...]:  # fmt: skip
        """Gradients of the basis and of the six parameters, the last layer's in the order of the kernels."""
        width, hidden = weight.shape
        if self.n == 0:
            zeros = [
                torch.zeros_like(t)
                for t in (basis, weight_in, bias_in, bias_in, bias_in, weight, weight[:, 0])
            ]
            return (zeros[0] if wants_basis else None, *zeros[1:])
        kernels, state = self.shapes.kernels, (basis, self.mask, weight_in, bias_in, affine)
        grad_units = basis.new_empty(self.n, self.hp)
        partial = basis.new_empty(-(-self.n // OUTPUT_BLOCK), 2 * self.hp)
        kernels.radial_units[(len(partial),)](
            *state,
            weight,
            grad,
            grad_units,
            partial,
            self.count,
            self.keep,
            EB=block,
            B=OUTPUT_BLOCK,
            **self.constants,
        )
        sums = _total(partial)
        programs = max(min(-(-self.n // GRADIENT_BLOCK), PROGRAMS), 1)
        outer = basis.new_empty(programs, width * (self.hp + 1))
        kernels.radial_weights[(programs, -(-width // COLUMNS))](
            *state, grad, outer, self.count, EB=block, B=GRADIENT_BLOCK, T=COLUMNS, **self.constants
        )
        outer = _total(outer)
        grad_basis = torch.empty_like(basis) if wants_basis else basis
        inner = basis.new_empty(programs, self.hp * (self.nbp + 1))
        kernels.radial_input[(programs,)](
            *state, grad_units, sums, inner, grad_basis, self.count, self.keep, BATCH=self.batch, BASIS=wants_basis,
            B=GRADIENT_BLOCK, **self.constants,
        )  # fmt: skip
        inner = _total(inner)
        split = self.hp * self.nbp
        return (
            grad_basis if wants_basis else None,
            inner[:split].view(self.hp, self.nbp)[:hidden, : basis.shape[1]], inner[split : split + hidden],
            sums[self.hp : self.hp + hidden], sums[:hidden],
            outer[: width * self.hp].view(width, self.hp)[:, :hidden], outer[width * self.hp :],
        )  # fmt: skip


def _total(partial: torch.Tensor) -> torch.Tensor:
    """Sum of rows, as a product, which is faster than a reduction over the first of two dimensions."""
    return (partial.new_ones(1, len(partial)) @ partial.flatten(1)).view(partial.shape[1:])


def _power(n: int) -> int:
    """Power of two that holds n, at least what a matrix product needs."""
    return max(1 << (n - 1).bit_length(), 16)


class Layer(torch.autograd.Function):
    """Convolution, mixing, residual and batch norm of one layer."""

    @staticmethod
    def forward(
        ctx: Any, shapes: Shapes, geometry: Geometry, radial: Any, norm: Any, before: torch.Tensor, scalars: torch.Tensor,
        harmonics: torch.Tensor | None, basis: torch.Tensor, weight_in: torch.Tensor, bias_in: torch.Tensor,
        gamma: torch.Tensor, beta: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor,
        norm_weight: torch.Tensor, norm_bias: torch.Tensor, *mix: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """Features after the layer, shape (N, width)."""
        n = geometry.n
        packed_weight, packed_bias = shapes.pack_weights(weight, bias)
        basis = basis.detach()
        ctx.radial = RadialPass(shapes, radial, basis, geometry.count)
        affine = ctx.radial.statistics(radial, basis)
        weights = ctx.radial.output(basis, 1, weight_in, bias_in, affine, packed_weight, packed_bias)
        sums = convolve(shapes, geometry, before, scalars, weights, False, slice(0, n))
        flat = shapes.flat_mix(mix)
        mixed = scalars.new_empty(n, shapes.width)
        blocks = -(-n // (THREADS // shapes.cp))
        partial = scalars.new_empty(blocks, shapes.kinds, shapes.cp)
        launch(
            shapes, "mix", n, sums, flat[shapes.mix_forward], before, partial, partial, mixed, partial, n,
            RESIDUAL=bool(shapes.layout.channels_in), AFFINE=False,
        )  # fmt: skip
        ctx.batch = norm.training
        if norm.training:
            scale, inverse = partial.new_empty(2, shapes.kinds - 1, shapes.cp)
            shift, mean = partial.new_empty(2, shapes.cp)
            shapes.kernels.statistics[(1,)](
                partial, norm_weight, norm_bias, norm.running_mean, norm.running_var, scale, shift, mean, inverse, n,
                blocks, norm.momentum, norm.eps, B=THREADS // shapes.cp, CP=shapes.cp, C=shapes.layout.channels, R=128,
            )  # fmt: skip
        else:
            scale, shift, mean, inverse = running(shapes, norm)
        after = torch.empty_like(mixed)
        launch(shapes, "normalise", n, mixed, scale, shift, after, n)
        ctx.shapes, ctx.geometry = shapes, geometry
        ctx.save_for_backward(
            before, scalars, basis, weight_in, bias_in, affine, packed_weight, packed_bias, sums, mixed, flat, scale,
            mean, inverse,
        )  # fmt: skip
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of all that :meth:`forward` takes."""
        shapes: Shapes = ctx.shapes
        geometry: Geometry = ctx.geometry
        before, scalars, basis, *radial_state, sums, mixed, flat, scale, mean, inverse = ctx.saved_tensors
        weight_in, bias_in, affine, weight, bias = radial_state
        n, cp = geometry.n, shapes.cp
        grad = grad.contiguous()
        partial = grad.new_empty(-(-n // (THREADS // cp)), shapes.kinds, cp)
        launch(shapes, "norm_sums", n, grad, mixed, mean, partial, n)
        totals = _total(partial)
        channels = shapes.layout.channels
        grad_norm_weight = (totals[1:] * inverse)[:, :channels].flatten()
        if ctx.batch:
            grad_mixed = torch.empty_like(mixed)
            launch(shapes, "norm_backward", n, grad, mixed, mean, inverse, scale, totals, grad_mixed, n)
        else:
            grad_mixed = torch.empty_like(mixed)
            launch(shapes, "normalise", n, grad, scale, torch.zeros_like(mean), grad_mixed, n)
        grad_sums = torch.empty_like(sums)
        launch(shapes, "spread", n, grad_mixed, flat[shapes.mix_backward], grad_sums, n)
        block = 8
        parts = grad.new_empty(-(-n // block), shapes.mix_size)
        shapes.kernels.mix_gradient[(len(parts), shapes.layout.l_max + 1)](
            sums, grad_mixed, parts, n, B=block, CP=cp, DQ=shapes.dq, WIDTH=shapes.mix_size, num_warps=4
        )
        grad_mix = shapes.split_mix(_total(parts))
        del parts
        warp = max(32 // cp, 1)
        weights = ctx.radial.output(basis, warp, weight_in, bias_in, affine, weight, bias)
        n_edges = len(basis)
        has_hidden = bool(shapes.layout.channels_in)
        grad_edges = grad.new_empty(n_edges, shapes.width) if has_hidden else before
        wants_harmonics = ctx.needs_input_grad[6]
        grad_harmonics = grad.new_empty(n_edges, shapes.plan.harmonics) if wants_harmonics else before
        if n_edges:
            block = THREADS // cp
            shapes.kernels.backward[(-(-n_edges // block),)](
                before, scalars, geometry.edges, weights, geometry.source, geometry.destination, grad_sums, grad_edges,
                grad_harmonics, geometry.count, n, HARMONICS=wants_harmonics, B=block, CP=cp, DQ=shapes.dq, PQ=shapes.pq,
                NQ=shapes.nq, EB=warp, num_warps=THREADS // 32,
            )  # fmt: skip
        grad_before = None
        if has_hidden:
            offsets, order = geometry.by_source
            grad_before = torch.empty_like(mixed)
            shapes.kernels.sum_by_source[(-(-n // 8),)](
                grad_edges, offsets, order, grad_mixed, grad_before, n, B=8, W=1 << (shapes.width - 1).bit_length(),
                WIDTH=shapes.width, num_warps=4,
            )  # fmt: skip
        *inner, grad_weight, grad_bias = ctx.radial.backward(
            basis, warp, ctx.needs_input_grad[7], weight_in, bias_in, affine, weight, weights
        )
        back = shapes.weights_back
        return (
            None, None, None, None, grad_before, None, grad_harmonics if wants_harmonics else None, *inner,
            grad_weight[back], grad_bias[back], grad_norm_weight, totals[0, :channels], *grad_mix,
        )  # fmt: skip


def convolve(
    shapes: Shapes, geometry: Geometry, before: torch.Tensor, scalars: torch.Tensor, radial: torch.Tensor, table: bool,
    part: slice,
) -> torch.Tensor:  # fmt: skip
    """Sums of the particles in ``part``."""
    n = part.stop - part.start
    sums = scalars.new_empty(n * shapes.sums)
    block = max(SUM_THREADS // shapes.cp, 1)
    shapes.kernels.forward[(-(-n // block), len(shapes.plan.groups))](
        before, scalars, geometry.edges, radial, geometry.order[part], geometry.rows, geometry.source, sums, part.start, n,
        TABLE=table, B=block, CP=shapes.cp, DQ=shapes.dq, PQ=shapes.pq, NQ=shapes.nq, num_warps=1,
    )  # fmt: skip
    return sums


def launch(shapes: Shapes, name: str, n: int, *arguments: Any, **constants: Any) -> None:
    """Run a kernel with one thread a particle and channel."""
    block = THREADS // shapes.cp
    getattr(shapes.kernels, name)[(-(-n // block),)](
        *arguments, B=block, CP=shapes.cp, DQ=shapes.dq, num_warps=THREADS // 32, **constants
    )


def running(shapes: Shapes, norm: Any) -> tuple[torch.Tensor, ...]:
    """Scale (l, CP), shift (CP), mean (CP) and 1/σ (l, CP) from the running statistics."""
    pad = shapes.cp - shapes.layout.channels
    inverse = torch.rsqrt(norm.running_var.view(-1, shapes.layout.channels) + norm.eps)
    scale = inverse * norm.weight.detach().view(-1, shapes.layout.channels)
    shift = norm.bias.detach() - norm.running_mean * scale[0]
    padded = [torch.nn.functional.pad(t, (0, pad)) for t in (scale, shift, norm.running_mean, inverse)]
    return tuple(t.contiguous() for t in padded)
