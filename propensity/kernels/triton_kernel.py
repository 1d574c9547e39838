"""The convolution on NVIDIA GPUs: Triton kernels generated for each layout.

Harmonics are recomputed where they are needed and messages never leave registers.  At inference the
radial MLP is a table over r, read with linear interpolation; in training its output exists for one
layer at a time, and only tensors of particles are kept for the backward pass.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from propensity.kernels.reference import _harmonics
from propensity.kernels.triton_source import Plan, quads
from propensity.nn.layout import ConvolutionLayout
from propensity.nn.radial import bessel_basis

if TYPE_CHECKING:
    from propensity.nn.convolution import Convolution

#: Intervals of the table of radial weights over 0 ≤ r ≤ r_c.
TABLE = 16384
#: Particles (forward) and edges (backward) of one program.
BLOCK = 32


def is_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Runs in float32 on CUDA devices, and on CPUs under TRITON_INTERPRET=1, given Triton."""
    if dtype != torch.float32:
        return False
    try:
        import triton
    except ImportError:
        return False
    return device.type == "cuda" or (device.type == "cpu" and bool(triton.knobs.runtime.interpret))


@dataclass(frozen=True)
class Geometry:
    """Edges sorted by destination, and where each particle's edges lie, by destination and by source."""

    edges: torch.Tensor  # (E, 4): unit vector, place in the table
    source: torch.Tensor
    destination: torch.Tensor
    rows: torch.Tensor
    order: torch.Tensor  # particles, those of like degree together
    source_rows: torch.Tensor
    source_order: torch.Tensor
    basis: torch.Tensor  # (E, n_basis)
    harmonics: torch.Tensor | None  # only when positions need a gradient


class TritonKernel:
    """One thread an edge and channel; sums stay in registers."""

    name = "triton"

    def prepare(self, graph: Any, convolution: Convolution) -> Geometry:
        """Sort edges and particles; directions and radial basis once for all layers."""
        radial = convolution.radial
        vectors = graph.edge_vec.to(radial.linear_in.weight.dtype)
        source, destination = graph.edge_index
        n = len(graph.types)
        if not _is_sorted(destination):
            order = torch.argsort(destination, stable=True)
            source, destination, vectors = source[order], destination[order], vectors[order]
        marks = torch.arange(n + 1, device=vectors.device)
        rows = torch.searchsorted(destination.contiguous(), marks)
        sorted_source, source_order = torch.sort(source, stable=True)
        degree = rows[1:] - rows[:-1]
        # Sorting within windows keeps neighbours of neighbours close in memory.
        order = torch.argsort((marks[:-1] // 16384) * (len(source) + 1) - degree)
        length = torch.linalg.vector_norm(vectors, dim=1)
        place = length * (TABLE / radial.cutoff)
        edges = torch.cat([vectors / length[:, None], place[:, None]], dim=1).detach()
        harmonics = None
        if vectors.requires_grad and torch.is_grad_enabled():
            harmonics = _harmonics(convolution.layout.l_max, vectors.dtype, vectors.device)(vectors)
        return Geometry(
            edges, source.int(), destination.int(), rows.int(), order.int(),
            torch.searchsorted(sorted_source, marks).int(), source_order.int(),
            bessel_basis(length, radial.n_basis, radial.cutoff), harmonics,
        )  # fmt: skip

    def convolve(
        self, convolution: Convolution, hidden: torch.Tensor, scalars: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        """Tensor product and sum over neighbours in one kernel, then mixing."""
        linear = convolution.radial.linear_out
        if convolution.training or torch.is_grad_enabled():
            units = convolution.radial.hidden_units(geometry.basis)
            return _Convolve.apply(
                convolution.layout, geometry, hidden, scalars, geometry.harmonics, units, linear.weight, linear.bias,
                *convolution.mix,
            )  # fmt: skip
        shapes = _shapes(convolution.layout, hidden.device)
        sums = _forward(shapes, geometry, shapes.pack_hidden(hidden), shapes.pack_scalars(scalars), _table(convolution), True)
        return shapes.mix(sums, shapes.pack_mix(convolution.mix))


class Shapes:
    """Index maps between the network's tensors and those of the kernels, for one layout and device."""

    def __init__(self, layout: ConvolutionLayout, device: torch.device) -> None:
        from propensity.kernels.triton_launch import kernels

        self.layout, self.plan = layout, Plan(layout)
        self.kernels = kernels(layout)
        plan, cp = self.plan, self.plan.padded_channels
        self.constants = {"CP": cp, "DQ": quads(plan.harmonics), "PQ": quads(len(plan.paths)), "NQ": quads(plan.scalar_blocks)}
        self.sums = plan.first_sum(layout.l_max + 1) * cp * 4

        def index(n: int, places: dict[int, int]) -> torch.Tensor:
            """What each of n places holds; len(places), which callers fill with zeros, where nothing."""
            table = torch.full((n,), len(places), dtype=torch.int64)
            for place, held in places.items():
                table[place] = held
            return table.to(device)

        def place(quad: int, c: int, slot: int) -> int:
            return (quad * cp + c) * 4 + slot

        channels = layout.channels
        hidden = {
            place(k // 4, c, k % 4): channels * l * l + c * (2 * l + 1) + k - l * l
            for l in range(layout.l_max + 1) for k in range(l * l, (l + 1) ** 2) for c in range(channels)
        }  # fmt: skip
        self.hidden = index(self.constants["DQ"] * cp * 4, hidden)
        self.hidden_back = _inverse(hidden, device)
        scalars = {place(s // cp // 4, s % cp, s // cp % 4): s for s in range(layout.n_scalars)}
        self.scalars = index(self.constants["NQ"] * cp * 4, scalars)
        weights = {
            place(path.index // 4, c, path.index % 4): row for path in plan.paths for c, row in enumerate(path.weights)
        }
        self.weights = index(self.constants["PQ"] * cp * 4, weights)
        self.weights_back = _inverse(weights, device)
        self.mixing, self.mixing_back = [], []
        for l in range(layout.l_max + 1):
            rows = {
                place(path.rank // 4, c, path.rank % 4): row
                for path in plan.paths if path.l_out == l for c, row in enumerate(path.rows)
            }  # fmt: skip
            self.mixing.append(index(plan.quads_of(l) * cp * 4, rows))
            self.mixing_back.append(_inverse(rows, device))

    def pack_hidden(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, dim_in) → (N, DQ·CP·4)."""
        if not self.layout.channels_in:
            return hidden.new_zeros(1)
        return _pad(hidden, 1)[:, self.hidden]

    def pack_scalars(self, scalars: torch.Tensor) -> torch.Tensor:
        """(N, n_scalars) → (N, NQ·CP·4)."""
        return _pad(scalars, 1)[:, self.scalars]

    def pack_weights(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of the last radial layer in the order of the kernels."""
        return _pad(weight, 0)[self.weights], _pad(bias, 0)[self.weights]

    def pack_mix(self, mix: Any) -> list[torch.Tensor]:
        """Mixing matrices in the order of the sums, with 1/√rows."""
        return [
            _pad(weight.detach(), 0)[index] / math.sqrt(len(weight)) for weight, index in zip(mix, self.mixing, strict=True)
        ]

    def split(self, sums: torch.Tensor, l: int) -> torch.Tensor:
        """Sums of l_out = l, shape (N·(2l+1), rows)."""
        width = len(self.mixing[l])
        n = sums.numel() // self.sums
        start = n * self.plan.first_sum(l) * self.plan.padded_channels * 4
        return sums[start : start + n * (2 * l + 1) * width].view(-1, width)

    def mix(self, sums: torch.Tensor, mixing: list[torch.Tensor]) -> torch.Tensor:
        """Eq. 11, shape (N, dim_out)."""
        n = sums.numel() // self.sums
        parts = [
            (self.split(sums, l) @ weight).view(n, 2 * l + 1, -1).transpose(1, 2).flatten(1) for l, weight in enumerate(mixing)
        ]
        return torch.cat(parts, dim=1)


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layout: ConvolutionLayout, geometry: Geometry, hidden: torch.Tensor, scalars: torch.Tensor,
        harmonics: torch.Tensor | None, units: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, *mix: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        shapes = _shapes(layout, hidden.device)
        packed_weight, packed_bias = shapes.pack_weights(weight, bias)
        features, node_scalars = shapes.pack_hidden(hidden), shapes.pack_scalars(scalars)
        radial = torch.addmm(packed_bias, units, packed_weight.t())
        sums = _forward(shapes, geometry, features, node_scalars, radial, False)
        ctx.shapes, ctx.geometry = shapes, geometry
        ctx.save_for_backward(features, node_scalars, units, packed_weight, packed_bias, sums, *mix)
        return shapes.mix(sums, shapes.pack_mix(mix))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        shapes: Shapes = ctx.shapes
        geometry: Geometry = ctx.geometry
        features, node_scalars, units, weight, bias, sums, *mix = ctx.saved_tensors
        plan, channels = shapes.plan, shapes.layout.channels
        n = len(grad)
        grad_sums, grad_mix, start = torch.empty_like(sums), [], 0
        for l, (packed, original) in enumerate(zip(shapes.pack_mix(mix), mix, strict=True)):
            stop = start + channels * (2 * l + 1)
            part = grad[:, start:stop].reshape(n, channels, -1).transpose(1, 2).reshape(-1, channels)
            torch.mm(part, packed.t(), out=shapes.split(grad_sums, l))
            grad_mix.append((shapes.split(sums, l).t() @ part)[shapes.mixing_back[l]] / math.sqrt(len(original)))
            start = stop
        radial = torch.addmm(bias, units, weight.t())
        n_edges = len(radial)
        width = shapes.constants["DQ"] * plan.padded_channels * 4
        has_hidden = bool(shapes.layout.channels_in)
        grad_edges = features.new_empty(n_edges, width) if has_hidden else features
        wants_harmonics = ctx.needs_input_grad[4]
        grad_harmonics = features.new_empty(n_edges, plan.harmonics) if wants_harmonics else features
        if n_edges:
            shapes.kernels.backward[(-(-n_edges // BLOCK),)](
                features, node_scalars, geometry.edges, radial, geometry.source, geometry.destination, grad_sums,
                grad_edges, grad_harmonics, n_edges, n, HARMONICS=wants_harmonics, B=BLOCK, **shapes.constants,
                num_warps=_warps(BLOCK * plan.padded_channels),
            )  # fmt: skip
        grad_hidden = None
        if has_hidden:
            total = features.new_empty(n, width)
            shapes.kernels.sum_by_source[(-(-n // 8),)](
                grad_edges, geometry.source_rows, geometry.source_order, total, n, B=8,
                W=1 << (width - 1).bit_length(), WIDTH=width, num_warps=4,
            )  # fmt: skip
            grad_hidden = total[:, shapes.hidden_back]
        return (
            None, None, grad_hidden, None, grad_harmonics if wants_harmonics else None, radial @ weight,
            (radial.t() @ units)[shapes.weights_back], radial.sum(dim=0)[shapes.weights_back], *grad_mix,
        )  # fmt: skip


def _forward(
    shapes: Shapes, geometry: Geometry, features: torch.Tensor, scalars: torch.Tensor, radial: torch.Tensor, table: bool
) -> torch.Tensor:
    n = len(scalars)
    sums = scalars.new_empty(n * shapes.sums)
    shapes.kernels.forward[(-(-n // BLOCK), len(shapes.plan.groups))](
        features, scalars, geometry.edges, radial, geometry.order, geometry.rows, geometry.source, sums, n,
        TABLE=table, B=BLOCK, **shapes.constants, num_warps=_warps(BLOCK * shapes.plan.padded_channels),
    )  # fmt: skip
    return sums


def _warps(threads: int) -> int:
    return min(max(threads // 32, 1), 8)


def _pad(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """One more row or column, of zeros, for places that hold nothing."""
    shape = list(tensor.shape)
    shape[dim] = 1
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)


def _inverse(places: dict[int, int], device: torch.device) -> torch.Tensor:
    held = {value: place for place, value in places.items()}
    return torch.tensor([held[k] for k in range(len(held))], dtype=torch.int64, device=device)


def _is_sorted(destination: torch.Tensor) -> bool:
    """True on a GPU without looking, since looking would wait for it: graphs are built sorted."""
    return destination.is_cuda or bool((destination[1:] >= destination[:-1]).all())


@lru_cache(maxsize=64)
def _shapes(layout: ConvolutionLayout, device: torch.device) -> Shapes:
    return Shapes(layout, device)


_TABLES: weakref.WeakKeyDictionary[Any, tuple[Any, torch.Tensor]] = weakref.WeakKeyDictionary()


def _table(convolution: Convolution) -> torch.Tensor:
    """Radial weights before their ReLU at TABLE + 2 distances, kept until a parameter changes."""
    radial = convolution.radial
    state = [*radial.parameters(), *radial.buffers()]
    key = tuple((t.data_ptr(), t._version) for t in state)
    held = _TABLES.get(convolution)
    if held is None or held[0] != key:
        shapes = _shapes(convolution.layout, state[0].device)
        r = torch.arange(TABLE + 2, device=state[0].device, dtype=torch.float64) * (radial.cutoff / TABLE)
        units = radial.hidden_units(bessel_basis(r.clamp(min=1e-6), radial.n_basis, radial.cutoff).to(state[0].dtype))
        weight, bias = shapes.pack_weights(radial.linear_out.weight, radial.linear_out.bias)
        held = key, torch.addmm(bias, units, weight.t()).contiguous()
        _TABLES[convolution] = held
    return held[1]


KERNEL = TritonKernel()
