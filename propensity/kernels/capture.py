"""A network recorded as CUDA graphs: small kernels then cost no time between them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from propensity.errors import InputError

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN


class _Flat(torch.nn.Module):
    """The network as a function of tensors."""

    def __init__(self, network: SE3GNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, types: torch.Tensor, edge_index: torch.Tensor, edge_vec: torch.Tensor) -> torch.Tensor:
        return self.network(SimpleNamespace(types=types, edge_index=edge_index, edge_vec=edge_vec))


def capture(network: SE3GNN, n_nodes: int, max_edges: int) -> Callable[[Any], torch.Tensor]:
    """Record forward and backward passes for graphs of ``n_nodes`` particles and up to ``max_edges`` edges.

    Parameters
    ----------
    network
        On a CUDA device, in float32 and in the mode (train or eval) that is to be recorded.  It keeps
        its parameters and buffers, which later calls read and update.
    n_nodes
        Particles of every graph (or batch of graphs).
    max_edges
        Room for edges: the largest number in the data.

    Returns
    -------
    A function from a graph to what ``network(graph)`` returns, which ``backward`` can follow.  A result
    is overwritten by the next call.

    Raises
    ------
    InputError
        Where the Triton kernel cannot run, or later for a graph that does not fit.
    """
    from propensity.kernels.registry import get_kernel

    weight = network.readout.weight
    if not weight.is_cuda or get_kernel(network.kernel, weight.device, weight.dtype).name != "triton":
        raise InputError(
            f"capture needs the Triton kernel, and the network is {weight.dtype} on {weight.device}."
        )
    if network.extra_scalars:
        raise InputError("capture does not take extra scalars: call the network itself.")
    types = torch.zeros(n_nodes, dtype=torch.int64, device=weight.device)
    edge_index = torch.full((2, max_edges), n_nodes, dtype=torch.int64, device=weight.device)
    edge_index[:, :2] = 0
    edge_vec = torch.ones(max_edges, 3, device=weight.device)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    recorded: Any = torch.cuda.make_graphed_callables(_Flat(network), (types, edge_index, edge_vec))
    with torch.no_grad():
        for name, value in network.state_dict().items():
            value.copy_(state[name])

    def call(graph: Any) -> torch.Tensor:
        n_edges = graph.edge_index.shape[1]
        if len(graph.types) != n_nodes or n_edges > max_edges:
            raise InputError(
                f"the graph has {len(graph.types)} particles and {n_edges} edges: recorded were {n_nodes} and up to {max_edges}."
            )
        index = torch.nn.functional.pad(graph.edge_index, (0, max_edges - n_edges), value=n_nodes)
        vectors = torch.nn.functional.pad(graph.edge_vec, (0, 0, 0, max_edges - n_edges), value=1.0)
        return recorded(graph.types, index, vectors)

    return call
