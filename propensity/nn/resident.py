"""The network on a structure that fits the memory of one or several GPUs, domain by domain.

Each device keeps positions and features of a stretch of slabs and of the slabs beside it; after each layer
devices exchange the features of those.  The edges of a domain, which only its own device needs, are kept for
all layers where they fit, and else listed anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from propensity.devices import side_by_side
from propensity.graph import Graph
from propensity.lattice import reduced_cell
from propensity.neighbours import triton_cells
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import COINCIDENT, refuse_coincident
from propensity.neighbours.domains import Grid, edges_of_own
from propensity.nn.host_copies import fetched, sent
from propensity.nn.kernels.base import Stack
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN

#: Particles of a domain: few enough that what a layer needs beside features and edges is small, many enough
#: that the processor, which works for all devices, is always ahead of them.
PER_DOMAIN = 1 << 20
#: Bytes of an edge that is kept, with what the kernels make of it.
EDGE = 48
#: Share of a device's free memory that is used.
SHARE = 0.85
#: What a domain at work takes: candidates of its halo, sums of a layer.
WORKING = 8 << 30


@dataclass
class Part:
    """What one device knows.

    Parameters
    ----------
    network
        On the device.
    numbers, own
        Its domains, and the range of their particles among all, in the order of the grid.
    first
        Particle of that order which is its first one here.
    order, positions, fields
        Of its particles and of those in the slabs beside: number in the structure, float64 positions in the
        cell, further tensors of a graph.
    keeps
        Whether graphs are kept.
    """

    network: SE3GNN
    numbers: range
    own: range
    first: int
    order: torch.Tensor
    positions: torch.Tensor
    fields: dict[str, torch.Tensor]
    keeps: bool = True
    hidden: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    after: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    graphs: dict[int, tuple[slice, torch.Tensor, Graph] | None] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.network.readout.weight.device

    def active(self) -> AbstractContextManager[Any]:
        """Kernels are launched on the current device of the thread."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()


class Resident:
    """A structure distributed over devices.

    Parameters
    ----------
    networks
        Copies of one network, one on each device.
    structure
        What they shall see.
    fields
        Tensors of its graph beside types and edges, by name, in the order of the structure.
    per_domain
        Particles of a domain, about; None: as many as a GPU likes.
    """

    def __init__(
        self,
        networks: Sequence[SE3GNN],
        structure: Structure,
        fields: dict[str, torch.Tensor],
        per_domain: int | None = None,
    ) -> None:
        first, per_domain = networks[0], per_domain or PER_DOMAIN
        self.cutoff, self.dimension, self.n = first.cutoff, structure.dimension, len(structure)
        weight, n = first.readout.weight, self.n
        self.dtype, device = weight.dtype, weight.device
        if structure.pbc.all():
            cell = reduced_cell(structure.cell, structure.pbc)
            positions = sent(torch.from_numpy(structure.positions), device)
            images = torch.floor(positions @ _on(np.linalg.inv(cell), device))
            positions = positions - images @ _on(cell, device)
        else:
            cell, inside = enclosing_cell(structure, self.cutoff)
            positions = sent(torch.from_numpy(inside), device)
        self.grid = Grid.of(cell, structure.pbc, self.cutoff, per_domain / n, len(networks))
        shape = torch.tensor(self.grid.shape, device=device)
        place = (positions @ _on(self.grid.inverse, device) * shape).long()
        place = torch.minimum(place.clamp_(min=0), shape - 1)
        number = (place[:, 0] * shape[1] + place[:, 1]) * shape[2] + place[:, 2]
        del place
        starts = torch.bincount(number, minlength=len(self.grid)).cumsum(0)
        self.starts = [0, *starts.tolist()]
        order = torch.sort(number.int(), stable=True)[1]
        del number
        positions = positions[order]
        fields = {name: sent(value, device) for name, value in fields.items()}
        self.parts = [
            self._part(network, numbers, order, positions, fields)
            for network, numbers in zip(networks, self._stretches(len(networks)), strict=True)
        ]

    def _stretches(self, count: int) -> list[range]:
        """Domains of each device: successive slabs with about equally many particles."""
        slabs = self.grid.slabs
        ends = np.array([self.starts[slab.stop] for slab in slabs])
        cuts = [0]
        for m in range(1, count):
            cuts.append(max(cuts[-1], int(np.argmin(abs(ends - self.n * m / count))) + 1))
        cuts.append(len(slabs))
        each = len(slabs[0])
        return [range(min(a, len(slabs)) * each, b * each) for a, b in pairwise(cuts)]

    def _part(
        self,
        network: SE3GNN,
        numbers: range,
        order: torch.Tensor,
        positions: torch.Tensor,
        fields: dict[str, torch.Tensor],
    ) -> Part:
        device, n, each = network.readout.weight.device, self.n, len(self.grid) // self.grid.shape[0]
        own = range(self.starts[numbers.start], self.starts[numbers.stop])
        slabs = self.grid.shape[0]
        before, after = (numbers.start // each - 1) % slabs, (numbers.stop // each) % slabs
        lengths = [self.starts[(s + 1) * each] - self.starts[s * each] for s in (before, after)]
        first, length = own.start - lengths[0], lengths[0] + len(own) + lengths[1]
        if length >= n:
            first, length = 0, n
        rows = (torch.arange(first, first + length, device=order.device)) % n
        mine = order[rows]
        chosen = {name: value[mine].to(device) for name, value in fields.items()}
        part = Part(network, numbers, own, first, mine.to(device), positions[rows].to(device), chosen)
        density = self.n / abs(float(np.linalg.det(self.grid.cell)))
        part.keeps = _fits(part, len(own) * neighbours(self.cutoff, density) * EDGE)
        return part

    def run(self) -> torch.Tensor:
        """Outputs of the network, shape (N, n_outputs), on the host in the order of the structure."""
        first, parts = self.parts[0].network, self.parts
        layers = len(first.convolutions)
        with side_by_side(len(parts)) as each:
            for k in range(layers):
                each(partial(self._layer, k, layers), parts)
                if k + 1 < layers:
                    self._exchange()
        # Sorted on a device, which takes a hundredth of the time of a processor.
        output = torch.empty(self.n, first.n_outputs, dtype=self.dtype, device=parts[0].device)
        for part in parts:
            rows = (torch.arange(part.own.start, part.own.stop, device=part.device) - part.first) % self.n
            output[part.order[rows].to(output.device)] = part.after.to(output.device)
        return fetched(output)

    def _layer(self, k: int, layers: int, part: Part) -> None:
        """Features of a part's own particles after a layer, or the outputs, into ``part.after``."""
        network, last = part.network, k + 1 == layers
        stack = Stack(network.convolutions[k : k + 1], network.norms[k : k + 1])
        width = network.n_outputs if last else network.irreps.dim
        with torch.no_grad(), part.active():
            part.after = torch.empty(len(part.own), width, dtype=self.dtype, device=part.device)
            kernel = network.chosen_kernel()
            for number in part.numbers:
                found = self.graph(part, number)
                if found is None:
                    continue
                own, halo, graph = found
                if k == 0:
                    before = network.first_features(graph)
                else:
                    before = torch.cat([part.hidden[own], part.hidden[halo]])
                scalars = network.layer_scalars(graph)
                now = kernel.layers(stack, graph, scalars, before)[0][: own.stop - own.start]
                if last:
                    seen = {name: value[own] for name, value in part.fields.items()}
                    now = network.read_out(now, Graph(**seen))
                start = self.starts[number] - part.own.start
                part.after[start : start + len(now)] = now
            if part.device.type == "cuda":
                torch.cuda.synchronize(part.device)

    def _exchange(self) -> None:
        """New features become those before the next layer, also beside each device's own slabs."""
        for part in self.parts:
            if len(part.hidden) != len(part.order):
                part.hidden = part.after.new_empty(len(part.order), part.after.shape[1])
            for other in self.parts:
                # A stretch of successive particles, perhaps across the end of the order.
                for turn in (-self.n, 0, self.n):
                    start = max(part.first, other.own.start + turn)
                    stop = min(part.first + len(part.order), other.own.stop + turn)
                    if start < stop:
                        there = slice(start - other.own.start - turn, stop - other.own.start - turn)
                        part.hidden[start - part.first : stop - part.first] = other.after[there]
        for part in self.parts:
            part.after = part.after.new_empty(0)
            if part.device.type == "cuda":
                torch.cuda.synchronize(part.device)

    def graph(self, part: Part, number: int) -> tuple[slice, torch.Tensor, Graph] | None:
        """Where a domain's own particles and those of its halo are, and its graph; None without particles."""
        if number in part.graphs:
            return part.graphs[number]
        start, n_own = self._place(part, number), self.starts[number + 1] - self.starts[number]
        own = slice(start, start + n_own)
        found = None
        if n_own:
            halo, joined = self._halo(part, number, own)
            index, vectors = self._edges_of(joined, n_own, number)
            both = torch.cat([torch.arange(start, start + n_own, device=part.device), halo])
            fields = {name: value[both] for name, value in part.fields.items()}
            found = own, halo, Graph(**fields, edge_index=index, edge_vec=vectors)
        if part.keeps:
            part.graphs[number] = found
        return found

    def _place(self, part: Part, number: int) -> int:
        return int((self.starts[number] - part.first) % self.n)

    def _halo(self, part: Part, number: int, own: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Places of the halo, and positions of the own particles and of the halo."""
        device, mine = part.device, part.positions[own]
        starts, lengths, images = [], [], []
        for other, image in self.grid.around(number):
            starts.append(self._place(part, other))
            lengths.append(self.starts[other + 1] - self.starts[other])
            images.append(image)
        total = sum(lengths)
        if not total:
            return torch.empty(0, dtype=torch.int64, device=device), mine
        steps = _on(np.array(images), device)
        start, length = torch.tensor([starts, lengths], device=device)
        which = torch.repeat_interleave(torch.arange(len(starts), device=device), length, output_size=total)
        places = (start - length.cumsum(0) + length)[which] + torch.arange(total, device=device)
        low, high = (_on(corner, device) for corner in self.grid.reach(number))
        moved = part.positions[places] @ _on(self.grid.inverse, device) + steps[which]
        near = ((moved >= low) & (moved < high)).all(dim=1).nonzero().squeeze(1)
        halo = places[near]
        there = part.positions[halo] + steps[which[near]] @ _on(self.grid.cell, device)
        return halo, torch.cat([mine, there])

    def _edges_of(
        self, positions: torch.Tensor, n_own: int, number: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Edges to the first ``n_own`` of an open cluster."""
        device = positions.device
        if device.type == "cuda" and triton_cells.is_available(device):
            found = self.searched(positions, n_own, number)
            if found is not None:
                return found
        return edges_of_own(positions.cpu().numpy(), n_own, self.cutoff, device, self.dtype, self.dimension)

    def searched(
        self, positions: torch.Tensor, n_own: int, number: int
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The same by the kernels, without a way over the host; None for a domain that is too thin."""
        low, high = self.grid.reach(number)
        # One margin on each side keeps apart what the kernels take for images.
        corner, size = low - self.grid.margin, high - low + 2 * self.grid.margin
        grid = triton_cells.grid_of(self.grid.cell * size[:, None], self.cutoff, len(positions))
        if grid is None:
            return None
        device = positions.device
        origin = _on(corner @ self.grid.cell, device)
        found = triton_cells.search(positions - origin, _on(grid[0], device), grid[1])
        edges, closest = torch.stack([found.counts[:n_own].sum().double(), found.closest.min()]).tolist()
        index = torch.empty(2, int(edges), dtype=torch.int64, device=device)
        vectors = torch.empty(int(edges), 3, dtype=self.dtype, device=device)
        # Own particles come first, and edges that don't fit are left out.
        found.fill(index, vectors)
        if closest < COINCIDENT**2:
            refuse_coincident(index, vectors)
        return index, vectors


def neighbours(cutoff: float, density: float) -> float:
    """Of a particle, about."""
    return 4.2 * cutoff**3 * density


def holds(networks: Sequence[SE3GNN], n: int) -> bool:
    """Whether GPUs have the memory for so many particles without their edges."""
    devices = [network.readout.weight.device for network in networks]
    if not all(device.type == "cuda" for device in devices):
        return False
    return all(_free(device) > _bytes(networks[0], n / len(devices)) + WORKING for device in devices)


def suffices(network: SE3GNN, particles: int, edges: float) -> bool:
    """Whether the device of a network has the memory for so many particles with so many edges each."""
    device = network.readout.weight.device
    if device.type != "cuda":
        return True
    return _free(device) > particles * edges * EDGE + _bytes(network, particles) + WORKING


def _bytes(network: SE3GNN, particles: float) -> float:
    """Of a stretch with the slabs beside it: positions, what sorts them, features around a layer."""
    return float(particles * (80 + 2.1 * network.readout.weight.element_size() * network.irreps.dim))


def _fits(part: Part, edges: float) -> bool:
    if part.device.type != "cuda":
        return True
    return _free(part.device) > edges + _bytes(part.network, len(part.order)) + WORKING


def _free(device: torch.device) -> float:
    free, total = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device)
    allowed = torch.cuda.get_per_process_memory_fraction(device) * total - held
    return SHARE * (min(free, allowed) + held - torch.cuda.memory_allocated(device))


def _on(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64)).to(device)
