"""Radial functions φ(r): Bessel basis and a small MLP."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import nn


def bessel_basis(r: torch.Tensor, n_basis: int, cutoff: float) -> torch.Tensor:
    """B_n(r) = √(2/r_c) · sin(nπr/r_c) / r for n = 1..n_basis, shape (E, n_basis).

    Source: Gasteiger et al., arXiv:2003.03123, Eq. 7.
    """
    n = torch.arange(1, n_basis + 1, dtype=r.dtype, device=r.device)
    return math.sqrt(2 / cutoff) * torch.sin(r[:, None] * (n * math.pi / cutoff)) / r[:, None]


def envelope(r: torch.Tensor, cutoff: float) -> torch.Tensor:
    """1 − 28x⁶ + 48x⁷ − 21x⁸ with x = r/r_c: from 1 to 0 with two continuous derivatives, 0 beyond r_c.

    Source: Gasteiger et al., arXiv:2003.03123, Eq. 8 with p = 6.
    """
    x = r / cutoff
    return torch.where(x < 1, 1 - 28 * x**6 + 48 * x**7 - 21 * x**8, torch.zeros_like(x))


class Draws(NamedTuple):
    """Dropout's draws: parts of integers, since torch draws an integer as fast as a choice."""

    words: torch.Tensor  # int32, (E, ⌈hidden / per word⌉), 30 random bits each
    bits: int  # of each hidden unit
    most: int  # a unit stays where they are a number below this one

    @property
    def per_word(self) -> int:
        """Hidden units that share an integer."""
        return 30 // self.bits

    def mask(self, hidden: int) -> torch.Tensor:
        """Which hidden units stay, shape (E, hidden)."""
        unit = torch.arange(hidden, device=self.words.device)
        shift = (unit % self.per_word * self.bits).to(torch.int32)
        own = self.words[:, unit // self.per_word] >> shift
        return torch.lt(own & (2**self.bits - 1), self.most)


class RadialMLP(nn.Module):
    """Bessel → Linear → ReLU → BatchNorm → Dropout → Linear → ReLU, one weight a path and channel.

    Batch norm and dropout act per edge; arXiv:2211.03226, Sec. III and Appendix A.  With ``smooth``, kernels
    multiply the weights, by way of the harmonics, with :func:`envelope`.
    """

    def __init__(
        self, n_basis: int, cutoff: float, hidden: int, n_out: int, dropout: float, smooth: bool = False
    ) -> None:
        super().__init__()
        self.n_basis = n_basis
        self.cutoff = cutoff
        self.smooth = smooth
        self.linear_in = nn.Linear(n_basis, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.linear_out = nn.Linear(hidden, n_out)

    def forward(self, basis: torch.Tensor) -> torch.Tensor:
        """From basis values, shape (E, n_basis), to radial weights, shape (E, n_out)."""
        return torch.relu(self.linear_out(self.hidden_units(basis)))

    def hidden_units(self, basis: torch.Tensor) -> torch.Tensor:
        """Hidden units after batch norm and dropout, shape (E, hidden): all of φ but its widest layer."""
        return self.drop(self.normalised(basis), self.dropout_mask(basis))

    def normalised(self, basis: torch.Tensor, update: bool = True) -> torch.Tensor:
        """Hidden units after batch norm, whose running statistics move only with ``update``."""
        hidden, norm = torch.relu(self.linear_in(basis)), self.norm
        if self.uses_batch(len(hidden)):
            if update:
                return cast("torch.Tensor", norm(hidden))
            return nn.functional.batch_norm(hidden, None, None, norm.weight, norm.bias, True, eps=norm.eps)
        return nn.functional.batch_norm(
            hidden, norm.running_mean, norm.running_var, norm.weight, norm.bias, False
        )

    def drop(self, hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Apply a dropout mask."""
        return hidden if mask is None else hidden * mask / (1 - self.dropout.p)

    def uses_batch(self, n_edges: int) -> bool:
        """Whether batch norm uses the statistics of the batch, which fewer than two edges do not have."""
        return self.training and n_edges > 1

    def dropout_mask(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """Which hidden units stay, shape (E, hidden), from torch's generator: the same draw for every
        kernel.
        """
        if not self.training or self.dropout.p == 0:
            return None
        draws = cast("Draws", self.dropout_draws(len(hidden), hidden.device))
        return draws.mask(self.linear_in.out_features)

    def dropout_draws(self, n_edges: int, device: torch.device | None = None) -> Draws | None:
        """What :meth:`dropout_mask` draws, packed."""
        if not self.training or self.dropout.p == 0:
            return None
        keep = 1 - self.dropout.p
        # As few bits as tell the probability: one for the paper's 0.5; fifteen are 3e-5 apart.
        bits = next(b for b in (1, 2, 3, 5, 6, 10, 15) if (keep * 2**b).is_integer() or b == 15)
        words = -(-self.linear_in.out_features // (30 // bits))
        drawn = torch.empty(n_edges, words, dtype=torch.int32, device=device).random_()
        return Draws(drawn, bits, round(keep * 2**bits))
