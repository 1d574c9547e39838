"""Radial functions φ(r): Bessel basis and a small MLP."""

from __future__ import annotations

import math

import torch
from torch import nn


def bessel_basis(r: torch.Tensor, n_basis: int, cutoff: float) -> torch.Tensor:
    """B_n(r) = √(2/r_c) · sin(nπr/r_c) / r for n = 1..n_basis, shape (E, n_basis).

    Source: Gasteiger et al., arXiv:2003.03123, Eq. 7.
    """
    n = torch.arange(1, n_basis + 1, dtype=r.dtype, device=r.device)
    return math.sqrt(2 / cutoff) * torch.sin(r[:, None] * (n * math.pi / cutoff)) / r[:, None]


class RadialMLP(nn.Module):
    """Bessel → Linear → ReLU → BatchNorm → Dropout → Linear → ReLU, one weight a path and channel.

    Batch norm and dropout act per edge; arXiv:2211.03226, Sec. III and Appendix A.
    """

    def __init__(self, n_basis: int, cutoff: float, hidden: int, n_out: int, dropout: float) -> None:
        super().__init__()
        self.n_basis = n_basis
        self.cutoff = cutoff
        self.linear_in = nn.Linear(n_basis, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear_out = nn.Linear(hidden, n_out)

    def forward(self, basis: torch.Tensor) -> torch.Tensor:
        """From basis values, shape (E, n_basis), to radial weights, shape (E, n_out)."""
        return torch.relu(self.linear_out(self.hidden_units(basis)))

    def hidden_units(self, basis: torch.Tensor) -> torch.Tensor:
        """Hidden units after batch norm and dropout, shape (E, hidden): all of φ but its widest layer."""
        hidden = torch.relu(self.linear_in(basis))
        # Batch statistics of fewer than two edges are undefined: keep the running ones.
        if self.training and len(hidden) < 2:
            hidden = nn.functional.batch_norm(
                hidden, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias, False
            )
        else:
            hidden = self.norm(hidden)
        return self.dropout(hidden)
