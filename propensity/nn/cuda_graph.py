"""Losses of graphs and their gradients recorded as one CUDA graph: a step then costs the processor one
launch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from propensity.errors import InputError
from propensity.graph import FIELDS, Graph
from propensity.nn.kernels.triton.geometry import GIVEN, sorted_by_source
from propensity.nn.streams import recording_stream


def can_capture(network: Any) -> bool:
    """Whether the network runs on the Triton kernel of a CUDA device, which alone can be recorded."""
    return bool(network.readout.weight.is_cuda) and network.chosen_kernel().name == "triton"


class RecordedLosses:
    """Losses of graphs of one number of particles, with the gradients of the first loss.

    Called with a graph it returns the losses and leaves gradients in ``grad`` of the parameters.  Both
    lie where they lay before: the next call overwrites them.

    Parameters
    ----------
    loss
        A module around a :class:`propensity.nn.SE3GNN`, on a CUDA device, in float32 and in the mode (train
        or eval) that is to be recorded: from a graph to losses, shape (k,).  It keeps its parameters and
        buffers, which later calls read and update.
    like
        A graph, or batch of graphs, that shows the number of particles and the fields.
    max_edges
        Room for edges: the largest ``Graph.n_edges`` in the data.

    Attributes
    ----------
    gradient
        All gradients as one vector, of which those of the parameters are views.

    Raises
    ------
    InputError
        Where the Triton kernel cannot run, or later for a graph that does not fit.
    """

    def __init__(self, loss: nn.Module, like: Graph, max_edges: int) -> None:
        from propensity.nn import SE3GNN

        network = next(part for part in loss.modules() if isinstance(part, SE3GNN))
        weight = network.readout.weight
        if not can_capture(network):
            raise InputError(
                f"a recording needs the Triton kernel, and the network is {weight.dtype} on {weight.device}."
            )
        self.n_nodes, self.max_edges = len(like.types), max_edges
        # Edges are padded; all else belongs to particles.
        self._inputs: dict[str, torch.Tensor] = {}
        self._edges: dict[str, torch.Tensor] = {}
        for name, field, value in like.tensors():
            if field.of_edges:
                shape = [max_edges if k == field.axis else size for k, size in enumerate(value.shape)]
                self._edges[name] = torch.empty(shape, dtype=value.dtype, device=weight.device)
            else:
                self._inputs[name] = value.to(weight.device, copy=True)
        self._sources = {
            name: (
                torch.empty(self.n_nodes + 1, dtype=torch.int32, device=weight.device),
                room.new_empty(max_edges, dtype=torch.int32),
            )
            for name, room in self._edges.items()
            if FIELDS[name].is_index
        }
        for name, held in self._sources.items():
            GIVEN[self._edges[name]] = held
        self._put(like)
        graph = Graph(**self._edges, **self._inputs)
        state = {name: value.clone() for name, value in loss.state_dict().items()}
        parameters = list(loss.parameters())
        used: list[nn.Parameter] = []

        def run() -> tuple[torch.Tensor, torch.Tensor]:
            losses = loss(graph)
            found = torch.autograd.grad(losses[0], parameters, allow_unused=True)
            pairs = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
            used[:] = [parameter for parameter, _ in pairs]
            return losses.detach(), torch.cat([gradient.flatten() for _, gradient in pairs])

        with torch.random.fork_rng([weight.device] if weight.is_cuda else []):
            self._replay, (self._losses, self.gradient) = record(run, weight.device)
        with torch.no_grad():
            for name, value in loss.state_dict().items():
                value.copy_(state[name])
        parts = self.gradient.split([parameter.numel() for parameter in used])
        self._gradients = [(p, part.view_as(p)) for p, part in zip(used, parts, strict=True)]
        # A replay changes statistics, and the optimiser weights, without a trace in their versions, by which
        # kernels know that what they derived from them is out of date.
        self._counters = [
            buffer for name, buffer in loss.named_buffers() if name.endswith("num_batches_tracked")
        ]

    def __call__(self, graph: Graph) -> torch.Tensor:
        """Losses of ``graph``, shape (k,)."""
        self._put(graph)
        for counter in self._counters:
            torch.autograd.graph.increment_version(counter)
        self._replay()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        return self._losses

    def _put(self, graph: Graph) -> None:
        """Copy a graph to where the recording reads, with edges to a particle that does not exist in the room
        left.
        """
        n_edges = graph.n_edges
        if len(graph.types) != self.n_nodes or n_edges > self.max_edges:
            raise InputError(
                f"the graph has {len(graph.types)} particles and {n_edges} edges: "
                f"recorded were {self.n_nodes} and up to {self.max_edges}."
            )
        for name, room in self._edges.items():
            value = graph[name]
            if FIELDS[name].is_index:
                n_edges = value.shape[1]
                room[:, :n_edges] = value
                room[:, n_edges:] = self.n_nodes
                offsets, order = self._sources[name]
                for held, found in zip(
                    (offsets, order[:n_edges]), _by_source(value, self.n_nodes, room.device), strict=True
                ):
                    held.copy_(found)
            else:
                room[: len(value)] = value
                room[len(value) :] = 1.0
        for name, value in self._inputs.items():
            value.copy_(graph[name], non_blocking=True)


def record(
    run: Callable[[], tuple[torch.Tensor, ...]], device: torch.device, beside: Any = None
) -> tuple[Callable[[], None], tuple[torch.Tensor, ...]]:
    """Record what ``run`` launches: a function that replays it, and the results that each replay
    overwrites; ``beside`` is a replay with which it shares memory, so that they must not run side by side.
    """
    with _ONE_AT_A_TIME:
        side = recording_stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(2):  # compiles, and fills what is kept between passes
                run()
        torch.cuda.current_stream(device).wait_stream(side)
        graph, pool = torch.cuda.CUDAGraph(), None if beside is None else beside.__self__.pool()
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode="thread_local"):
            results = run()
    return graph.replay, results


def _by_source(edge_index: torch.Tensor, n: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges sorted by source, once for every structure."""
    stamp = 0 if edge_index.is_inference() else edge_index._version
    held = _SORTED.get(edge_index)
    if held is None or held[0] != stamp:
        held = _SORTED[edge_index] = stamp, sorted_by_source(edge_index[0].to(device), n)
    return cast("tuple[torch.Tensor, torch.Tensor]", held[1])


#: All are made on one stream: what another thread launched there would become part of a recording.
_ONE_AT_A_TIME = threading.Lock()
#: What was sorted, by the ``edge_index`` of each graph as long as that lives.
_SORTED: Any = WeakIdKeyDictionary()


class Versions:
    """Of the parameters and buffers of a network, which itself is not held.

    Parameters
    ----------
    network
        Any module.
    """

    def __init__(self, network: nn.Module) -> None:
        # Modules keep these dictionaries for life.
        self._held = [held for module in network.modules() for held in (module._parameters, module._buffers)]

    def now(self) -> list[tuple[int, int]]:
        """Changes whenever one of the tensors does."""
        tensors = [t for held in self._held for t in held.values() if t is not None]
        try:
            return [(t.data_ptr(), t._version) for t in tensors]
        except RuntimeError:  # inference tensors count no versions
            return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]
