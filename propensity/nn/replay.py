"""Positions to outputs as one CUDA graph, neighbour list included: for trajectories and simulations.

A structure of a few thousand particles keeps the GPU busy for less time than Python needs to launch
its kernels.  The second structure in a row with as many particles is therefore recorded, later ones replayed.
"""

from __future__ import annotations

import logging
import threading
import weakref
from functools import lru_cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from propensity.neighbours import triton_cells
from propensity.neighbours.coincidence import COINCIDENT
from propensity.nn.kernels.choice import get_kernel
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN

log = logging.getLogger(__name__)

#: Particles above which launches cost nothing beside the work.
LARGEST = 65_536
#: Recordings of one network that are kept, the latest used.
KEPT = 4
#: Room for more edges than the recorded structure had.
MARGIN = 1.1


def replayed(network: SE3GNN, structure: Structure) -> np.ndarray | None:
    """Outputs of ``network`` in eval mode for ``structure``, shape (N, n_outputs), or None: then call it
    itself.

    None comes back for the first structure of a size, those that are not worth a recording or cannot have
    one (above ``LARGEST`` particles, open boundaries, small cells, scalars beside the species, thermal
    offsets, kernels other than Triton), for more edges than there is room for, and for coincident particles.
    """
    weight = network.readout.weight
    if not weight.is_cuda or len(structure) > LARGEST or not structure.pbc.all():
        return None
    if network.training or network.n_extra or network.offset_scale or torch.is_grad_enabled():
        return None
    if get_kernel(network.kernel, weight.device, weight.dtype).name != "triton":
        return None
    grid = triton_cells.grid_of(structure.cell, network.cutoff, len(structure))
    if grid is None:
        return None
    recordings = _RECORDINGS.get(network) or _RECORDINGS.setdefault(network, _Recordings(network))
    # Recordings outlive an inference mode that the caller may be in.
    with recordings.lock, torch.cuda.device(weight.device), torch.inference_mode(False), torch.no_grad():
        return recordings.outputs(network, structure, *grid)


class _Recordings:
    """Recordings of one network, valid for one state of its parameters."""

    def __init__(self, network: SE3GNN) -> None:
        # Modules keep these dictionaries for life; the network itself must not be held.
        self.tensors = [
            held for module in network.modules() for held in (module._parameters, module._buffers)
        ]
        self.lock = threading.Lock()
        self.held: dict[Any, _Recording] = {}
        self.state: Any = None
        self.last: Any = None
        self.failed = False

    def outputs(
        self, network: SE3GNN, structure: Structure, frame: np.ndarray, bins: tuple[int, int, int]
    ) -> np.ndarray | None:
        state = network.kernel, *(_stamp(t) for held in self.tensors for t in held.values() if t is not None)
        if state != self.state:
            self.held.clear()
            self.state, self.last = state, None
        key = (len(structure), bins)
        again, self.last = key == self.last, key
        recording = self.held.pop(key, None)
        if recording is None:
            if self.failed or not again:
                return None
            while len(self.held) >= KEPT:
                del self.held[next(iter(self.held))]
            try:
                with _ONE_AT_A_TIME:
                    recording = _Recording(network, structure, frame, bins)
            except RuntimeError as error:
                log.warning("predictions go on without CUDA graphs, which failed: %s", error)
                self.failed = True
                return None
        found = recording(structure, frame)
        if found is not None:
            self.held[key] = recording
        return found


class _Recording:
    """One network for one number of particles and bins, recorded on one structure."""

    def __init__(
        self, network: SE3GNN, structure: Structure, frame: np.ndarray, bins: tuple[int, int, int]
    ) -> None:
        n, device = len(structure), network.readout.weight.device
        # The frame comes first, padded to keep positions aligned.
        self.inputs = torch.empty(20 + 3 * n, dtype=torch.float64).pin_memory()
        self.inputs[19] = 0
        self.on_device = self.inputs.to(device)
        cell, positions = self.on_device[:19], self.on_device[20:].view(n, 3)
        self.types = structure.types.copy()
        self.types_on_device = torch.from_numpy(self.types).to(device)
        self._upload(structure, frame)
        n_edges = int(triton_cells.search(positions, cell, bins).summary()[0])
        self.room = int(n_edges * MARGIN) + 1024

        def run() -> tuple[torch.Tensor, torch.Tensor]:
            found = triton_cells.search(positions, cell, bins)
            # Edges beyond those found lead to particle n, which does not exist.
            edge_index = torch.full((2, self.room), n, dtype=torch.int64, device=device)
            edge_vec = torch.ones(self.room, 3, device=device)
            found.fill(edge_index, edge_vec)
            graph: Any = SimpleNamespace(types=self.types_on_device, edge_index=edge_index, edge_vec=edge_vec)
            return network(graph), found.summary()

        side = _side_stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream(device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=side, capture_error_mode="thread_local"):
            self.results = run()
        # What the layers keep between passes was made before, and the recording reads it where it lies.
        self.tables = _tables(network)
        self.host = [torch.empty(t.shape, dtype=t.dtype).pin_memory() for t in self.results]

    def __call__(self, structure: Structure, frame: np.ndarray) -> np.ndarray | None:
        """Outputs, or None where the edges do not fit or particles coincide."""
        if not np.array_equal(self.types, structure.types):
            self.types = structure.types.copy()
            self.types_on_device.copy_(torch.from_numpy(self.types))
        self._upload(structure, frame)
        self.graph.replay()
        for host, result in zip(self.host, self.results, strict=True):
            host.copy_(result, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        outputs, summary = self.host
        n_edges, closest = summary.tolist()
        if n_edges > self.room or closest < COINCIDENT**2:
            return None
        return outputs.numpy().astype(np.float64)

    def _upload(self, structure: Structure, frame: np.ndarray) -> None:
        inputs = self.inputs.numpy()
        inputs[:19] = frame
        inputs[20:] = structure.positions.ravel()
        self.on_device.copy_(self.inputs, non_blocking=True)


def _tables(network: SE3GNN) -> list[Any]:
    from propensity.nn.kernels.triton.kernel import _folded

    return [_folded(c, norm) for c, norm in zip(network.convolutions, network.norms, strict=True)]


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings, since cuBLAS keeps tens of megabytes for each that it has seen."""
    return torch.cuda.Stream(device)


def _stamp(tensor: torch.Tensor) -> tuple[int, int]:
    """Changes whenever the tensor does."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


_ONE_AT_A_TIME = threading.Lock()
_RECORDINGS: weakref.WeakKeyDictionary[Any, _Recordings] = weakref.WeakKeyDictionary()
