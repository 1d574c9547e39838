"""The readout of a network of several temperatures, solved by least squares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from propensity.estimators.se3gnn import features_of
from propensity.graph import Graph
from propensity.training.answers import Answers

if TYPE_CHECKING:
    from propensity.nn import SE3GNN

#: Structures of a state point that the readout is solved on at most, evenly spaced.
SOLVED = 16
#: Ridge of the readout, relative to the mean square of its features.
RIDGE = 1e-4


@torch.no_grad()
def solve_readout(network: SE3GNN, graphs: Sequence[Graph], answers: Answers) -> None:
    """Set the readout to the least-squares solution on labelled graphs, of everything before it as it is.

    A few structures of each state point say all about its hundreds of weights; gradient steps would take
    thousands to say the same.
    """
    readouts = [network.readout] + ([network.thermal.readout] if network.thermal is not None else [])
    per_species = network.config["readout"] == "species"
    n_readouts = network.n_species if per_species else 1
    n_modes, width = answers.bases.shape[1], sum(part.in_features for part in readouts) + 1
    size = width * n_modes
    left = torch.zeros(n_readouts, size, size, dtype=torch.float64)
    right = torch.zeros(n_readouts, size, dtype=torch.float64)
    was_training = network.training
    network.eval()
    try:
        for graph in _some(graphs):
            values = features_of(network, graph, None).values
            features = torch.cat([values, values.new_ones(len(values), 1)], dim=1).double().cpu()
            labels, types = graph.labels.double().cpu(), graph.types.cpu()
            basis = answers.bases[int(graph.state_point[0])].double().cpu()
            for s in range(n_readouts):
                mask = graph.trained.cpu() > 0
                if per_species:
                    mask = mask & (types == s)
                h = features[mask] / max(float(mask.sum()), 1) ** 0.5
                y = labels[mask] / max(float(mask.sum()), 1) ** 0.5
                left[s] += torch.kron(h.T @ h, basis @ basis.T)
                right[s] += (h.T @ y @ basis.T).flatten()
    finally:
        network.train(was_training)
    for s in range(n_readouts):
        scale = left[s].diagonal().mean()
        if scale == 0:
            continue  # a species that was not in the loss
        solved = torch.linalg.solve(left[s] + RIDGE * scale * torch.eye(size, dtype=torch.float64), right[s])
        weights = solved.view(width, n_modes)
        rows, at = slice(s * n_modes, (s + 1) * n_modes), 0
        for part in readouts:
            part.weight[rows] = weights[at : at + part.in_features].T.to(part.weight)
            part.bias[rows] = 0
            at += part.in_features
        network.readout.bias[rows] = weights[-1].to(network.readout.bias)


def _some(graphs: Sequence[Graph]) -> Iterator[Graph]:
    points = [int(graph.state_point[0]) for graph in graphs]
    for point in sorted(set(points)):
        own = [k for k, value in enumerate(points) if value == point]
        for k in np.unique(np.linspace(0, len(own) - 1, min(len(own), SOLVED)).astype(int)):
            yield graphs[own[int(k)]]
