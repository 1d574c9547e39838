"""The network on a structure of any size: layer by layer, domain by domain, on one device or several.

Features of all particles are kept in main memory, (l_max+1)²·channels numbers each (256 bytes at the paper's
sizes in float32); before each layer a domain fetches those of its halo.  So nothing is computed twice, and
beside the features memory is that of a domain.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from propensity.graph import Graph
from propensity.neighbours.domains import PER_DOMAIN, Domain, Domains
from propensity.nn.kernels.base import Stack
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN

#: Particles above which predictions walk: the edges of as many take some 4 GB.
LARGEST = 400_000


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
        Particles of a domain, about.
    devices
        Devices that share the domains, several on one host; None: where the network lies.
    """
    weight = network.readout.weight
    places = [torch.device(d) for d in devices or [weight.device]]
    networks = [network if places[0] == weight.device else _copied(network, places[0])]
    networks += [_copied(network, place) for place in places[1:]]
    output = np.zeros((len(structure), network.n_outputs), dtype=np.dtype(str(weight.dtype).split(".")[1]))
    _walk(networks, structure, structure.thermal_offset, scalars, per_domain, output)
    if network.thermal is not None:
        assert structure.thermal_offset is not None
        moved = structure.with_positions(structure.positions + structure.thermal_offset)
        kernel, seconds = network.kernel, [cast("SE3GNN", other.thermal) for other in networks]
        for second in seconds:
            second.kernel = kernel
        _walk(seconds, moved, None, scalars, per_domain, output)
    return output


def _copied(network: SE3GNN, device: torch.device) -> SE3GNN:
    return copy.deepcopy(network).to(device)


def _walk(
    networks: Sequence[SE3GNN],
    structure: Structure,
    offset: np.ndarray | None,
    scalars: np.ndarray | None,
    per_domain: int,
    output: np.ndarray,
) -> None:
    """Add the outputs of one network, of which each device has a copy."""
    first = networks[0]
    domains = Domains(structure, first.cutoff, per_domain)
    dtype, order = first.readout.weight.dtype, domains.order
    fields = {"types": torch.from_numpy(structure.types[order])}
    if first.offset_scale and offset is not None:
        fields["thermal_offset"] = torch.from_numpy(offset[order]).to(dtype)
    if first.n_extra and scalars is not None:
        fields["scalars"] = torch.from_numpy(scalars[order]).to(dtype)
    n_layers = len(first.convolutions)
    hidden = torch.empty(len(structure) if n_layers > 1 else 0, first.irreps.dim, dtype=dtype)

    def seen(network: SE3GNN, domain: Domain, places: np.ndarray | slice) -> Graph:
        device = network.readout.weight.device
        own = {name: value[places].to(device) for name, value in fields.items()}
        return Graph(**own, edge_index=domain.edge_index, edge_vec=domain.edge_vec)

    def layer(k: int, number: int, network: SE3GNN) -> tuple[Domain, torch.Tensor]:
        """Features of a domain's own particles after layer k, or the outputs after the last."""
        weight = network.readout.weight
        with torch.no_grad():
            domain = domains.domain(number, weight.device, dtype)
            if not domain.n_own:
                return domain, weight.new_empty(0, first.n_outputs if k == n_layers - 1 else first.irreps.dim)
            places = domain.places
            graph = seen(network, domain, places)
            before = network.first_features(graph) if k == 0 else hidden[places].to(weight.device)
            stack = Stack(network.convolutions[k : k + 1], network.norms[k : k + 1])
            kernel = network.chosen_kernel()
            after = kernel.layers(stack, graph, network.layer_scalars(graph), before)[0][: domain.n_own]
            if k == n_layers - 1:
                after = network.read_out(after, seen(network, domain, domain.own))
            return domain, after.cpu().clone()  # without the halo, which a view would keep

    with ThreadPoolExecutor(len(networks)) as pool:
        for k in range(n_layers):
            _slab_by_slab(k, domains, networks, layer, pool, hidden, output, last=k == n_layers - 1)


def _slab_by_slab(
    k: int,
    domains: Domains,
    networks: Sequence[SE3GNN],
    layer: Callable[[int, int, SE3GNN], tuple[Domain, torch.Tensor]],
    pool: ThreadPoolExecutor,
    hidden: torch.Tensor,
    output: np.ndarray,
    last: bool,
) -> None:
    """One layer; new features wait until no slab reads the old ones any more."""
    waiting: list[list[tuple[Domain, torch.Tensor]]] = []
    slabs, n = domains.slabs, len(networks)
    for number, slab in enumerate(slabs):
        # Each device takes every n-th domain, one after the other.
        shares = [(networks[m], slab[m::n]) for m in range(n)]
        tasks = [pool.submit(_share, layer, k, *share) for share in shares]
        waiting.append([pair for task in tasks for pair in task.result()])
        if last:
            for domain, values in waiting.pop():
                output[domains.order[domain.own]] += values.numpy()
        # The last slab reads the first one, across the boundary, and the next reads this one.
        elif len(waiting) > 2 and number < len(slabs) - 1:
            _settle(hidden, waiting.pop(1))
    for done in waiting:
        _settle(hidden, done)


def _share(layer: Callable[..., Any], k: int, network: SE3GNN, numbers: range) -> list[Any]:
    return [layer(k, number, network) for number in numbers]


def _settle(hidden: torch.Tensor, done: Sequence[tuple[Domain, torch.Tensor]]) -> None:
    for domain, values in done:
        hidden[domain.own] = values
