"""The network on a structure of any size: layer by layer, domain by domain, on one device or several.

Features of all particles are kept in main memory, (l_max+1)²·channels numbers each (256 bytes at the paper's
sizes in float32); before each layer a domain fetches those of its halo.  So nothing is computed twice, and
beside the features memory is that of a domain.  GPUs that can hold the features keep them
(:mod:`propensity.nn.resident`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from propensity.devices import free_memory, side_by_side
from propensity.graph import Graph
from propensity.neighbours.domains import PER_DOMAIN, Domain, Domains
from propensity.nn import resident
from propensity.nn.kernels.base import Stack
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN

#: Particles above which predictions walk: the edges of as many take some 4 GB.
LARGEST = 400_000
#: Particles of a domain below which there is no smaller one where memory runs out.
SMALLEST = 2000


def walked(
    network: SE3GNN,
    structure: Structure,
    scalars: np.ndarray | None = None,
    *,
    per_domain: int = PER_DOMAIN,
    devices: Sequence[torch.device | str] | None = None,
) -> np.ndarray:
    """Outputs of ``network`` in eval mode, shape (N, n_outputs), in its precision: those of one pass.

    Parameters
    ----------
    network
        With fixed statistics, so that domains don't feel each other but through their halos.
    structure
        What it shall see; with its thermal offset, where the network reads that.
    scalars
        Beside the species, shape (N, n_extra), where the network reads some.
    per_domain
        Particles of a domain, about; where a device has not the memory, a quarter as many, and so on.
    devices
        Devices that share the domains, several on one host; None: where the network lies.
    """
    weight = network.readout.weight
    places = [torch.device(d) for d in devices or [weight.device]]
    networks = [network if places[0] == weight.device else _copied(network, places[0])]
    networks += [_copied(network, place) for place in places[1:]]
    while per_domain > SMALLEST:
        with suppress(torch.OutOfMemoryError):
            return _all_layers(networks, structure, scalars, per_domain)
        free_memory()
        per_domain //= 4
    return _all_layers(networks, structure, scalars, per_domain)


def _all_layers(
    networks: Sequence[SE3GNN], structure: Structure, scalars: np.ndarray | None, per_domain: int
) -> np.ndarray:
    """Those of the network, and of its second one."""
    network = networks[0]
    output = _walk(networks, structure, structure.thermal_offset, scalars, per_domain)
    if network.thermal is not None:
        assert structure.thermal_offset is not None
        moved = structure.with_positions(structure.positions + structure.thermal_offset)
        kernel, seconds = network.kernel, [cast("SE3GNN", other.thermal) for other in networks]
        for second in seconds:
            second.kernel = kernel
        output += _walk(seconds, moved, None, scalars, per_domain)
    return output


def shared_by(network: SE3GNN, particles: int, edges: float, spare: Sequence[str]) -> Sequence[str]:
    """Devices that share a structure: all of ``spare`` where that of the network has not the memory for so
    many particles with so many edges each, else none beside it.
    """
    return () if len(spare) < 2 or resident.suffices(network, particles, edges) else spare


def _copied(network: SE3GNN, device: torch.device) -> SE3GNN:
    return copy.deepcopy(network).to(device)


def _walk(
    networks: Sequence[SE3GNN],
    structure: Structure,
    offset: np.ndarray | None,
    scalars: np.ndarray | None,
    per_domain: int,
) -> np.ndarray:
    """Outputs of one network, of which each device has a copy."""
    first = networks[0]
    dtype = first.readout.weight.dtype
    fields = {"types": torch.from_numpy(structure.types)}
    if first.offset_scale and offset is not None:
        fields["thermal_offset"] = torch.from_numpy(offset).to(dtype)
    if first.n_extra and scalars is not None:
        fields["scalars"] = torch.from_numpy(scalars).to(dtype)
    if resident.holds(networks, len(structure)):
        with suppress(torch.OutOfMemoryError):  # which the host may have taken meanwhile
            return resident.Resident(networks, structure, fields).run().numpy()
        free_memory()
    domains = Domains(structure, first.cutoff, per_domain)
    order = torch.from_numpy(domains.order)
    fields = {name: value[order] for name, value in fields.items()}
    n_layers = len(first.convolutions)
    hidden = torch.empty(len(structure) if n_layers > 1 else 0, first.irreps.dim, dtype=dtype)
    output = np.zeros((len(structure), first.n_outputs), dtype=np.dtype(str(dtype).split(".")[1]))

    def seen(network: SE3GNN, domain: Domain, places: np.ndarray | slice) -> Graph:
        device = network.readout.weight.device
        own = {name: value[places].to(device) for name, value in fields.items()}
        return Graph(**own, edge_index=domain.edge_index, edge_vec=domain.edge_vec)

    def layer(k: int, number: int, network: SE3GNN, after: torch.Tensor | None, start: int) -> None:
        """Features of a domain's own particles after layer k into the rows of a slab that starts there, or
        the outputs.
        """
        weight = network.readout.weight
        # Kernels are launched on the current device of the thread.
        with torch.no_grad(), torch.cuda.device(weight.device) if weight.is_cuda else nullcontext():
            domain = domains.domain(number, weight.device, dtype)
            if not domain.n_own:
                return
            places = domain.places
            graph = seen(network, domain, places)
            before = network.first_features(graph) if k == 0 else hidden[places].to(weight.device)
            stack = Stack(network.convolutions[k : k + 1], network.norms[k : k + 1])
            kernel = network.chosen_kernel()
            own = kernel.layers(stack, graph, network.layer_scalars(graph), before)[0][: domain.n_own]
            if after is not None:
                after[domain.own.start - start : domain.own.stop - start] = own
                return
            found = network.read_out(own, seen(network, domain, domain.own))
            output[domains.order[domain.own]] = found.cpu().numpy()

    with side_by_side(len(networks)) as each:
        for k in range(n_layers - 1):
            _new_features(domains, hidden, partial(_by_devices, each, networks, partial(layer, k)))
        for slab in domains.slabs:
            _by_devices(each, networks, partial(layer, n_layers - 1), slab, None, 0)
    return output


def _new_features(
    domains: Domains, hidden: torch.Tensor, layer: Callable[[range, torch.Tensor, int], None]
) -> None:
    """One layer, slab by slab; new features wait aside until no slab reads the old ones any more."""
    slabs = [(numbers, domains.rows(numbers)) for numbers in domains.slabs]
    largest = max(rows.stop - rows.start for _, rows in slabs)
    # The last slab reads the first one, across the boundary, and each reads the one before it.  They are held
    # all the while, since what is made and let go between them would leave gaps in memory.
    aside = [hidden.new_empty(largest, hidden.shape[1]) for _ in slabs[:3]]

    def settle(k: int) -> None:
        rows = slabs[k][1]
        hidden[rows] = aside[_buffer(k)][: rows.stop - rows.start]

    for k, (numbers, rows) in enumerate(slabs):
        layer(numbers, aside[_buffer(k)], rows.start)
        if k > 1:
            settle(k - 1)
    settle(len(slabs) - 1)
    if len(slabs) > 1:
        settle(0)


def _buffer(slab: int) -> int:
    return 0 if slab == 0 else 2 - slab % 2


def _by_devices(
    each: Callable[[Callable[[int], None], Iterable[int]], None],
    networks: Sequence[SE3GNN],
    layer: Callable[[int, SE3GNN, torch.Tensor | None, int], None],
    slab: range,
    after: torch.Tensor | None,
    start: int,
) -> None:
    """Each device takes every n-th domain, one after the other."""

    def take(m: int) -> None:
        for number in slab[m :: len(networks)]:
            layer(number, networks[m], after, start)

    each(take, range(len(networks)))
