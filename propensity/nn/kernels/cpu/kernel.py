"""The network on CPUs: numba loops with explicit SIMD; of edges only harmonics and radial basis are written.

At inference a layer (convolution, residual and batch norm) is one pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from propensity.nn.kernels.base import Stack

if TYPE_CHECKING:
    from propensity.graph import Graph
    from propensity.nn.convolution import Convolution
    from propensity.nn.kernels.cpu.geometry import CPUGeometry


class CPUKernel:
    """Tensor products of 16 particles at a time; no tensor of messages is written."""

    # numba is imported where it is needed: it takes longer than the rest of the package's start.
    name = "cpu"

    def is_available(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Runs on CPUs in float32 and float64, given numba."""
        if device.type != "cpu" or dtype not in (torch.float32, torch.float64):
            return False
        try:
            import numba  # noqa: F401
        except ImportError:
            return False
        return True

    def prepare(self, graph: Graph, convolution: Convolution) -> CPUGeometry:
        """Sort edges into slots; spherical harmonics and Bessel basis once for all layers."""
        from propensity.nn.kernels.cpu.geometry import geometry_of
        from propensity.nn.kernels.cpu.slots import make_slots

        radial = convolution.radial
        slots = make_slots(graph.edge_index, len(graph.types))
        vectors = graph.edge_vec.to(radial.linear_in.weight.dtype)
        return geometry_of(slots, vectors, radial, convolution.layout.l_max)

    def layers(
        self, stack: Stack, graph: Graph, scalars: torch.Tensor, first: torch.Tensor, every: bool = False
    ) -> list[torch.Tensor]:
        """See :class:`propensity.nn.kernels.base.Kernel`."""
        if stack.training or torch.is_grad_enabled():
            return self._traced(stack, graph, scalars, first)[0 if every else -1 :]
        found = self._infer(stack, graph, scalars, first)
        return [layer.clone() for layer in found] if every else list(deque(found, maxlen=1))

    def _traced(
        self, stack: Stack, graph: Graph, scalars: torch.Tensor, first: torch.Tensor
    ) -> list[torch.Tensor]:
        """Features after each layer, with gradients."""
        from propensity.nn.kernels.cpu.layer import Joined, Layer, radial_parameters

        geometry, found = self.prepare(graph, stack.last), []
        table = Joined.apply(first, scalars)  # type: ignore[no-untyped-call]
        for convolution, norm in stack:
            parameters = *radial_parameters(convolution.radial), *convolution.mix, norm.weight, norm.bias
            of_edges = geometry.harmonics, geometry.basis
            table = Layer.apply(  # type: ignore[no-untyped-call]
                convolution, norm, geometry, table, scalars.requires_grad, *of_edges, *parameters
            )
            found.append(table[:-1, : convolution.layout.dim_out])
        return found

    def _infer(
        self, stack: Stack, graph: Graph, scalars: torch.Tensor, first: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """Features after each layer; what one layer wrote is written over by the next but one."""
        from propensity.nn.kernels.cpu.folded import folded
        from propensity.nn.kernels.cpu.layer import Joined, forward
        from propensity.nn.kernels.cpu.tiles import After

        geometry = self.prepare(graph, stack.last)
        features = Joined.apply(first, scalars).numpy()  # type: ignore[no-untyped-call]
        blank, keep_no_sums = scalars.new_empty(len(scalars), stack.last.layout.dim_out), features[0, :0]
        tables = [Joined.apply(blank, scalars).numpy() for _ in range(2)]  # type: ignore[no-untyped-call]
        kept = geometry.slots.bits(None, stack.last.radial.linear_in.out_features)
        for k, (convolution, norm) in enumerate(stack):
            layout, out = convolution.layout, tables[k % 2]
            product, radial, scale, shift = folded(convolution, norm)
            after = After(layout.channels_in > 0, scale.numpy(), shift.numpy())
            forward(geometry, radial._replace(kept=kept), product, features, after, keep_no_sums, out)
            yield torch.from_numpy(out)[:-1, : layout.dim_out]
            features = out


KERNEL = CPUKernel()
