"""One layer: neighbours send scalars and vectors, geometry weighs them, the particle mixes and gates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

ROOT = math.sqrt(0.5)
#: Standardised numbers end here (those of a liquid like the training set reach 30 in one of 1000 particles):
#: products of three would grow without bound from layer to layer in structures unlike it.
LIMIT = 100.0


@dataclass(frozen=True)
class Widths:
    """Numbers of channels: hidden scalars, vectors and quadrupoles; scalars and vectors sent; products of
    each kind; hidden units.
    """

    scalars: int = 48
    vectors: int = 24
    quadrupoles: int = 16
    sent_scalars: int = 32
    sent_vectors: int = 16
    products: int = 8
    hidden: int = 96


class Standard(nn.Module):
    """Standardisation by numbers that the first structures fix, so that no prediction hangs on its batch."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))
        self.measuring = False

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """(values − mean)/std, channel by channel, within ±LIMIT."""
        if self.measuring:
            self.mean.copy_(values.mean(dim=0))
            self.std.copy_(values.std(dim=0) + 1e-3)
        return ((values - self.mean) / self.std).clamp(-LIMIT, LIMIT)


class GatedLayer(nn.Module):
    """Sums over neighbours of radial functions × harmonics × what they send; then products at the particle.

    The harmonics of l ≤ 2 meet scalars and vectors: 0⊗0, 1⊗0, 2⊗0, 0⊗1→1, 1⊗1→0, 1⊗1→2 and, with ``curved``,
    2⊗1→1.  No path mixes parities, so that the mirror image of a liquid has the same propensities.
    """

    def __init__(self, widths: Widths, n_radial: int, curved: bool) -> None:
        super().__init__()
        self.widths, self.n_radial, self.curved = w, _, _ = widths, n_radial, curved
        both = n_radial * (w.sent_scalars + w.sent_vectors)
        self.send_scalars = nn.Linear(w.scalars, w.sent_scalars)
        self.send_vectors = nn.Linear(w.vectors, w.sent_vectors, bias=False)
        self.to_scalars = nn.Linear(both, w.scalars, bias=False)
        self.to_vectors = nn.Linear(both + curved * n_radial * w.sent_vectors, w.vectors, bias=False)
        self.to_quadrupoles = nn.Linear(both, w.quadrupoles, bias=False)
        self.factor_vectors = nn.Linear(w.vectors, 3 * w.products, bias=False)
        self.factor_quadrupoles = nn.Linear(w.quadrupoles, 3 * w.products, bias=False)
        n = 2 * w.scalars + w.vectors + w.quadrupoles + 3 * w.products
        self.standard = Standard(n)
        self.update = nn.Sequential(
            nn.Linear(n, w.hidden), nn.SiLU(), nn.Linear(w.hidden, w.scalars + w.vectors + w.quadrupoles)
        )
        self.dropout = nn.Dropout(0.0)
        with torch.no_grad():
            self.update[-1].weight.mul_(0.5)

    def sent(self, scalars: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """What every particle sends, (N, S + 3V): scalars, then vectors, component by component."""
        return torch.cat([self.send_scalars(scalars), self.send_vectors(vectors).flatten(1)], dim=1)

    def forward(
        self,
        features: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        received: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """New features of some particles.

        Parameters
        ----------
        features
            Their scalars (N, S), vectors (N, 3, V) and quadrupoles (N, 5, Q).
        received
            What their neighbours sent, (N, K, ·).
        weights
            Geometric weights, (N, 9·n_radial, K), harmonic by harmonic.
        """
        return self.updated(features, self.from_neighbours(received, weights))

    def from_neighbours(
        self, received: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What neighbours add: scalars (N, S), vectors (N, 3, V) and quadrupoles (N, 5, Q)."""
        b, n, w = self.n_radial, len(received), self.widths
        if self.curved:
            both = torch.bmm(weights, received)
            plain, moved = both.split([w.sent_scalars, 3 * w.sent_vectors], dim=2)
        else:
            plain = torch.bmm(weights, received[..., : w.sent_scalars])
            moved = torch.bmm(weights[:, : 4 * b], received[..., w.sent_scalars :])
        moved = moved.reshape(n, -1, b, 3, w.sent_vectors)
        met = torch.einsum(
            "nlbiv,lio->nobv", moved, coupling(self.curved, moved.dtype, moved.device)
        ).flatten(2)
        dot, symmetric, *turned = met.split([1, 5, *[3] * (1 + self.curved)], dim=1)
        zero, one, two = (part.unflatten(1, (-1, b)).flatten(2) for part in plain.split([b, 3 * b, 5 * b], 1))
        return (
            self.to_scalars(torch.cat([zero, dot], dim=2)).squeeze(1),
            self.to_vectors(torch.cat([one, *turned], dim=2)),
            self.to_quadrupoles(torch.cat([two, symmetric], dim=2)),
        )

    def updated(
        self,
        features: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        added: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """New features from the old ones and what neighbours add."""
        scalars, w = features[0], self.widths
        new, vectors, quadrupoles = added[0], features[1] + added[1], features[2] + added[2]
        v, u = _products(self.factor_vectors(vectors).to(scalars.dtype), w.products)
        q, t = _products(self.factor_quadrupoles(quadrupoles).to(scalars.dtype), w.products)
        invariants = [scalars, new, lengths(vectors), lengths(quadrupoles), v, q, _triple(t, u)]
        hidden = self.update[1](self.update[0](self.standard(torch.cat(invariants, dim=1))))
        update = self.update[2](self.dropout(hidden)).to(scalars.dtype)
        gate = 1 + torch.tanh(update[:, None, w.scalars :])
        return (
            scalars + update[:, : w.scalars],
            vectors * gate[..., : w.vectors],
            quadrupoles * gate[..., w.vectors :],
        )


def lengths(features: torch.Tensor) -> torch.Tensor:
    """Norms over components, (N, C), smooth at zero."""
    return (features.square().sum(dim=1) + 1e-4).sqrt()


def _products(factors: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inner products of the first n with the next n, and the last n for products of three."""
    return (factors[..., :n] * factors[..., n : 2 * n]).sum(dim=1), factors[..., 2 * n :]


def _triple(t: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """u·T·u of quadrupoles (N, 5, P) and vectors (N, 3, P)."""
    x, y, z = u.unbind(1)
    return (
        2 * ROOT * (t[:, 0] * x * y + t[:, 1] * y * z + t[:, 2] * x * z)
        + t[:, 3] * (2 * z * z - x * x - y * y) / math.sqrt(6)
        + t[:, 4] * (x * x - y * y) * ROOT
    )


@lru_cache
@torch.inference_mode(False)
def coupling(curved: bool, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """What harmonics l ≤ 1 (``curved``: 2) and a vector make, (harmonics, 3, outputs): their scalar product,
    the symmetric traceless part of their product, the vector times 1, and the vector that a matrix turns.
    """
    found, six = torch.zeros(9, 3, 12, dtype=torch.float64), 1 / math.sqrt(6)
    product, turned = found[1:4], found[4:, :, 9:]
    for i in range(3):
        product[i, i, 0] = 1.0
        found[0, i, 6 + i] = 1.0
    for k, (i, j) in enumerate(((0, 1), (1, 2), (0, 2))):
        product[i, j, 1 + k] = product[j, i, 1 + k] = ROOT
        turned[k, i, j] = turned[k, j, i] = ROOT
    for i, (zz, xx) in enumerate(((-six, ROOT), (-six, -ROOT), (2 * six, 0.0))):
        product[i, i, 4:6] = torch.tensor([zz, xx], dtype=torch.float64)
        turned[3, i, i], turned[4, i, i] = zz, xx
    return (found if curved else found[:4, :, :9]).to(dtype).to(device)
