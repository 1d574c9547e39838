"""The network's layers run one after another, for kernels that know one convolution at a time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

if TYPE_CHECKING:
    from propensity.nn.convolution import Convolution

Geometry = TypeVar("Geometry")


def geometry_of_layers(network: Any, graph: Any, prepare: Callable[[Any], Geometry]) -> list[Geometry]:
    """What ``prepare`` makes of the edges that each layer reads, once for layers that share them."""
    own, n_thermal = prepare(graph), network.thermal_layers
    first = []
    if n_thermal:
        thermal = SimpleNamespace(
            types=graph.types, edge_index=graph.thermal_edge_index, edge_vec=graph.thermal_edge_vec
        )
        first = [prepare(thermal)] * n_thermal
    return first + [own] * (len(network.convolutions) - n_thermal)


class Kernel(Protocol):
    """One implementation of the network's layers."""

    name: str

    def features(self, network: Any, graph: Any) -> list[torch.Tensor]:
        """Return equivariant features after each layer, each of shape (N, channels·(l_max+1)²)."""

    def last_features(self, network: Any, graph: Any) -> torch.Tensor:
        """Return the features after the last layer."""


class LayerwiseKernel:
    """Convolution, residual and norm, layer by layer."""

    name: str

    def prepare(self, graph: Any, convolution: Convolution) -> Any:
        """Compute what all layers share (directions, lengths, order of edges) once a forward pass."""
        raise NotImplementedError

    def convolve(
        self, convolution: Convolution, hidden: torch.Tensor, scalars: torch.Tensor, geometry: Any
    ) -> torch.Tensor:
        """Return the convolved features, shape (N, layout.dim_out)."""
        raise NotImplementedError

    def features(self, network: Any, graph: Any) -> list[torch.Tensor]:
        """See :class:`Kernel`."""
        scalars = network.node_scalars(graph)
        geometries = geometry_of_layers(network, graph, lambda g: self.prepare(g, network.convolutions[-1]))
        hidden = network.first_features(graph)
        layers = []
        for convolution, norm, geometry in zip(network.convolutions, network.norms, geometries, strict=True):
            update = convolution(self, hidden, scalars, geometry)
            hidden = norm(update if hidden.shape[1] == 0 else update + hidden)
            layers.append(hidden)
        return layers

    def last_features(self, network: Any, graph: Any) -> torch.Tensor:
        """See :class:`Kernel`."""
        return self.features(network, graph)[-1]
