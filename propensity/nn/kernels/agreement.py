"""A look at a kernel before it is trusted: does it give the reference's numbers on this machine?"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING

import torch
from torch import nn

from propensity.graph import Graph

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN

log = logging.getLogger(__name__)

#: Particles and neighbours of the graph to compare on.
PARTICLES, NEIGHBOURS = 64, 20
#: Relative difference that rounding does not make, though it may flip a ReLU.
WRONG = 1e-2


def agrees(network: SE3GNN) -> bool:
    """Whether outputs and gradients of a training step are those of the reference, on a small random graph.

    Generated kernels meet devices and compilers that nobody has tried them on; a second of this at the
    start of a training is cheap.  The network stays as it is.
    """
    weight = network.readout.weight
    ours, theirs = copy.deepcopy(network).train(), copy.deepcopy(network).train()
    theirs.kernel = "reference"
    graph = _graph(network, weight)
    try:
        found = _step(ours, graph)
    except Exception as error:
        log.warning("the kernel of %s failed (%s: %s).", weight.device, type(error).__name__, error)
        return False
    expected = _step(theirs, graph)
    return all(float((a - b).norm()) <= WRONG * float(b.norm()) for a, b in zip(found, expected, strict=True))


def _graph(network: SE3GNN, weight: torch.Tensor) -> Graph:
    """Random particles and edges, the same every time."""
    random = torch.Generator().manual_seed(0)
    n, n_edges = PARTICLES, PARTICLES * NEIGHBOURS
    directions = nn.functional.normalize(torch.randn(n_edges, 3, generator=random), dim=1)
    length = network.cutoff * (0.4 + 0.6 * torch.rand(n_edges, 1, generator=random))
    source = torch.randint(n, (n_edges,), generator=random)
    destination = torch.arange(n).repeat_interleave(NEIGHBOURS)
    fields = {
        "types": torch.randint(network.n_species, (n,), generator=random),
        "edge_index": torch.stack([source, destination]),
        "edge_vec": directions * length,
        "thermal_edge_index": torch.stack([source.flip(0), destination]),
        "thermal_edge_vec": directions.flip(0) * length,
        "thermal_offset": (network.offset_scale or 1.0) * torch.randn(n, 3, generator=random),
        "scalars": torch.randn(n, max(network.n_extra, 1), generator=random)[:, : network.n_extra],
    }
    return Graph(
        **{
            name: value.to(weight.device, weight.dtype if value.is_floating_point() else None)
            for name, value in fields.items()
        }
    )


def _step(network: SE3GNN, graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
    """Output, and all gradients of its mean square as one vector."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    output = network(graph)
    gradients = torch.autograd.grad(output.square().mean(), list(network.parameters()))
    return output.detach(), torch.cat([gradient.flatten() for gradient in gradients])
