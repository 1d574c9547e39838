"""Positions to outputs as one CUDA graph, neighbour list included: for trajectories and simulations.

A structure of a few thousand particles keeps the GPU busy for less time than Python needs to launch
its kernels.  The second structure in a row with as many particles is therefore recorded, later ones replayed.
"""

from __future__ import annotations

import logging
import operator
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from propensity.graph import Graph
from propensity.neighbours import triton_cells
from propensity.neighbours.coincidence import COINCIDENT
from propensity.nn.cuda_graph import record, stamps
from propensity.nn.kernels.triton.geometry import LISTED
from propensity.nn.streams import Beside
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


def replayed(
    network: SE3GNN,
    structure: Structure,
    scalars: Callable[[Structure], np.ndarray | None] | None = None,
    radius: float | None = None,
    only_held: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
    scale: np.ndarray | None = None,
) -> Answer | None:
    """Outputs of ``network`` in eval mode for ``structure``, or None: then call it itself.

    None comes back for the first structure of a size, those that are not worth a recording or cannot have
    one (above ``LARGEST`` particles, open boundaries, small cells, kernels other than Triton), for more edges
    than there is room for, and for coincident particles.

    Parameters
    ----------
    network
        In eval mode.
    structure
        What it shall see; with its thermal offset, where the network reads that.
    scalars
        Measures the scalars beside the species, shape (N, n_extra), where the network reads some.
    radius
        Neighbourhoods within it are measured on the way for :func:`measured_around`, up to the cutoff.
    only_held
        Use a recording that is there, and record nothing.
    meanwhile
        Is called while the device computes; not where nothing is replayed.
    scale
        Mean and spread of each species, shape (2, n_species, n_outputs), by which outputs become labels.
    """
    weight = network.readout.weight
    if not weight.is_cuda or len(structure) > LARGEST or not structure.pbc.all():
        return None
    if network.training or torch.is_grad_enabled() or (network.n_extra and scalars is None):
        return None
    if network.chosen_kernel().name != "triton":
        return None
    within = network.cutoff if radius is None else min(radius, network.cutoff)
    grid = triton_cells.grid_of(structure.cell, network.cutoff, len(structure), within)
    if grid is None:
        return None
    if only_held and network not in _RECORDINGS:
        return None
    recordings = _RECORDINGS.get(network) or _RECORDINGS.setdefault(network, _Recordings(network))
    # Recordings outlive an inference mode that the caller may be in.
    with recordings.lock, torch.cuda.device(weight.device), torch.inference_mode(False), torch.no_grad():
        found = recordings.outputs(network, structure, scalars, grid, only_held, meanwhile, scale)
    if found is not None and radius is not None:
        _MEASURED[structure] = within, found.around
    return found


class Neighbourhoods(NamedTuple):
    """Of each particle: squared distance of the nearest neighbour (inf without one), and how many it has."""

    squared: np.ndarray
    count: np.ndarray


def measured_around(structure: Structure, radius: float) -> Neighbourhoods | None:
    """What a replay measured within ``radius`` of this very structure, told once; None where none did."""
    within, found = _MEASURED.pop(structure, (None, None))
    return found if within == radius else None


class Answer(NamedTuple):
    """Outputs, float64, shape (N, n_outputs), the smallest and largest of each, and neighbourhoods."""

    outputs: np.ndarray
    low: np.ndarray
    high: np.ndarray
    around: Neighbourhoods


class _Recordings:
    """Recordings of one network, valid for one version of its parameters."""

    def __init__(self, network: SE3GNN) -> None:
        # Modules keep these dictionaries for life; the network itself must not be held.
        self.tensors = [
            held for module in network.modules() for held in (module._parameters, module._buffers)
        ]
        self.lock = threading.Lock()
        self.held: dict[Any, _Recording] = {}
        self.version: Any = None
        self.last: Any = None
        self.failed = False

    def outputs(
        self,
        network: SE3GNN,
        structure: Structure,
        scalars: Callable[[Structure], np.ndarray | None] | None,
        grid: tuple[np.ndarray, tuple[int, int, int]],
        only_held: bool,
        meanwhile: Callable[[], None],
        scale: np.ndarray | None = None,
    ) -> Answer | None:
        frame, bins = grid
        key = (len(structure), bins)
        if only_held and key not in self.held:
            return None
        again, self.last = key == self.last, key
        seen = None
        if key in self.held:
            seen = _seen(network, structure, scalars)
            recording, current = self.held[key], False

            def look() -> None:
                nonlocal current
                current = self._is_current(network)
                if current:
                    meanwhile()

            # Whether it is out of date is found while the device computes; then nobody hears of what it says.
            found = recording(seen, frame, look, scale)
            if current:
                del self.held[key]
                if found is not None:
                    self.held[key] = recording  # as the latest
                return found
        if not self._is_current(network):
            self.held.clear()
            self.version, again = self._version(network), False
        if only_held or self.failed or not again:
            return None
        while len(self.held) >= KEPT:
            del self.held[next(iter(self.held))]
        seen = seen or _seen(network, structure, scalars)
        try:
            with _ONE_AT_A_TIME:
                recording = _Recording(network, seen, grid)
        except RuntimeError as error:
            log.warning("predictions go on without CUDA graphs, which failed: %s", error)
            self.failed = True
            return None
        found = recording(seen, frame, meanwhile, scale)
        if found is not None:
            self.held[key] = recording
        return found

    def _version(self, network: SE3GNN) -> tuple[str, list[tuple[int, int]]]:
        return network.kernel, stamps(t for held in self.tensors for t in held.values() if t is not None)

    def _is_current(self, network: SE3GNN) -> bool:
        return bool(self.version == self._version(network))


class _Seen(NamedTuple):
    """A structure and the scalars of its particles, shape (N, n_extra) or None."""

    structure: Structure
    scalars: np.ndarray | None


def _seen(
    network: SE3GNN, structure: Structure, scalars: Callable[[Structure], np.ndarray | None] | None
) -> _Seen:
    return _Seen(structure, scalars(structure) if network.n_extra and scalars else None)


class _Recording:
    """One network for one number of particles and bins, recorded on one structure."""

    def __init__(self, network: SE3GNN, seen: _Seen, grid: tuple[np.ndarray, tuple[int, int, int]]) -> None:
        frame, bins = grid
        n, device = len(seen.structure), network.readout.weight.device
        # Positions, thermal offsets and scalars, as far as the network reads them.
        widths = (3, 3 if network.offset_scale else 0, network.n_extra)
        # The frame comes first, of even length, which keeps positions aligned.
        self.inputs = _pinned(torch.zeros(len(frame) + n * sum(widths), dtype=torch.float64))
        self.on_device = self.inputs.to(device)
        frame_there, *parts = self.on_device.split([len(frame), *(n * width for width in widths)])
        positions, offset, scalars = (part.view(n, -1) if len(part) else part for part in parts)
        self.types = seen.structure.types.copy()
        self.types_on_device = torch.from_numpy(self.types).to(device)
        self.plain = np.stack([np.zeros((network.n_species, network.n_outputs))] * 2)
        self.plain[1] = 1.0
        self.scale = self.plain.tobytes()
        # Of each particle, by its species.
        self.mean, self.spread = torch.from_numpy(self.plain[:, self.types]).to(device, copy=True)
        # Replays read them where they lay, whether or not they are the network's still.
        self.weights = [t.detach() for t in (*network.parameters(), *network.buffers())]
        self._lay(seen, frame)
        self.on_device.copy_(self.inputs)
        self.host: torch.Tensor | None = None

        def searched(thermal: bool) -> triton_cells.Found:
            return triton_cells.search(positions + offset if thermal else positions, frame_there, bins)

        names = ("edge", "thermal_edge")[: 1 if network.thermal is None else 2]
        self.rooms = [int(float(searched(name != "edge").counts.sum()) * MARGIN) + 1024 for name in names]

        def run() -> tuple[torch.Tensor, ...]:
            self.on_device.copy_(self.inputs, non_blocking=True)
            lists, edges = [], {}
            second = Beside(device) if len(names) > 1 else nullcontext()
            for name, room in zip(names, self.rooms, strict=True):
                with nullcontext() if name == "edge" else second:
                    found = searched(name != "edge")
                    # Edges beyond those found lead to particle n, which does not exist.
                    index = torch.full((2, room), n, dtype=torch.int64, device=device)
                    vectors = torch.ones(room, 3, device=device)
                    found.fill(index, vectors)
                if found.order is not None:
                    LISTED[index] = found.rows, found.order
                lists.append(found)
                edges |= {f"{name}_index": index, f"{name}_vec": vectors}
            graph = Graph(types=self.types_on_device, **edges)
            if network.offset_scale:
                graph.thermal_offset = offset.float()
            if network.n_extra:
                graph.scalars = scalars.float()
            labels = network(graph).double() * self.spread + self.mean
            # Numbers of eight bytes come first.
            parts = [lists[0].closest, *(found.closest.min() for found in lists)]
            parts += [labels, *labels.aminmax(dim=0), lists[0].within]
            parts += [found.rows[-1:].int() for found in lists]
            self.parts = [(part.shape, part.dtype) for part in parts]
            # One vector, since every copy to the host costs as much as a kernel.
            result = torch.cat([part.contiguous().view(-1).view(torch.int32) for part in parts])
            if self.host is None:
                self.host = _pinned(torch.empty_like(result, device="cpu"))
            self.host.copy_(result, non_blocking=True)
            return (result,)

        self._replay, self.result = record(run, device)
        # What the layers keep between passes was made before, and the recording reads it where it lies.
        self.tables = _tables(network)
        assert self.host is not None
        self.found, first = [], 0
        for shape, dtype in self.parts:
            last = first + shape.numel() * dtype.itemsize // 4
            self.found.append(self.host.numpy()[first:last].view(_NUMPY[dtype]).reshape(shape))
            first = last

    def __call__(
        self,
        seen: _Seen,
        frame: np.ndarray,
        meanwhile: Callable[[], None] = lambda: None,
        scale: np.ndarray | None = None,
    ) -> Answer | None:
        """What the network says, ``meanwhile`` called as the device computes; None where the edges do not fit
        or particles coincide.
        """
        scale, types = self.plain if scale is None else scale, seen.structure.types
        others = not np.array_equal(self.types, types)
        if others:
            self.types = types.copy()
            self.types_on_device.copy_(torch.from_numpy(self.types))
        if others or self.scale != scale.tobytes():
            for held, value in zip((self.mean, self.spread), scale[:, types], strict=True):
                held.copy_(torch.from_numpy(value))
            self.scale = scale.tobytes()
        self._lay(seen, frame)
        self._replay()
        try:
            meanwhile()
        finally:  # whatever happens, nothing is written to what the device still reads
            if self.on_device.is_cuda:
                torch.cuda.current_stream().synchronize()
        k = len(self.rooms)
        nearest, edges = self.found[1 : 1 + k], self.found[-k:]
        squared, (outputs, low, high, within) = self.found[0], self.found[1 + k : -k]
        if min(nearest) < COINCIDENT**2 or any(map(operator.gt, edges, self.rooms)):
            return None
        around = Neighbourhoods(np.where(within == 0, np.inf, squared), within.astype(np.int64))
        return Answer(outputs.copy(), low.copy(), high.copy(), around)

    def _lay(self, seen: _Seen, frame: np.ndarray) -> None:
        """Put a structure where replays read it."""
        structure, inputs, first = seen.structure, self.inputs.numpy(), len(frame)
        inputs[:first] = frame
        for part in (structure.positions, structure.thermal_offset, seen.scalars):
            if part is not None and first < len(inputs):
                inputs[first : first + part.size] = part.ravel()
                first += part.size


#: What lies in the vector that comes back.
_NUMPY: dict[torch.dtype, Any] = {
    torch.float64: np.float64,
    torch.int64: np.int64,
    torch.int32: np.int32,
}


def _tables(network: SE3GNN) -> list[Any]:
    from propensity.nn.kernels.triton.kernel import _folded

    own = [_folded(c, norm) for c, norm in zip(network.convolutions, network.norms, strict=True)]
    return own if network.thermal is None else own + _tables(network.thermal)


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """In memory from which copies to a device don't wait."""
    return tensor.pin_memory() if torch.cuda.is_available() else tensor


_ONE_AT_A_TIME = threading.Lock()
_RECORDINGS: weakref.WeakKeyDictionary[Any, _Recordings] = weakref.WeakKeyDictionary()
#: Neighbourhoods that replays measured, with the radius, until they are asked for.
_MEASURED: weakref.WeakKeyDictionary[Structure, tuple[float, Neighbourhoods]] = weakref.WeakKeyDictionary()
