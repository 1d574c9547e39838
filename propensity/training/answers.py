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
        bases = torch.from_numpy(conditions.bases()).to(dtype)
        self.register_buffer("bases", bases, persistent=False)

    def forward(self, modes: torch.Tensor, graph: Graph) -> torch.Tensor:
        """Answers for the particles of a graph with ``state_point``."""
        return torch.einsum("nk,nkt->nt", modes, self.bases.to(modes.dtype)[graph.state_point])
