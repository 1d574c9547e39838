"""Predictions of gated networks as one CUDA graph: a thousand launches of a layer's small parts become one.

The second structure in a row with as many particles is recorded, later ones replayed.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, cast

import torch

from propensity.nn.cuda_graph import Versions, record
from propensity.nn.gated.graph import GatedGraph
from propensity.nn.gated.network import GatedNetwork

log = logging.getLogger(__name__)

#: Particles above which launches cost nothing beside the work.
LARGEST = 16_384
#: Columns of the table of neighbours come in such steps, one of them to spare.
STEP = 8


def outputs_of(network: GatedNetwork, graph: GatedGraph) -> torch.Tensor:
    """Outputs of a network in eval mode, without gradients, on the host, (N, n_outputs).

    They come from a recording where there is one.

    Parameters
    ----------
    network
        On the device of the graph.
    graph
        As :func:`propensity.nn.gated.gated_graph` gives it.
    """
    n = len(graph.types)
    if not network.bias.is_cuda or n > LARGEST or network.training or torch.is_grad_enabled():
        return cast("torch.Tensor", network(graph)).cpu()
    held = _HELD.get(network) or _HELD.setdefault(network, _Held(network))
    with _ONE_AT_A_TIME, torch.cuda.device(network.bias.device), torch.inference_mode(False), torch.no_grad():
        recording = held.recording(network, graph)
        outputs: torch.Tensor = network(graph).cpu() if recording is None else recording(graph)
        return outputs


class _Held:
    """The recording of one network, and what was seen last."""

    def __init__(self, network: GatedNetwork) -> None:
        self.versions = Versions(network)
        self.found: _Recording | None = None
        self.version: Any = None
        self.last = 0
        self.failed = False

    def recording(self, network: GatedNetwork, graph: GatedGraph) -> _Recording | None:
        """One that the graph fits, made where one of as many particles came before; else None."""
        n, version = len(graph.types), self.versions.now()
        again, self.last = n == self.last, n
        if version != self.version or (self.found is not None and not self.found.fits(graph)):
            self.found, self.version = None, version
        if self.found is None and again and not self.failed:
            try:
                self.found = _Recording(network, graph)
            except RuntimeError as error:
                log.warning("predictions go on without CUDA graphs, which failed: %s", error)
                self.failed = True
        return self.found


class _Recording:
    """One network for one number of particles, and as many neighbours as its table has columns."""

    def __init__(self, network: GatedNetwork, graph: GatedGraph) -> None:
        device = network.bias.device
        self.n, k = graph.neighbours.shape
        self.width = -(-(k + 1) // STEP) * STEP
        self.itself = torch.arange(self.n, device=device)[:, None]
        self.vectors = {view: _wider(table, self.width) for view, table in graph.vectors.items()}
        self.graph = GatedGraph(
            graph.types.clone(),
            _wider(graph.neighbours, self.width),
            _wider(graph.real, self.width),
            self.vectors,
            graph.vector_inputs.clone(),
            graph.quadrupole_inputs.clone(),
            graph.scalar_inputs.clone(),
        )
        self._put(graph)
        # Replays read them where they lay, whether or not they are the network's still.
        self.weights = [t.detach() for t in (*network.parameters(), *network.buffers())]
        self.outputs = torch.empty(self.n, network.n_outputs, dtype=network.bias.dtype, device=device)

        def run() -> tuple[torch.Tensor, ...]:
            self.outputs.copy_(network(self.graph))
            return ()

        others: list[Any] = [one._replay for one in _LIVE if one.outputs.device == device]
        self._replay: Callable[[], None] = record(run, device, others[0] if others else None)[0]
        _LIVE.add(self)

    def fits(self, graph: GatedGraph) -> bool:
        """Whether the graph has as many particles and no more neighbours."""
        n, k = graph.neighbours.shape
        return n == self.n and k <= self.width

    def __call__(self, graph: GatedGraph) -> torch.Tensor:
        """Outputs on the host."""
        self._put(graph)
        self._replay()
        return self.outputs.cpu()

    def _put(self, graph: GatedGraph) -> None:
        ours, k = self.graph, graph.neighbours.shape[1]
        for name in ("types", "vector_inputs", "quadrupole_inputs", "scalar_inputs"):
            getattr(ours, name).copy_(getattr(graph, name))
        tables = [(ours.neighbours, graph.neighbours, self.itself), (ours.real, graph.real, 0.0)]
        tables += [(self.vectors[view], graph.vectors[view], 0.0) for view in self.vectors]
        for held, table, empty in tables:
            held[:, :k] = table
            held[:, k:] = empty


def _wider(table: torch.Tensor, width: int) -> torch.Tensor:
    return table.new_empty(len(table), width, *table.shape[2:])


_ONE_AT_A_TIME = threading.Lock()
_HELD: weakref.WeakKeyDictionary[Any, _Held] = weakref.WeakKeyDictionary()
#: Recordings, which share their memory: one runs at a time, and keeps nothing there.
_LIVE: weakref.WeakSet[_Recording] = weakref.WeakSet()
