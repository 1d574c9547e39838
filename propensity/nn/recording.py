"""A prediction as two CUDA graphs: the search for neighbours, and the layers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from propensity.graph import Graph
from propensity.neighbours import triton_cells
from propensity.neighbours.coincidence import COINCIDENT
from propensity.nn.cuda_graph import record
from propensity.nn.kernels.triton.geometry import LISTED
from propensity.nn.streams import Beside
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN

#: Room for more edges than the recorded structure had.
MARGIN = 1.1


class Neighbourhoods(NamedTuple):
    """Of each particle: squared distance of the nearest neighbour (inf without one), and how many it has."""

    squared: np.ndarray
    count: np.ndarray


class Answer(NamedTuple):
    """Outputs, float64, shape (N, n_outputs), the smallest and largest of each, and neighbourhoods."""

    outputs: np.ndarray
    low: np.ndarray
    high: np.ndarray
    around: Neighbourhoods


class Seen(NamedTuple):
    """A structure and the scalars of its particles, shape (N, n_extra) or None."""

    structure: Structure
    scalars: np.ndarray | None


class Recording:
    """One network for one number of particles and bins, recorded on one structure.

    Parameters
    ----------
    network
        In eval mode, on a CUDA device.
    seen
        The structure, with what the network reads of it.
    grid
        Of :func:`propensity.neighbours.triton_cells.grid_of`.
    """

    def __init__(self, network: SE3GNN, seen: Seen, grid: tuple[np.ndarray, tuple[int, int, int]]) -> None:
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

        def searched(thermal: bool) -> triton_cells.Found:
            return triton_cells.search(positions + offset if thermal else positions, frame_there, bins)

        names = ("edge", "thermal_edge")[: 1 if network.thermal is None else 2]
        self.rooms = [int(float(searched(name != "edge").counts.sum()) * MARGIN) + 1024 for name in names]
        self.measured, self.answers = _Sent(), _Sent()

        def search() -> tuple[torch.Tensor, ...]:
            self.on_device.copy_(self.inputs, non_blocking=True)
            lists, edges = [], []
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
                edges += [index, vectors]
            # Numbers of eight bytes come first.
            parts = [lists[0].closest, *(found.closest.min() for found in lists), lists[0].within]
            self.measured.send([*parts, *(found.rows[-1:].int() for found in lists)])
            return tuple(edges)

        self._search, edges = record(search, device)
        self._search()
        fields = [f"{name}_{part}" for name in names for part in ("index", "vec")]
        self.graph = Graph(types=self.types_on_device, **dict(zip(fields, edges, strict=True)))

        def layers() -> tuple[torch.Tensor, ...]:
            if network.offset_scale:
                self.graph.thermal_offset = offset.float()
            if network.n_extra:
                self.graph.scalars = scalars.float()
            labels = network(self.graph).double() * self.spread + self.mean
            self.answers.send([labels, *labels.aminmax(dim=0)])
            return ()

        self._layers, _ = record(layers, device)
        # What the layers keep between passes was made before, and the recording reads it where it lies.
        self.tables = _tables(network)
        self.searched = torch.cuda.Event() if device.type == "cuda" else None

    def __call__(
        self,
        seen: Seen,
        frame: np.ndarray,
        meanwhile: Callable[[Neighbourhoods | None], object] = lambda around: None,
        scale: np.ndarray | None = None,
    ) -> Answer | None:
        """What the network says; None where the edges do not fit or particles coincide.

        Parameters
        ----------
        seen, frame
            As those that were recorded.
        meanwhile
            Is called with the neighbourhoods while layers run; with None where nothing will come of it.
        scale
            As of :func:`propensity.nn.replay.replayed`.
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
        self.replay()
        try:
            if self.searched is not None:
                self.searched.synchronize()
            around = self._around()
            meanwhile(around)
        finally:  # whatever happens, nothing is written to what the device still reads
            if self.searched is not None:
                torch.cuda.current_stream().synchronize()
        if around is None:
            return None
        outputs, low, high = self.answers.found
        return Answer(outputs.copy(), low.copy(), high.copy(), around)

    def replay(self) -> None:
        """Search, and run the layers, of what was laid."""
        self._search()
        if self.searched is not None:
            self.searched.record()
        self._layers()

    def _around(self) -> Neighbourhoods | None:
        squared, *found = self.measured.found
        k = len(self.rooms)
        nearest, within, edges = found[:k], found[k], found[k + 1 :]
        if min(nearest) < COINCIDENT**2 or any(map(operator.gt, edges, self.rooms)):
            return None
        return Neighbourhoods(np.where(within == 0, np.inf, squared), within.astype(np.int64))

    def _lay(self, seen: Seen, frame: np.ndarray) -> None:
        """Put a structure where replays read it."""
        structure, inputs, first = seen.structure, self.inputs.numpy(), len(frame)
        inputs[:first] = frame
        for part in (structure.positions, structure.thermal_offset, seen.scalars):
            if part is not None and first < len(inputs):
                inputs[first : first + part.size] = part.ravel()
                first += part.size


class _Sent:
    """What a recording sends to the host: one vector, since every copy costs as much as a kernel."""

    def __init__(self) -> None:
        self.host: torch.Tensor | None = None
        #: Views of it, which every replay overwrites.
        self.found: list[np.ndarray] = []

    def send(self, parts: list[torch.Tensor]) -> None:
        """Copy tensors, those of eight bytes a number first."""
        vector = torch.cat([part.contiguous().view(-1).view(torch.int32) for part in parts])
        if self.host is None:
            self.host, first = _pinned(torch.empty_like(vector, device="cpu")), 0
            for part in parts:
                last = first + part.numel() * part.itemsize // 4
                self.found.append(self.host.numpy()[first:last].view(_NUMPY[part.dtype]).reshape(part.shape))
                first = last
        self.host.copy_(vector, non_blocking=True)


#: What lies in the vector that comes back.
_NUMPY: dict[torch.dtype, Any] = {torch.float64: np.float64, torch.int32: np.int32}


def _tables(network: SE3GNN) -> list[Any]:
    from propensity.nn.kernels.triton.kernel import _folded

    own = [_folded(c, norm) for c, norm in zip(network.convolutions, network.norms, strict=True)]
    return own if network.thermal is None else own + _tables(network.thermal)


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    """In memory from which copies to a device don't wait."""
    return tensor.pin_memory() if torch.cuda.is_available() else tensor
