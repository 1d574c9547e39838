"""The radial MLP of one layer in training, forward and backward: launches of the kernels of triton_radial."""

from __future__ import annotations

from typing import Any

import torch

from propensity.nn.kernels.triton.parameters import Gradients, GradientSizes, Packing, Values
from propensity.nn.kernels.triton.radial import spans
from propensity.nn.kernels.triton.radial_norm import kept_share
from propensity.nn.kernels.triton.shapes import Shapes

#: Edges that a program takes at a time: for weights, their gradient, and that of the first layer.
OUTPUT_BLOCK, GRADIENT_BLOCK, INPUT_BLOCK = 64, 32, 64
#: The same for hidden units, four threads an edge.
UNITS_BLOCK = 64
#: Warps of a program of the gradients whose operands stay in registers, and programs for the last layer.
WARPS, OUTER = 4, 132
#: Programs that share a reduction: over the wide last layer (two fill a multiprocessor), and over all else.
FEW, MANY = 264, 528


class RadialPass:
    """The radial MLP of one layer in one pass."""

    def __init__(
        self, shapes: Shapes, radial: Any, basis: torch.Tensor, count: torch.Tensor, packing: Packing
    ) -> None:
        self.kernels, self.n, self.count = shapes.kernels, len(basis), count
        self.width = shapes.pq * shapes.cp * 4
        self.batch = radial.uses_batch(self.n)
        self.keep = kept_share(radial)
        self.hidden, self.hp = radial.linear_in.out_features, packing.hp
        self.constants = {"NB": radial.n_basis, "NBP": packing.nbp, "H": self.hidden, "HP": self.hp}
        self.many = max(min(-(-self.n // INPUT_BLOCK), MANY), 1)
        #: Rows of ``partial`` that the gradient of the last layer fills.
        self.pq, self.in_matrix_units = shapes.pq, shapes.in_matrix_units(self.hidden)
        self.few = min(self.many, OUTER if self.in_matrix_units else FEW)

    def output(
        self, basis: torch.Tensor, mask: torch.Tensor, affine: torch.Tensor, values: Values, block: int
    ) -> torch.Tensor:
        """Radial weights before their ReLU, in blocks of edges."""
        out = basis.new_empty(-(-self.n // block) * block, self.width)
        if self.n:
            self.kernels.radial_output[(-(-self.n // OUTPUT_BLOCK), spans(self.width))](
                (basis, mask, values.weight_in, values.bias_in, affine),
                values.weight,
                values.bias,
                out,
                self.count,
                EB=block,
                B=OUTPUT_BLOCK,
                **self.constants,
            )
        return out

    def units(
        self, basis: torch.Tensor, mask: torch.Tensor, affine: torch.Tensor, values: Values
    ) -> torch.Tensor:
        """Hidden units before batch norm, (E, HP), with a minus sign where dropout leaves them out."""
        out = basis.new_empty(self.n, self.hp)
        if self.n:
            self.kernels.radial_units[(-(-self.n // UNITS_BLOCK),)](
                (basis, mask, values.weight_in, values.bias_in, affine),
                out,
                self.count,
                B=UNITS_BLOCK,
                **self.constants,
            )
        return out

    def partial(self, sizes: GradientSizes) -> torch.Tensor:
        """Room for what each program adds to the gradients of the parameters; the first have all of it."""
        return torch.empty(self.many, sum(sizes), device=self.count.device)

    def backward(
        self,
        basis: torch.Tensor,
        mask: torch.Tensor,
        affine: torch.Tensor,
        values: Values,
        grad: torch.Tensor,
        block: int,
        partial: torch.Tensor,
        wanted: Gradients,
        wants_basis: bool,
        made: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor | None:
        """Gradient of the basis; those of the parameters go to the columns of ``partial``.  ``made``: what
        :meth:`units` gave, and the gradient of the hidden units after dropout, if they are known.
        """
        groups = 1 if made else spans(self.width)
        sums = basis.new_empty(self.few * groups, 2 * self.hp)
        units = basis, mask, values.weight_in, values.bias_in, affine
        stride = partial.shape[1]
        if made:
            x, grad_units = made
            self.kernels.radial_outer[(self.few, -(-self.pq // 2) + 1)](
                x,
                affine,
                grad,
                grad_units,
                sums,
                partial,
                self.count,
                self.keep,
                PQ=self.pq,
                HP=self.hp,
                STRIDE=stride,
                WARPS=WARPS,
                num_warps=WARPS,
            )
        else:
            grad_units = basis.new_empty(self.n, groups, self.hp)
            self.kernels.radial_gradient[(self.few, groups)](
                units,
                values.weight,
                grad,
                grad_units,
                sums,
                partial,
                self.count,
                self.keep,
                EB=block,
                B=GRADIENT_BLOCK,
                STRIDE=stride,
                **self.constants,
            )
        total(self, sums, wanted.units)
        if made and not wants_basis and self.constants["NBP"] == 16:
            self.kernels.radial_inner[(self.many,)](
                x,
                basis,
                affine,
                grad_units,
                wanted.units,
                partial,
                self.count,
                self.keep,
                BATCH=self.batch,
                NB=self.constants["NB"],
                HP=self.hp,
                START=self.width * (self.hp + 1),
                STRIDE=stride,
                WARPS=WARPS,
                num_warps=WARPS,
            )
            return None
        grad_basis = torch.empty_like(basis) if wants_basis else None
        self.kernels.radial_input[(self.many,)](
            units,
            grad_units,
            wanted.units,
            partial,
            basis if grad_basis is None else grad_basis,
            self.count,
            self.keep,
            BATCH=self.batch,
            BASIS=wants_basis,
            B=INPUT_BLOCK,
            SPANS=groups,
            START=self.width * (self.hp + 1),
            STRIDE=stride,
            **self.constants,
        )
        return grad_basis


def total(
    owner: Any, partial: torch.Tensor, out: torch.Tensor, first_rows: int | None = None, split: int = 0
) -> None:
    """Sum of the rows of ``partial``, in a fixed order; of columns before ``split`` only ``first_rows``."""
    rows, width = partial.shape
    columns = 32 if width > 512 else 16
    owner.kernels.total[(-(-width // columns),)](
        partial, out, first_rows or rows, rows, split, width, T=columns, R=128
    )
