"""The graph network of Bapst et al., Nat. Phys. 16, 448 (2020): encode, propagate seven times, decode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from propensity.errors import DataError, InputError

#: Layer of this port → variable of the published TensorFlow checkpoint.
_PUBLISHED = {
    "encode_node": "graph_independent/node_model",
    "encode_edge": "graph_independent/edge_model",
    "update_edge": "graph_network/edge_block",
    "update_node": "graph_network/node_block",
    "decode_node": "graph_independent_1/node_model",
    "decode_edge": "graph_independent_1/edge_model",
}


#: Beyond any network that has been trained; a description that asks for more is damaged or hostile.
MAX_SIZE, MAX_CUTOFF = 2000, 20.0
#: Neighbours within 2σ, and itself, in a Kob–Andersen liquid.
USUAL_NEIGHBOURS = 42


class BapstGNN(nn.Module):
    """Mobility of each particle; 70,721 parameters at the defaults.

    Nodes carry the type as a number, edges the vector r_j − r_i seen from the sender to the
    receiver, and every particle has an edge to itself.  Each recurrence sees the features of the last
    one beside the encoded graph; messages are summed.  Not equivariant: symmetry is learned from
    :func:`random_cube_symmetry`.

    Parameters
    ----------
    n_outputs
        Numbers predicted for each particle, one a time scale (1 in the paper).
    n_recurrences
        Steps of message passing, all with the same weights.
    width
        Width of both hidden layers of every MLP.
    cutoff
        Edges join particles closer than this, in σ.
    """

    def __init__(
        self, n_outputs: int = 1, *, n_recurrences: int = 7, width: int = 64, cutoff: float = 2.0
    ) -> None:
        super().__init__()
        for name, value in (("n_outputs", n_outputs), ("n_recurrences", n_recurrences), ("width", width)):
            if not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
                raise InputError(f"{name} is {value!r}: give a positive integer, at most {MAX_SIZE}.")
        if not 0 < cutoff <= MAX_CUTOFF:
            raise InputError(f"cutoff is {cutoff}: give a positive number, at most {MAX_CUTOFF:g}.")
        self.config: dict[str, Any] = {
            "n_outputs": n_outputs,
            "n_recurrences": n_recurrences,
            "width": width,
            "cutoff": float(cutoff),
        }
        self.n_outputs, self.n_recurrences, self.width, self.cutoff = (
            n_outputs,
            n_recurrences,
            width,
            float(cutoff),
        )
        self.encode_node = _mlp(1, width)
        self.encode_edge = _mlp(3, width)
        self.update_edge = _mlp(6 * width, width)
        self.update_node = _mlp(3 * width, width)
        self.decode_node = _mlp(width, width, n_outputs)
        # The published network decodes edges too and drops the result; kept so that 70,721 parameters load.
        self.decode_edge = _mlp(width, width)
        with torch.no_grad():
            # Sums over some 50 neighbours in seven recurrences start at 10⁴; as means they start at 1.
            received = next(self.update_node.parameters())[:, :width]
            received /= USUAL_NEIGHBOURS

    def forward(self, graph: Any) -> torch.Tensor:
        """Raw output for each particle, shape (N, n_outputs), from a :class:`propensity.graph.Graph`."""
        dtype = self.encode_node[0].weight.dtype
        n = len(graph.types)
        loops = torch.arange(n, device=graph.types.device)
        sender = torch.cat([graph.edge_index[0], loops])
        receiver = torch.cat([graph.edge_index[1], loops])
        # graph.edge_vec points from the destination to the source, the published edges the other way.
        vectors = torch.cat([-graph.edge_vec.to(dtype), graph.edge_vec.new_zeros(n, 3).to(dtype)])
        nodes = node_code = self.encode_node(graph.types.to(dtype)[:, None])
        edges = edge_code = self.encode_edge(vectors)
        # The first layer of the edge MLP is linear in [edge, edge code, receiver ×2, sender ×2], so the
        # particles' share is computed once a particle and the edge code's once a forward pass.
        weight, bias = self.update_edge[0].parameters()
        width = self.width
        by_edge, by_code, by_receiver, by_sender = torch.split(
            weight, [width, width, 2 * width, 2 * width], dim=1
        )
        constant = nn.functional.linear(edge_code, by_code, bias)
        for _ in range(self.n_recurrences):
            both = torch.cat([nodes, node_code], dim=1)
            hidden = constant + nn.functional.linear(edges, by_edge)
            hidden = hidden + (both @ by_receiver.T)[receiver] + (both @ by_sender.T)[sender]
            edges = self.update_edge[1:](hidden)
            received = edges.new_zeros(n, width).index_add(0, receiver, edges)
            nodes = self.update_node(torch.cat([received, both], dim=1))
        return cast("torch.Tensor", self.decode_node(nodes))


def _mlp(n_in: int, width: int, n_out: int | None = None) -> nn.Sequential:
    """Two hidden layers with ReLU; a linear output where ``n_out`` is given; initialised as published."""
    layers: list[nn.Module] = [nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    if n_out is not None:
        layers.append(nn.Linear(width, n_out))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            # TensorFlow's variance_scaling: truncated normal of variance scale/fan_in; 0.1/n for biases.
            nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
            nn.init.trunc_normal_(layer.bias, std=(0.1 / layer.out_features) ** 0.5)
    return nn.Sequential(*layers)


def published_weights(variables: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """State dict from the variables of the published checkpoint, by their TensorFlow names.

    Raises
    ------
    DataError
        When a variable is missing.
    """
    weights: dict[str, torch.Tensor] = {}
    for name, scope in _PUBLISHED.items():
        for k in range(3 if name == "decode_node" else 2):
            for ours, theirs in (("weight", "w"), ("bias", "b")):
                key = f"Graph/{scope}/mlp/linear_{k}/{theirs}"
                if key not in variables:
                    raise DataError(f"the checkpoint has no variable {key}: give the published weights.")
                array = np.asarray(variables[key], dtype=np.float32)
                weights[f"{name}.{2 * k}.{ours}"] = torch.from_numpy(array.T.copy())
    return weights


def random_cube_symmetry(generator: torch.Generator | None = None) -> torch.Tensor:
    """One of the 48 symmetries of the cube, an orthogonal matrix of shape (3, 3) in float64."""
    permutation = torch.randperm(3, generator=generator)
    signs = 1.0 - 2.0 * torch.randint(0, 2, (3,), generator=generator).double()
    return torch.eye(3, dtype=torch.float64)[permutation] * signs[:, None]
