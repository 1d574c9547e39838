"""The convolution on CPUs: numba loops with explicit SIMD for the tensor product, BLAS for the radial MLP.

Radial weights exist only for a chunk of edges at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from propensity.kernels.base import LayerwiseKernel
from propensity.kernels.reference import _harmonics, mix
from propensity.nn.layout import ConvolutionLayout
from propensity.nn.radial import bessel_basis

if TYPE_CHECKING:
    from propensity.nn.convolution import Convolution

#: Slots (edges) whose radial weights exist at the same time: about 10 MB at the paper's defaults.
CHUNK = 16384


def is_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Runs on CPUs in float32 and float64, given numba."""
    if device.type != "cpu" or dtype not in (torch.float32, torch.float64):
        return False
    try:
        import numba  # noqa: F401
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Slots:
    """Edges in the order of :mod:`propensity.kernels.cpu_loops`: tile, neighbour number, lane."""

    node: np.ndarray  # particle of each lane of each tile, −1 where idle
    rows: np.ndarray  # first slot row of each tile
    source: np.ndarray  # neighbour in each slot, 0 where idle
    slot_of_edge: torch.Tensor
    edge_of_slot: torch.Tensor  # 0 where idle
    by_source: np.ndarray  # slots sorted by source
    offsets: np.ndarray  # where each source starts in ``by_source``

    @property
    def n(self) -> int:
        """Number of slots, idle ones included."""
        return len(self.source)

    def chunks(self) -> list[tuple[int, int]]:
        """Ranges of tiles with about CHUNK slots each."""
        from propensity.kernels.simd import LANES

        marks = np.searchsorted(self.rows * LANES, np.arange(CHUNK, self.n, CHUNK))
        edges = np.unique(np.concatenate([[0], marks, [len(self.rows) - 1]]))
        return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def make_slots(edge_index: torch.Tensor, n_nodes: int) -> Slots:
    """Sort particles by degree into tiles of LANES, and edges into slots."""
    from propensity.kernels.simd import LANES

    source, destination = edge_index.numpy()
    degree = np.bincount(destination, minlength=n_nodes)
    order = np.argsort(-degree, kind="stable")
    n_tiles = -(-n_nodes // LANES)
    node = np.full(n_tiles * LANES, -1)
    node[:n_nodes] = order
    rows = np.concatenate([[0], np.cumsum(degree[order[::LANES]])])
    place = np.empty(n_nodes, dtype=np.int64)
    place[order] = np.arange(n_nodes)
    by_destination = np.argsort(destination, kind="stable")
    rank = np.empty(len(source), dtype=np.int64)
    starts = np.cumsum(degree) - degree
    rank[by_destination] = np.arange(len(source)) - starts[destination[by_destination]]
    tile, lane = np.divmod(place[destination], LANES)
    slot = (rows[tile] + rank) * LANES + lane
    slot_source = np.zeros(rows[-1] * LANES, dtype=np.int64)
    slot_source[slot] = source
    edge_of_slot = np.zeros(len(slot_source), dtype=np.int64)
    edge_of_slot[slot] = np.arange(len(slot))
    by_source = slot[np.argsort(source, kind="stable")]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n_nodes))])
    return Slots(
        node, rows, slot_source, torch.from_numpy(slot), torch.from_numpy(edge_of_slot), by_source, offsets
    )


@dataclass(frozen=True)
class Geometry:
    """Slots, harmonics (slot rows, (l_max+1)², LANES) and radial basis (E, n_basis)."""

    slots: Slots
    harmonics: torch.Tensor
    basis: torch.Tensor


class CPUKernel(LayerwiseKernel):
    """Tensor products of 16 particles at a time; no tensor of messages is written."""

    name = "cpu"

    def prepare(self, graph: Any, convolution: Convolution) -> Geometry:
        """Sort edges into slots; spherical harmonics and Bessel basis once for all layers."""
        from propensity.kernels.simd import LANES

        radial, l_max = convolution.radial, convolution.layout.l_max
        vectors = graph.edge_vec.to(radial.linear_in.weight.dtype)
        slots = make_slots(graph.edge_index, len(graph.types))
        harmonics = _harmonics(l_max, vectors.dtype, vectors.device)(vectors)
        idle = harmonics.new_zeros(slots.n, harmonics.shape[1])
        ordered = idle.index_copy(0, slots.slot_of_edge, harmonics)
        tiled = ordered.view(-1, LANES, harmonics.shape[1]).transpose(1, 2).contiguous()
        basis = bessel_basis(torch.linalg.vector_norm(vectors, dim=1), radial.n_basis, radial.cutoff)
        return Geometry(slots, tiled, basis)

    def convolve(
        self, convolution: Convolution, hidden: torch.Tensor, scalars: torch.Tensor, geometry: Geometry
    ) -> torch.Tensor:
        """Tensor product and sum over neighbours in tiles, then mixing."""
        layout, radial = convolution.layout, convolution.radial
        features = torch.cat([hidden, scalars], dim=1)
        summed = _TensorProduct.apply(
            layout, geometry.slots, radial, features, geometry.harmonics, geometry.basis, *_parameters(radial)
        )
        return mix(convolution, summed)


def _parameters(radial: Any) -> tuple[torch.Tensor, ...]:
    inner, norm, outer = radial.linear_in, radial.norm, radial.linear_out
    return inner.weight, inner.bias, norm.weight, norm.bias, outer.weight, outer.bias


class _TensorProduct(torch.autograd.Function):
    """Σ_j φ(r) · (Y ⊗ h_j), shape (N, Σ_l rows(l)·(2l+1)), in the order of ``layout.paths``.

    The hidden units of the radial MLP are computed again going backward: only dropout's mask is kept.
    """

    @staticmethod
    def forward(
        ctx: Any, layout: ConvolutionLayout, slots: Slots, radial: Any, *tensors: torch.Tensor
    ) -> torch.Tensor:
        cpu_loops = _loops()
        features, harmonics, basis, *_, weight, bias = (t.detach().contiguous() for t in tensors)
        ctx.layout, ctx.slots, ctx.radial = layout, slots, radial
        ctx.mask = radial.dropout_mask(basis)
        ctx.save_for_backward(features, harmonics, tensors[2])
        units = radial.drop(radial.normalised(basis), ctx.mask)
        tables = _tables(layout, features.dtype)
        width = sum(layout.rows(l) * (2 * l + 1) for l in range(layout.l_max + 1))
        summed = features.new_zeros(len(features), width)
        buffer = _buffer(slots, weight)
        for first, last in slots.chunks():
            radial, _ = _radial(slots, units, weight, buffer, first, last)
            cpu_loops.forward(
                tables, features.numpy(), harmonics.numpy(), slots.source, slots.node, slots.rows, first, last,
                radial.numpy(), bias.numpy(), summed.numpy(),
            )  # fmt: skip
        return summed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        cpu_loops = _loops()
        features, harmonics, basis = ctx.saved_tensors
        slots: Slots = ctx.slots
        parameters = _parameters(ctx.radial)
        weight, bias = (t.detach() for t in parameters[4:])
        with torch.enable_grad():
            basis = basis.detach().requires_grad_(ctx.needs_input_grad[5])
            again = ctx.radial.drop(ctx.radial.normalised(basis, update=False), ctx.mask)
        units = again.detach()
        grad = grad.contiguous()
        tables = _tables(ctx.layout, features.dtype)
        grad_edges = features.new_zeros(slots.n, features.shape[1])
        grad_harmonics = (
            torch.zeros_like(harmonics) if ctx.needs_input_grad[4] else harmonics.new_zeros(0, 0, 0)
        )
        grad_units = units.new_zeros(slots.n, units.shape[1])
        grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        buffer = _buffer(slots, weight)
        for first, last in slots.chunks():
            radial, chunk_units = _radial(slots, units, weight, buffer, first, last)
            cpu_loops.backward(
                tables, features.numpy(), harmonics.numpy(), slots.source, slots.node, slots.rows, first, last,
                radial.numpy(), bias.numpy(), grad.numpy(), grad_edges.numpy(), grad_harmonics.numpy(),
            )  # fmt: skip
            grad_weight += radial @ chunk_units
            grad_bias += radial.sum(dim=1)
            torch.mm(radial.t(), weight, out=grad_units[_span(slots, first, last)])
        grad_features = torch.zeros_like(features)
        cpu_loops.sum_by_source(grad_edges.numpy(), slots.offsets, slots.by_source, grad_features.numpy())
        inputs = [t for t in (basis, *parameters[:4]) if t.requires_grad]
        inner = iter(torch.autograd.grad(again, inputs, grad_units[slots.slot_of_edge]) if inputs else ())
        return (
            None, None, None, grad_features, grad_harmonics if ctx.needs_input_grad[4] else None,
            *(next(inner) if t.requires_grad else None for t in (basis, *parameters[:4])), grad_weight, grad_bias,
        )  # fmt: skip


def _loops() -> Any:
    """The loops, on as many threads as torch has; numba's start would otherwise set the number of torch, too."""
    import numba

    from propensity.kernels import cpu_loops

    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return cpu_loops


def _span(slots: Slots, first: int, last: int) -> slice:
    from propensity.kernels.simd import LANES

    return slice(int(slots.rows[first]) * LANES, int(slots.rows[last]) * LANES)


def _buffer(slots: Slots, weight: torch.Tensor) -> torch.Tensor:
    """Room for the radial weights of the largest chunk."""
    spans = [_span(slots, *chunk) for chunk in slots.chunks()]
    return weight.new_empty(len(weight) * max((s.stop - s.start for s in spans), default=0))


def _radial(
    slots: Slots, units: torch.Tensor, weight: torch.Tensor, buffer: torch.Tensor, first: int, last: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """W·units of a chunk, shape (n_comb, slots), and its units, shape (slots, hidden)."""
    chunk = units[slots.edge_of_slot[_span(slots, first, last)]]
    out = buffer[: len(weight) * len(chunk)].view(len(weight), len(chunk))
    return torch.mm(weight, chunk.t(), out=out), chunk


@lru_cache(maxsize=64)
def _tables(layout: ConvolutionLayout, dtype: torch.dtype) -> Any:
    from propensity.kernels.cpu_loops import make_tables

    return make_tables(layout, np.float32 if dtype == torch.float32 else np.float64)


KERNEL = CPUKernel()
