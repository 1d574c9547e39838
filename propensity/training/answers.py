"""What a network of several temperatures answers: its modes as propensities of each state point."""

from __future__ import annotations

import torch
from torch import nn

from propensity.estimators.conditions import Conditions
from propensity.graph import Graph


class Answers(nn.Module):
    """From the modes of a network, (N, K), to standardised propensities at the times of each particle's state
    point, (N, T_max).
    """

    bases: torch.Tensor

    def __init__(self, conditions: Conditions, dtype: torch.dtype) -> None:
        super().__init__()
        bases = torch.zeros(
            len(conditions.state_points), conditions.n_modes, conditions.most_times, dtype=dtype
        )
        for k, point in enumerate(conditions.state_points):
            found = conditions.basis(point.temperature, point.times)
            bases[k, :, : len(point.times)] = torch.from_numpy(found)
        self.register_buffer("bases", bases, persistent=False)

    def forward(self, modes: torch.Tensor, graph: Graph) -> torch.Tensor:
        """Answers for the particles of a graph with ``state_point``."""
        return torch.einsum("nk,nkt->nt", modes, self.bases.to(modes.dtype)[graph.state_point])
