"""One equivariant convolution: parameters here, arithmetic in a kernel chosen at run time."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from propensity.nn.layout import ConvolutionLayout
from propensity.nn.radial import RadialMLP


class Convolution(nn.Module):
    """Σ_j φ(r_ij) · (Y(â_ij) ⊗ h_j), then one bias-free linear map per l_O over triplets and channels.

    arXiv:2211.03226, Eqs. 8–11.  Rows of ``mix[l_O]`` follow ``layout.paths``.
    """

    def __init__(
        self,
        layout: ConvolutionLayout,
        *,
        n_basis: int,
        cutoff: float,
        radial_hidden: int,
        dropout: float,
        smooth: bool = False,
    ) -> None:
        super().__init__()
        self.layout = layout
        self.radial = RadialMLP(n_basis, cutoff, radial_hidden, layout.n_comb, dropout, smooth)
        self.mix = nn.ParameterList(
            nn.Parameter(torch.randn(layout.rows(l), layout.channels)) for l in range(layout.l_max + 1)
        )

    def forward(
        self, kernel: Any, hidden: torch.Tensor, scalars: torch.Tensor, geometry: Any
    ) -> torch.Tensor:
        """Convolve.

        Parameters
        ----------
        kernel
            One of :mod:`propensity.nn.kernels`.
        hidden
            Equivariant features, shape (N, layout.dim_in); (N, 0) at the first layer.
        scalars
            Node scalars, shape (N, n_scalars).
        geometry
            What ``kernel.prepare`` made of the graph.

        Returns
        -------
        Features of shape (N, layout.dim_out).
        """
        return cast("torch.Tensor", kernel.convolve(self, hidden, scalars, geometry))
