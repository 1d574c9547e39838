"""Which passes of a gated network go through the kernels, and what these need of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from propensity.nn.gated.graph import GatedGraph
from propensity.nn.gated.triton.ends import first_features
from propensity.nn.gated.triton.layers import Features, pass_layers
from propensity.nn.gated.triton.passes import Edges, Weights
from propensity.nn.gated.triton.sizes import rounded
from propensity.nn.kernels.triton.shapes import has_matrix_units

if TYPE_CHECKING:
    from propensity.nn.gated.network import GatedNetwork

#: Distance in σ below which radial functions are held.
NEAREST = 1e-3


def fits(network: GatedNetwork, graph: GatedGraph) -> bool:
    """Whether the layers of this pass run in the kernels: in half precision, on a graph of a training, on a
    device with matrix units where Triton is.
    """
    device = graph.real.device.type
    if graph.reverse is None or network.standard_in.measuring or graph.real.dtype != torch.float32:
        return False
    if not torch.is_autocast_enabled(device):
        return False
    try:
        import triton
    except ImportError:
        return False
    if device == "cuda":
        return has_matrix_units(graph.real.device)
    return bool(triton.knobs.runtime.interpret)


class Passing:
    """A pass over one graph."""

    def __init__(self, network: GatedNetwork, graph: GatedGraph) -> None:
        assert graph.reverse is not None and graph.counts is not None
        self.network, self.graph = network, graph
        self.half = torch.get_autocast_dtype(graph.real.device.type)
        self.edges = Edges(graph.neighbours, graph.reverse, graph.counts)
        self._made: dict[str, Weights] = {}

    def first(self) -> tuple[torch.Tensor, Features]:
        """Standardised inputs, and the first features."""
        raw, (scalars, vectors, quadrupoles) = first_features(self.network, self.graph, self.half)
        return raw, (scalars, vectors, quadrupoles)

    def layers(self, some: slice, features: Features, moves: torch.Tensor | None) -> Features:
        """Features after some layers, the guessed view being where ``moves`` lead."""
        names = self.network.layer_views[some]
        for name in names:
            if name not in self._made:
                self._made[name] = self._weights(name, moves)
        layers = list(self.network.layers)[some]
        return pass_layers(layers, [self._made[name] for name in names], self.edges, features)  # type: ignore[arg-type]

    def _weights(self, name: str, moves: torch.Tensor | None) -> Weights:
        """Radial functions and harmonics of one view."""
        network, graph = self.network, self.graph
        n, room = graph.real.shape
        layer = network.layers[0]
        b, k = int(layer.n_radial), network.views.index(name)  # type: ignore[arg-type]
        if name not in graph.vectors:
            with torch.no_grad():
                return as_operands(*network.geometry(graph, slice(0, n), name, moves), self.half)
        wide = stride(room)
        found = Weights(
            graph.real.new_empty(n, b, wide, dtype=self.half),
            graph.real.new_empty(n, 9, wide, dtype=self.half),
        )
        from propensity.nn.gated.triton.edges import see_neighbours

        see_neighbours[(n,)](
            (graph.vectors[name], graph.types, graph.neighbours, self.edges.counts),
            network.pairs,
            network.radial_scale[k],
            (room, wide),
            *found,
            CUTOFF=network.cutoff,
            CORE=network.core,
            NEAREST=NEAREST,
            BESSEL=network.n_basis,
            B=b,
            RP=rounded(wide),
            TYPES=network.pairs.shape[1],
            num_warps=2,
        )
        return found


def stride(room: int) -> int:
    """Slots of a particle among radial functions and harmonics."""
    return -(-room // 32) * 32


def as_operands(radial: torch.Tensor, angular: torch.Tensor, half: torch.dtype) -> Weights:
    """Radial functions (N, B, K), zero without a neighbour, and harmonics (N, 9, K) as kernels read them."""
    n, b, room = radial.shape
    found = Weights(
        radial.new_zeros(n, b, stride(room), dtype=half),
        radial.new_zeros(n, 9, stride(room), dtype=half),
    )
    found.radial[:, :, :room], found.angular[:, :, :room] = radial, angular
    return found
