"""What a kernel is: a function of layers, a graph and what goes into the first layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from e3nn.nn import BatchNorm

    from propensity.graph import Graph
    from propensity.nn.convolution import Convolution


@dataclass(frozen=True)
class Stack:
    """Layers that follow one another: convolution, residual (not at the first) and equivariant batch norm."""

    convolutions: nn.ModuleList
    norms: nn.ModuleList

    def __iter__(self) -> Iterator[tuple[Convolution, BatchNorm]]:
        pairs = zip(self.convolutions, self.norms, strict=True)
        return cast("Iterator[tuple[Convolution, BatchNorm]]", pairs)

    @property
    def last(self) -> Convolution:
        """The last convolution, whose radial basis and l_max are those of all."""
        return cast("Convolution", self.convolutions[-1])

    @property
    def training(self) -> bool:
        """Whether statistics are those of the batch and dropout acts."""
        return self.last.training


class Kernel(Protocol):
    """One implementation of the network's layers."""

    name: str

    def is_available(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether it runs here."""

    def layers(
        self, stack: Stack, graph: Graph, scalars: torch.Tensor, first: torch.Tensor, every: bool = False
    ) -> list[torch.Tensor]:
        """Run all layers over a graph.

        Parameters
        ----------
        stack
            The layers.
        graph
            Its ``edge_index`` (2, E) and ``edge_vec`` (E, 3).
        scalars
            What joins every layer, shape (N, n_scalars).
        first
            Features before the first layer: (N, 0), or as after a layer.
        every
            Return the features after every layer rather than after the last alone.

        Returns
        -------
        list of Tensor
            Equivariant features, each of shape (N, channels·(l_max+1)²).
        """


class LayerwiseKernel:
    """Convolution, residual and norm, layer by layer."""

    name: str

    def prepare(self, graph: Graph, convolution: Convolution) -> Any:
        """Compute what all layers share (directions, lengths, order of edges) once a forward pass."""
        raise NotImplementedError

    def convolve(
        self, convolution: Convolution, hidden: torch.Tensor, scalars: torch.Tensor, geometry: Any
    ) -> torch.Tensor:
        """Return the convolved features, shape (N, layout.dim_out)."""
        raise NotImplementedError

    def layers(
        self, stack: Stack, graph: Graph, scalars: torch.Tensor, first: torch.Tensor, every: bool = False
    ) -> list[torch.Tensor]:
        """See :class:`Kernel`."""
        geometry, hidden, found = self.prepare(graph, stack.last), first, []
        for convolution, norm in stack:
            update = convolution(self, hidden, scalars, geometry)
            hidden = norm(update if hidden.shape[1] == 0 else update + hidden)
            found.append(hidden)
        return found if every else found[-1:]
