"""Spherical harmonics and radial basis of every edge, in slots, once for all layers of the CPU kernel.

Symbols
-------
==============  =======================================================  ====================
letter          meaning                                                  shape
==============  =======================================================  ====================
row             slot row: LANES edges, one a lane
y               where the harmonics of a slot row begin in a flat array
x0, x1, x2, r   vector of an edge and its length, in float64             one a lane
n_y             harmonics: (l_max+1)²
n_basis         Bessel functions of an edge
places, values  terms of the ladder that climbs from l to l+1            (terms, 3), (terms,)
==============  =======================================================  ====================
"""

# mypy: disable-error-code="call-arg, var-annotated"

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from propensity.compiling import njit
from propensity.nn.kernels.clebsch import terms
from propensity.nn.kernels.cpu.radial import Edges
from propensity.nn.kernels.cpu.slots import Slots, tiled
from propensity.nn.kernels.reference import _harmonics
from propensity.nn.radial import bessel_basis, envelope
from propensity.simd import LANES, fma, load, mul, spread, store
from propensity.threads import blocks_of, share


@dataclass(frozen=True)
class CPUGeometry:
    """Slots, harmonics (slot rows, (l_max+1)², LANES) and radial basis (slot rows, n_basis, LANES)."""

    slots: Slots
    harmonics: torch.Tensor
    basis: torch.Tensor
    _spare: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def borrowed(self, name: str, size: int) -> torch.Tensor:
        """Flat memory of the precision for one layer, which the next takes over: fresh pages cost as much as
        what is written to them.
        """
        spare = self._spare.pop(name, None)
        return spare if spare is not None and len(spare) == size else self.basis.new_empty(size)

    def back(self, name: str, memory: torch.Tensor) -> None:
        """Give memory back after use."""
        self._spare[name] = memory.view(-1)

    @property
    def edges(self) -> Edges:
        """The same for the loops."""
        slots = self.slots
        harmonics, basis = (t.detach().view(-1).numpy() for t in (self.harmonics, self.basis))
        return Edges(slots.node, slots.start, slots.source, slots.live, harmonics, basis)


class _Vectors(NamedTuple):
    """Vectors of the edges, and the slots they go to."""

    of_edge: np.ndarray  # (E, 3), in the unit of length
    edge_of_slot: np.ndarray  # (slot rows · LANES), 0 where idle
    live: np.ndarray  # (slot rows,), lanes that hold an edge, one bit each


class _Radius(NamedTuple):
    """Where the basis ends, in the unit of length, and whether harmonics go to zero there."""

    cutoff: float
    smooth: bool


class _Ladder(NamedTuple):
    """Y_{l+1} = Σ value · Y_l · Y_1, l by l."""

    places: np.ndarray  # (terms, 3), harmonic out, of l and of 1
    values: np.ndarray  # (terms,)


def geometry_of(slots: Slots, vectors: torch.Tensor, radial: Any, l_max: int) -> CPUGeometry:
    """Geometry of edges (E, 3); differentiable, in more memory and time, where a gradient is wanted."""
    if vectors.requires_grad and torch.is_grad_enabled():
        # An idle slot's vector is as good as any: its harmonics are zero.
        vectors = slots.spread(vectors, idle=1.0)
        harmonics = _harmonics(l_max, vectors.dtype, vectors.device)(vectors).index_fill(0, slots.idle, 0.0)
        length = torch.linalg.vector_norm(vectors, dim=1)
        if radial.smooth:
            harmonics = harmonics * envelope(length, radial.cutoff)[:, None]
        basis = bessel_basis(length, radial.n_basis, radial.cutoff)
        return CPUGeometry(slots, tiled(harmonics), tiled(basis))
    n, n_y = len(slots.live), (l_max + 1) ** 2
    harmonics, basis = vectors.new_empty(n, n_y, LANES), vectors.new_empty(n, radial.n_basis, LANES)
    places, values = _ladder(l_max)
    share(
        _geometry,
        blocks_of(n),
        _Vectors(vectors.detach().contiguous().numpy(), slots.edge_of_slot, slots.live),
        _Radius(radial.cutoff, radial.smooth),
        _Ladder(places, values.astype(harmonics.numpy().dtype)),
        harmonics.numpy(),
        basis.numpy(),
    )
    return CPUGeometry(slots, harmonics, basis)


@lru_cache(maxsize=16)
def _ladder(l_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Y_{l+1} = Σ value · Y_l · Y_1: (harmonic out, of l, of 1) and value of each term, l by l."""
    point = torch.tensor([[0.6, -0.48, 0.64]], dtype=torch.float64)
    y = _harmonics(l_max, point.dtype, point.device)(point)[0].tolist()
    places, values = [], []
    for l in range(1, l_max):
        found = terms(l, 1, l + 1)
        # The product is Y_{l+1} but for a factor, which one point shows.
        total = np.zeros(2 * l + 3)
        for t in found:
            total[t.m_out] += t.value * y[l * l + t.m_in] * y[1 + t.m_filter]
        factor = total @ y[(l + 1) ** 2 : (l + 2) ** 2] / (2 * l + 3)
        places += [((l + 1) ** 2 + t.m_out, l * l + t.m_in, 1 + t.m_filter) for t in found]
        values += [t.value / factor for t in found]
    return np.array(places, dtype=np.int64).reshape(-1, 3), np.array(values)


@njit(nogil=True)
def _geometry(first, last, blocks, vectors, radius, ladder, harmonics_out, basis_out):
    """Harmonics, by the ladder Y_{l+1} = Σ value · Y_l · Y_1, and Bessel functions of the edges of slot rows.

    Reads   vectors, radius, ladder.
    Writes  harmonics_out (slot rows, n_y, LANES) and basis_out (slot rows, n_basis, LANES).
    One call is a range of blocks of slot rows.
    """
    of_edge, edge_of_slot, live = vectors
    cutoff, smooth = radius
    places, values = ladder
    n_rows, n_y, n_basis = len(live), harmonics_out.shape[1], basis_out.shape[1]
    harmonics, basis = harmonics_out.reshape(-1), basis_out.reshape(-1)
    for row in range(n_rows * first // blocks, n_rows * last // blocks):
        y = row * n_y * LANES
        harmonics[y : y + n_y * LANES] = 0
        for lane in range(LANES):
            edge = edge_of_slot[row * LANES + lane]
            x0, x1, x2 = (
                np.float64(of_edge[edge, 0]),
                np.float64(of_edge[edge, 1]),
                np.float64(of_edge[edge, 2]),
            )
            r = math.sqrt(x0 * x0 + x1 * x1 + x2 * x2)
            if live[row] >> lane & 1:
                harmonics[y + lane] = 1
                if n_y > 1:
                    harmonics[y + LANES + lane] = math.sqrt(3) * x0 / r
                    harmonics[y + 2 * LANES + lane] = math.sqrt(3) * x1 / r
                    harmonics[y + 3 * LANES + lane] = math.sqrt(3) * x2 / r
            # sin (n+1)a = 2 cos a · sin na − sin (n−1)a
            angle, height = math.pi * r / cutoff, math.sqrt(2 / cutoff) / r
            twice, before, sine = 2 * math.cos(angle), 0.0, math.sin(angle)
            for n in range(n_basis):
                basis[(row * n_basis + n) * LANES + lane] = height * sine
                before, sine = sine, twice * sine - before
        for t in range(len(values)):
            product = mul(spread(values, t), load(harmonics, y + places[t, 1] * LANES))
            out = y + places[t, 0] * LANES
            store(
                harmonics, out, fma(product, load(harmonics, y + places[t, 2] * LANES), load(harmonics, out))
            )
        for lane in range(LANES * smooth):
            edge, square = edge_of_slot[row * LANES + lane], 0.0
            for k in range(3):
                square += np.float64(of_edge[edge, k]) ** 2
            x = math.sqrt(square) / cutoff
            height = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8 if x < 1 else 0.0
            for k in range(n_y):
                harmonics[y + k * LANES + lane] *= height
