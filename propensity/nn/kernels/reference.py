"""The convolution on e3nn: clear before fast, and the oracle of every other kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from e3nn.o3 import Irreps, SphericalHarmonics, TensorProduct

from propensity.nn.kernels.base import LayerwiseKernel
from propensity.nn.layout import ConvolutionLayout
from propensity.nn.radial import bessel_basis, envelope

if TYPE_CHECKING:
    from propensity.graph import Graph
    from propensity.nn.convolution import Convolution


@dataclass(frozen=True)
class ReferenceGeometry:
    """Edges with their harmonics, shape (E, (l_max+1)²), and radial basis, shape (E, n_basis)."""

    source: torch.Tensor
    destination: torch.Tensor
    harmonics: torch.Tensor
    basis: torch.Tensor


class ReferenceKernel(LayerwiseKernel):
    """Writes every edge tensor to memory, as e3nn does."""

    name = "reference"

    def is_available(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Runs everywhere."""
        return True

    def prepare(self, graph: Graph, convolution: Convolution) -> ReferenceGeometry:
        """Spherical harmonics (component normalised) and Bessel basis of every edge."""
        radial = convolution.radial
        vectors = graph.edge_vec.to(radial.linear_in.weight.dtype)
        harmonics = _harmonics(convolution.layout.l_max, vectors.dtype, vectors.device)(vectors)
        length = torch.linalg.vector_norm(vectors, dim=1)
        if radial.smooth:
            harmonics = harmonics * envelope(length, radial.cutoff)[:, None]
        basis = bessel_basis(length, radial.n_basis, radial.cutoff)
        return ReferenceGeometry(graph.edge_index[0], graph.edge_index[1], harmonics, basis)

    def convolve(
        self,
        convolution: Convolution,
        hidden: torch.Tensor,
        scalars: torch.Tensor,
        geometry: ReferenceGeometry,
    ) -> torch.Tensor:
        """Tensor product on every edge, sum at the destination, then mixing."""
        layout = convolution.layout
        features = torch.cat([hidden, scalars], dim=1)
        product = _tensor_product(layout, features.dtype, features.device)
        messages = product(features[geometry.source], geometry.harmonics, convolution.radial(geometry.basis))
        summed = messages.new_zeros(len(features), messages.shape[1]).index_add(
            0, geometry.destination, messages
        )
        return mix(convolution, summed)


def mix(convolution: Convolution, summed: torch.Tensor) -> torch.Tensor:
    """Map rows (triplets × channels) of each l_O to output channels, with 1/√rows as in e3nn's Linear."""
    layout = convolution.layout
    outputs, start = [], 0
    for l_out, weight in enumerate(convolution.mix):
        rows, dim = layout.rows(l_out), 2 * l_out + 1
        block = summed[:, start : start + rows * dim].view(-1, rows, dim)
        outputs.append(torch.einsum("nrm,rc->ncm", block, weight / math.sqrt(rows)).flatten(1))
        start += rows * dim
    return torch.cat(outputs, dim=1)


@lru_cache(maxsize=32)
def _harmonics(l_max: int, dtype: torch.dtype, device: torch.device) -> SphericalHarmonics:
    irreps = Irreps([(1, (l, 1)) for l in range(l_max + 1)])
    with _float64_constants():
        module = SphericalHarmonics(irreps, normalize=True, normalization="component", irreps_in="1e")
    return module.to(device=device, dtype=dtype)


@lru_cache(maxsize=64)
def _tensor_product(layout: ConvolutionLayout, dtype: torch.dtype, device: torch.device) -> TensorProduct:
    hidden = [(layout.channels_in, (l, 1)) for l in range(layout.l_max + 1)] if layout.channels_in else []
    instructions = [
        (path.l_in if path.block == 0 else len(hidden), path.l_filter, k, "uvu", True)
        for k, path in enumerate(layout.paths)
    ]
    with _float64_constants():
        product = TensorProduct(
            Irreps([*hidden, (layout.n_scalars, (0, 1))]),
            Irreps([(1, (l, 1)) for l in range(layout.l_max + 1)]),
            Irreps([(path.channels, (path.l_out, 1)) for path in layout.paths]),
            instructions,
            shared_weights=False,
            internal_weights=False,
        )
    return product.to(device=device, dtype=dtype)


@contextmanager
def _float64_constants() -> Iterator[None]:
    """e3nn bakes Wigner 3j symbols in at the default dtype: make them exact, then restore it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


KERNEL = ReferenceKernel()
