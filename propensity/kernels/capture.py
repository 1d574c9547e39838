"""A function of graphs recorded as CUDA graphs: small kernels then cost no time between them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from propensity.errors import InputError


class _Flat(nn.Module):
    """A module that takes a graph, as a function of tensors."""

    def __init__(self, module: nn.Module, fields: list[str]) -> None:
        super().__init__()
        self.module, self.fields = module, fields

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self.module(SimpleNamespace(**dict(zip(self.fields, tensors, strict=True))))


def can_capture(network: Any) -> bool:
    """Whether the network runs on the Triton kernel of a CUDA device, which alone can be recorded."""
    from propensity.kernels.registry import get_kernel

    weight = network.readout.weight
    return weight.is_cuda and get_kernel(network.kernel, weight.device, weight.dtype).name == "triton"


def capture(module: nn.Module, like: Any, max_edges: int) -> Callable[[Any], torch.Tensor]:
    """Record forward and backward passes of ``module(graph)``, for graphs of one number of particles.

    Parameters
    ----------
    module
        A :class:`propensity.nn.SE3GNN` or a module around one (a loss, say), on a CUDA device, in float32
        and in the mode (train or eval) that is to be recorded.  It keeps its parameters and buffers, which
        later calls read and update.
    like
        A graph, or batch of graphs, that shows the number of particles and the fields.
    max_edges
        Room for edges: the largest number in the data.

    Returns
    -------
    A function from a graph to what ``module(graph)`` returns, which ``backward`` can follow.  A result
    is overwritten by the next call.

    Raises
    ------
    InputError
        Where the Triton kernel cannot run, or later for a graph that does not fit.
    """
    from propensity.nn import SE3GNN

    network = next(part for part in module.modules() if isinstance(part, SE3GNN))
    weight = network.readout.weight
    if not can_capture(network):
        raise InputError(
            f"capture needs the Triton kernel, and the network is {weight.dtype} on {weight.device}."
        )
    n_nodes = len(like.types)
    held = like.to_dict() if hasattr(like, "to_dict") else vars(like)
    # Edges first, which are padded; all else belongs to particles.
    edges = ["edge_index", "edge_vec"]
    fields = edges + [name for name, value in held.items() if torch.is_tensor(value) and name not in edges]

    def padded(graph: Any) -> list[torch.Tensor]:
        """Tensors of a graph, with edges to a particle that does not exist up to the room there is."""
        n_edges = graph.edge_index.shape[1]
        if len(graph.types) != n_nodes or n_edges > max_edges:
            raise InputError(
                f"the graph has {len(graph.types)} particles and {n_edges} edges: recorded were {n_nodes} and up to {max_edges}."
            )
        index = nn.functional.pad(graph.edge_index, (0, max_edges - n_edges), value=n_nodes)
        vectors = nn.functional.pad(graph.edge_vec, (0, 0, 0, max_edges - n_edges), value=1.0)
        return [index, vectors, *(getattr(graph, name) for name in fields[2:])]

    state = {name: value.clone() for name, value in module.state_dict().items()}
    example = tuple(tensor.clone().to(weight.device) for tensor in padded(like))
    with torch.random.fork_rng([weight.device]):
        recorded: Any = torch.cuda.make_graphed_callables(_Flat(module, fields), example)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            value.copy_(state[name])
    # A replay changes statistics, and the optimiser weights, without a trace in their versions, by which
    # kernels know that what they derived from them is out of date.
    counters = [buffer for name, buffer in module.named_buffers() if name.endswith("num_batches_tracked")]

    def call(graph: Any) -> torch.Tensor:
        for counter in counters:
            torch.autograd.graph.increment_version(counter)
        return recorded(*padded(graph))

    return call
