"""Spherical harmonics and radial basis of every edge, in slots, once for all layers of the CPU kernel.

Symbols
-------
==============  =======================================================  ====================
letter          meaning                                                  shape
==============  =======================================================  ====================
row             slot row: LANES edges, one a lane
y               where the harmonics of a slot row begin in a flat array
x, r            vectors of the edges and their lengths, in float64       (3,), one
n_y             harmonics: (l_max+1)²
n_basis         Bessel functions of an edge
places, values  terms of the ladder that climbs from l to l+1            (terms, 3), (terms,)
==============  =======================================================  ====================
"""

# mypy: disable-error-code="call-arg, var-annotated"

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from propensity.compiling import njit
from propensity.nn.kernels.clebsch import terms
from propensity.nn.kernels.cpu.radial import EdgeSlots
from propensity.nn.kernels.cpu.slots import Slots, tiled
from propensity.nn.kernels.reference import _harmonics
from propensity.nn.radial import bessel_basis, envelope
from propensity.simd import (
    LANES,
    add,
    divide,
    floor,
    fma,
    load,
    mul,
    root,
    splat,
    spread,
    store,
    store_as,
    where_bits,
    where_positive,
)
from propensity.threads import blocks_of, share

#: Numbers in a piece of memory that a network keeps from step to step: those of some 8000 particles.
LARGEST_SPARE = 1 << 25
_SPARE: weakref.WeakKeyDictionary[Any, dict[str, list[np.ndarray]]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class CPUGeometry:
    """Slots, harmonics (slot rows, (l_max+1)², LANES) and radial basis (slot rows, n_basis, LANES)."""

    slots: Slots
    harmonics: torch.Tensor
    basis: torch.Tensor
    spare: dict[str, list[np.ndarray]] = field(repr=False)

    def lent(self, name: str, size: int) -> torch.Tensor:
        """Flat memory of the precision that serves again when nobody holds it any more: fresh pages cost as
        much as what is written to them.
        """
        dtype, pool = (
            self.basis.detach().numpy().dtype,
            self.spare.setdefault(f"{name} {self.basis.dtype}", []),
        )
        memory = pool.pop() if pool else np.empty(0, dtype)
        if len(memory) < size + 64 // dtype.itemsize:
            memory = np.empty(size + 64 // dtype.itemsize, dtype)
        # From a cache line on, lest every vector touches two.
        skip = -memory.ctypes.data % 64 // dtype.itemsize
        view = memory[skip : skip + size]
        if size <= LARGEST_SPARE:
            weakref.finalize(view, pool.append, memory).atexit = False
        return torch.from_numpy(view)

    @property
    def edges(self) -> EdgeSlots:
        """The same for the loops."""
        slots = self.slots
        harmonics, basis = (t.detach().view(-1).numpy() for t in (self.harmonics, self.basis))
        return EdgeSlots(slots.node, slots.start, slots.source, slots.live, harmonics, basis)


class _Vectors(NamedTuple):
    """Vectors of the edges, and the slots they go to."""

    of_edge: np.ndarray  # (E, 3), in the unit of length
    edge_of_slot: np.ndarray  # (slot rows · LANES), 0 where idle
    live: np.ndarray  # (slot rows,), lanes that hold an edge, one bit each


class _Radius(NamedTuple):
    """Where the basis ends, in the unit of length, and whether harmonics go to zero there."""

    cutoff: float
    smooth: bool


class _Series(NamedTuple):
    """Y_{l+1} = Σ value · Y_l · Y_1, l by l; sine and cosine in powers of t²."""

    places: np.ndarray  # (terms, 3), harmonic out, of l and of 1
    values: np.ndarray  # (terms,)
    sine: np.ndarray  # sin t / t, then cos t, float64


#: Twelve terms each, to 2e-19 at π/2.
_SINE = np.array([(-1) ** n / math.factorial(2 * n + odd) for odd in (1, 0) for n in range(12)])


def geometry_of(slots: Slots, vectors: torch.Tensor, radial: Any, l_max: int) -> CPUGeometry:
    """Geometry of edges (E, 3); differentiable, in more memory and time, where a gradient is wanted."""
    spare = _SPARE.setdefault(radial, {}) if torch.is_grad_enabled() else _SPARE.pop(radial, {})
    if vectors.requires_grad and torch.is_grad_enabled():
        # An idle slot's vector is as good as any: its harmonics are zero.
        vectors = slots.spread(vectors, idle=1.0)
        harmonics = _harmonics(l_max, vectors.dtype, vectors.device)(vectors).index_fill(0, slots.idle, 0.0)
        length = torch.linalg.vector_norm(vectors, dim=1)
        if radial.smooth:
            harmonics = harmonics * envelope(length, radial.cutoff)[:, None]
        basis = bessel_basis(length, radial.n_basis, radial.cutoff)
        return CPUGeometry(slots, tiled(harmonics), tiled(basis), spare)
    n, n_y = len(slots.live), (l_max + 1) ** 2
    harmonics, basis = vectors.new_empty(n, n_y, LANES), vectors.new_empty(n, radial.n_basis, LANES)
    places, values = _ladder(l_max)
    share(
        _geometry,
        blocks_of(n),
        _Vectors(vectors.detach().contiguous().numpy(), slots.edge_of_slot, slots.live),
        _Radius(radial.cutoff, radial.smooth),
        _Series(places, values.astype(harmonics.numpy().dtype), _SINE),
        harmonics.numpy(),
        basis.numpy(),
    )
    return CPUGeometry(slots, harmonics, basis, spare)


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
def _geometry(first, last, blocks, vectors, radius, series, harmonics_out, basis_out):
    """Harmonics, by the ladder Y_{l+1} = Σ value · Y_l · Y_1, and Bessel functions of the edges of slot rows.

    Reads   vectors, radius, series.
    Writes  harmonics_out (slot rows, n_y, LANES) and basis_out (slot rows, n_basis, LANES).
    One lane is one edge; one call is a range of blocks of slot rows.
    """
    of_edge, edge_of_slot, live = vectors
    places, values = series.places, series.values
    n_rows, n_y, n_basis = len(live), harmonics_out.shape[1], basis_out.shape[1]
    harmonics, basis = harmonics_out.reshape(-1), basis_out.reshape(-1)
    x, fade = np.empty(3 * LANES, np.float64), np.empty(LANES, harmonics.dtype)
    one = splat(x, 1.0)
    for row in range(n_rows * first // blocks, n_rows * last // blocks):
        for lane in range(LANES):
            edge = edge_of_slot[row * LANES + lane]
            for k in range(3):
                x[k * LANES + lane] = of_edge[edge, k]
        square = mul(load(x, 0), load(x, 0))
        for k in range(1, 3):
            square = fma(load(x, k * LANES), load(x, k * LANES), square)
        r = root(square)
        inverse = divide(one, r)
        y = row * n_y * LANES
        store_as(harmonics, y, where_bits(live[row], one))
        harmonics[y + LANES : y + n_y * LANES] = 0
        if n_y > 1:
            scaled = where_bits(live[row], mul(splat(x, math.sqrt(3)), inverse))
            for k in range(3):
                store_as(harmonics, y + (k + 1) * LANES, mul(scaled, load(x, k * LANES)))
        for t in range(len(values)):
            product = mul(spread(values, t), load(harmonics, y + places[t, 1] * LANES))
            out = y + places[t, 0] * LANES
            store(
                harmonics, out, fma(product, load(harmonics, y + places[t, 2] * LANES), load(harmonics, out))
            )
        if radius.smooth:
            z = mul(r, splat(x, 1 / radius.cutoff))
            z3 = mul(z, mul(z, z))
            height = fma(fma(splat(x, -21.0), z, splat(x, 48.0)), z, splat(x, -28.0))
            height = fma(mul(z3, z3), height, one)
            store_as(fade, 0, where_positive(add(one, mul(splat(x, -1.0), z)), height))
            for k in range(n_y):
                store(harmonics, y + k * LANES, mul(load(fade, 0), load(harmonics, y + k * LANES)))
        _bessel(r, inverse, radius.cutoff, series.sine, basis, row * n_basis, n_basis)


@njit
def _bessel(r, inverse, cutoff, sine, basis, at, n_basis):
    """√(2/r_c) · sin(nπr/r_c)/r by sin (n+1)a = 2 cos a · sin na − sin (n−1)a.

    Reads   r and 1/r, sine: coefficients of sin t / t, then of cos t, in t².
    Writes  vectors ``at``.. of basis.
    One lane is one edge.
    """
    angle = mul(r, splat(sine, math.pi / cutoff))
    # t = a − kπ between −π/2 and π/2, where the series end; k odd turns the signs of both.
    k = floor(fma(r, splat(sine, 1 / cutoff), splat(sine, 0.5)))
    t = fma(splat(sine, -math.pi), k, angle)
    odd = fma(splat(sine, -2.0), floor(mul(k, splat(sine, 0.5))), k)
    sign, square, n = fma(splat(sine, -2.0), odd, splat(sine, 1.0)), mul(t, t), len(sine) // 2
    s, c = spread(sine, n - 1), spread(sine, 2 * n - 1)
    for m in range(n - 1):
        s, c = fma(s, square, spread(sine, n - 2 - m)), fma(c, square, spread(sine, 2 * n - 2 - m))
    height = mul(splat(sine, math.sqrt(2 / cutoff)), mul(sign, inverse))
    twice, before, now = mul(splat(sine, 2.0), mul(sign, c)), splat(sine, 0.0), mul(height, mul(s, t))
    for n in range(n_basis):
        store_as(basis, (at + n) * LANES, now)
        before, now = now, fma(twice, now, mul(splat(sine, -1.0), before))
