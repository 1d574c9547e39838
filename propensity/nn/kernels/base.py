"""The network's layers run one after another, for kernels that know one convolution at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from propensity.nn.convolution import Convolution


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
        scalars = network.layer_scalars(graph)
        geometry = self.prepare(graph, network.convolutions[-1])
        hidden = network.first_features(graph)
        layers = []
        for convolution, norm in zip(network.convolutions, network.norms, strict=True):
            update = convolution(self, hidden, scalars, geometry)
            hidden = norm(update if hidden.shape[1] == 0 else update + hidden)
            layers.append(hidden)
        return layers

    def last_features(self, network: Any, graph: Any) -> torch.Tensor:
        """See :class:`Kernel`."""
        return self.features(network, graph)[-1]
