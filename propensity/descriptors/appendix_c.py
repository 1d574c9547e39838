"""Appendix C of arXiv:2211.03226: one convolution with Gaussian radial functions gives the expert features.

With φ(r) = exp(−(r − r_k)²/2δ²) the l = 0 channels of one layer are the radial descriptors
G_i(r_k, δ, s), one for each species s.  The norms of its l > 0 channels, summed over species, are the
angular descriptors q_i(l, r_k, δ) only after division by the l = 0 channels, Σ_s G_i(r_k, δ, s): a
normalisation that the appendix leaves out and that no linear layer can make.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from e3nn.o3 import Irreps, SphericalHarmonics
from torch import nn

from propensity.graph import build_graph
from propensity.nn.convolution import Convolution
from propensity.nn.kernels.reference import ReferenceGeometry, ReferenceKernel
from propensity.nn.layout import ConvolutionLayout
from propensity.structure import Structure


class GaussianRadial(nn.Module):
    """φ(r) = exp(−(r − r_k)²/2δ²) in place of the radial MLP, the same for all paths of one convolution."""

    def __init__(self, r: float, delta: float, n_comb: int) -> None:
        super().__init__()
        self.r, self.delta, self.n_comb = r, delta, n_comb

    def forward(self, distance: torch.Tensor) -> torch.Tensor:
        """From distances, shape (E, 1), to radial weights, shape (E, n_comb)."""
        return torch.exp(-0.5 * ((distance - self.r) / self.delta) ** 2).expand(-1, self.n_comb)


def one_layer_features(
    structure: Structure, n_species: int, shells: Sequence[tuple[float, float]], l_max: int, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Radial and angular expert features from the network's own convolution.

    Parameters
    ----------
    structure
        Any structure.
    n_species
        Species, each a one-hot node scalar and, with an identity for mixing, an output channel.
    shells
        (r, δ) of the Gaussians, one convolution each.
    l_max
        Largest order, at most 11 (the limit of e3nn's harmonics).
    cutoff
        Edges; beyond the shells by several δ.

    Returns
    -------
    As :func:`propensity.descriptors.averaged.radial_descriptors`, shape (N, n_species·n_shells), and
    :func:`~propensity.descriptors.averaged.angular_descriptors`, shape (N, n_shells·l_max).
    """
    dtype = torch.float64
    layout = ConvolutionLayout(channels_in=0, n_scalars=n_species, channels=n_species, l_max=l_max)
    graph = build_graph(structure, cutoff, dtype=dtype)
    irreps = Irreps([(1, (l, 1)) for l in range(l_max + 1)])
    harmonics = SphericalHarmonics(irreps, normalize=True, normalization="component", irreps_in="1e").to(
        dtype
    )
    distance = torch.linalg.vector_norm(graph.edge_vec, dim=1, keepdim=True)
    geometry = ReferenceGeometry(
        graph.edge_index[0], graph.edge_index[1], harmonics(graph.edge_vec), distance
    )
    one_hot = nn.functional.one_hot(graph.types, n_species).to(dtype)
    radial, angular = [], []
    for r, delta in shells:
        convolution = Convolution(layout, n_basis=1, cutoff=cutoff, radial_hidden=1, dropout=0.0).to(dtype)
        convolution.radial = GaussianRadial(r, delta, layout.n_comb)  # type: ignore[assignment]
        with torch.no_grad():
            for weight in convolution.mix:  # identity, undoing the 1/√rows of the mixing
                weight.copy_(math.sqrt(n_species) * torch.eye(n_species, dtype=dtype))
            output = ReferenceKernel().convolve(convolution, one_hot[:, :0], one_hot, geometry)
        blocks = torch.split(output, [n_species * (2 * l + 1) for l in range(l_max + 1)], dim=1)
        radial.append(blocks[0])
        total = blocks[0].sum(dim=1)
        for l in range(1, l_max + 1):
            # "component" harmonics are √(4π) Y_lm, whose norm is √(2l+1).
            both = blocks[l].view(-1, n_species, 2 * l + 1).sum(dim=1)
            norm = torch.linalg.vector_norm(both, dim=1) / math.sqrt(2 * l + 1)
            angular.append(torch.where(total > 0, norm / total.clamp(min=1e-300), 0.0))
    by_species = torch.stack(radial, dim=2).flatten(1)
    return by_species.numpy(), torch.stack(angular, dim=1).numpy()
