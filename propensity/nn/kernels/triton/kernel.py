"""The network's layers on NVIDIA GPUs: Triton kernels generated for each layout.

Harmonics are recomputed where they are needed and messages never leave registers.  At inference the
radial MLP is a table over r, read with linear interpolation; in training its output exists for one
layer at a time, and only tensors of particles are kept for the backward pass.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch.utils.weak import WeakIdKeyDictionary

from propensity.nn.kernels.reference import _harmonics
from propensity.nn.kernels.triton.layer import convolve, launch, run_layers, running
from propensity.nn.kernels.triton.shapes import Shapes, shapes_of
from propensity.nn.radial import bessel_basis

#: Intervals of the table of radial weights over 0 ≤ r ≤ r_c.
TABLE = 16384
#: Particles whose sums exist at the same time at inference.
CHUNK = 1 << 19


def is_available(device: torch.device, dtype: torch.dtype) -> bool:
    """Runs in float32 on CUDA devices, and on CPUs under TRITON_INTERPRET=1, given Triton."""
    if dtype != torch.float32:
        return False
    try:
        import triton
    except ImportError:
        return False
    return device.type == "cuda" or (device.type == "cpu" and bool(triton.knobs.runtime.interpret))


class Geometry:
    """Edges sorted by destination, and where each particle's edges lie, by destination and by source."""

    def __init__(self, graph: Any, network: Any) -> None:
        radial = network.convolutions[-1].radial
        self.radial, self.l_max = radial, network.l_max
        vectors = graph.edge_vec.to(radial.linear_in.weight.dtype)
        if not (vectors.requires_grad and torch.is_grad_enabled()):
            # Geometries are kept as long as the graph's own tensor lives, so they must not hold on to it.
            vectors = vectors.detach()
        source, destination = graph.edge_index
        self.n = len(graph.types)
        if not _is_sorted(destination):
            order = torch.argsort(destination, stable=True)
            source, destination, vectors = source[order], destination[order], vectors[order]
        self.vectors, self.source = vectors, source.int()
        self._destination = destination
        self.marks = torch.arange(self.n + 1, device=vectors.device, dtype=torch.int32)
        self.rows = torch.searchsorted(destination.contiguous(), self.marks.long(), out_int32=True)
        #: Number of edges; more may follow that lead to no particle, so that shapes can stay the same.
        self.count = self.rows[-1:]
        degree = self.rows[1:] - self.rows[:-1]
        # Particles of like degree share a program; sorting within windows keeps neighbours close in memory.
        self.order = torch.argsort((self.marks[:-1] // 16384) * (1 << 20) - degree).int()
        self.edges = vectors.new_empty(len(vectors), 4)
        with torch.no_grad():
            length = torch.linalg.vector_norm(vectors, dim=1)
            torch.div(vectors, length[:, None], out=self.edges[:, :3])
            torch.mul(length, TABLE / radial.cutoff, out=self.edges[:, 3])

    @cached_property
    def destination(self) -> torch.Tensor:
        """Destination of each edge."""
        return self._destination.int()

    @cached_property
    def by_source(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Offsets of each source and the edges sorted by source."""
        ordered, order = torch.sort(self.source, stable=True)
        return torch.searchsorted(ordered, self.marks, out_int32=True), order.int()

    @cached_property
    def basis(self) -> torch.Tensor:
        """Radial basis of each edge, shape (E, n_basis)."""
        length = torch.linalg.vector_norm(self.vectors, dim=1)
        return bessel_basis(length, self.radial.n_basis, self.radial.cutoff)

    @cached_property
    def harmonics(self) -> torch.Tensor | None:
        """Spherical harmonics, wanted only for gradients with respect to positions."""
        if not (self.vectors.requires_grad and torch.is_grad_enabled()):
            return None
        return _harmonics(self.l_max, self.vectors.dtype, self.vectors.device)(self.vectors)


class TritonKernel:
    """One thread an edge (or particle) and channel; sums stay in registers."""

    name = "triton"

    def prepare(self, graph: Any, network: Any) -> Geometry:
        """Sort edges and particles, once for all layers and, as long as the graph lives, for all passes."""
        key = graph.edge_vec
        capturing = key.is_cuda and torch.cuda.is_current_stream_capturing()
        # A captured graph must hold these operations, as its inputs are overwritten between replays.
        if capturing or (key.requires_grad and torch.is_grad_enabled()):
            return Geometry(graph, network)
        stamp = (
            _version(key),
            torch.is_inference_mode_enabled(),
            graph.edge_index.data_ptr(),
            network.cutoff,
            network.config["n_basis"],
            key.dtype,
        )
        held = _GEOMETRIES.get(key)
        if held is None or held[0] != stamp:
            held = _GEOMETRIES[key] = stamp, Geometry(graph, network)
        return held[1]

    def features(self, network: Any, graph: Any) -> list[torch.Tensor]:
        """Features after each layer, in the layout of e3nn."""
        shapes = _shapes(network.convolutions[-1])
        return [shapes.unpack_features(packed) for packed in self._layers(network, graph)]

    def last_features(self, network: Any, graph: Any) -> torch.Tensor:
        """Features after the last layer, in the layout of e3nn."""
        for packed in self._layers(network, graph):
            last = packed
        return _shapes(network.convolutions[-1]).unpack_features(last)

    def _layers(self, network: Any, graph: Any) -> Iterator[torch.Tensor]:
        """Features after each layer, in the layout of the kernels."""
        geometry = self.prepare(graph, network)
        scalars = _scalars(network, graph)
        features = _first_features(network, graph, scalars)
        if network.training or torch.is_grad_enabled():
            yield from run_layers(network, geometry, scalars, features)
            return
        for convolution, norm in zip(network.convolutions, network.norms, strict=True):
            features = _infer(convolution, norm, geometry, features, scalars)
            yield features


def _scalars(network: Any, graph: Any) -> torch.Tensor:
    """Node scalars in the layout of the kernels: rows of a table, where they are species only."""
    shapes = _shapes(network.convolutions[-1])
    if network.n_extra:
        return shapes.pack_scalars(network.layer_scalars(graph))
    return shapes.one_hot.index_select(0, graph.types)


def _first_features(network: Any, graph: Any, scalars: torch.Tensor) -> torch.Tensor:
    """What the first layer reads in the layout of the kernels; ``scalars``, unread, where that is nothing."""
    if not network.offset_scale:
        return scalars
    return _shapes(network.convolutions[0]).pack_features(network.first_features(graph))


def _infer(
    convolution: Any, norm: Any, geometry: Geometry, before: torch.Tensor, scalars: torch.Tensor
) -> torch.Tensor:
    """One layer without gradients, a chunk of particles at a time."""
    shapes = _shapes(convolution)
    table, mixing, scale, shift = _folded(convolution, norm)
    after = scalars.new_empty(geometry.n, shapes.width)
    has_hidden = bool(shapes.layout.channels_in)
    for first in range(0, geometry.n, CHUNK):
        part = slice(first, min(first + CHUNK, geometry.n))
        sums = convolve(shapes, geometry, before, scalars, table, True, part)
        launch(
            shapes,
            "mix",
            part.stop - first,
            sums,
            mixing,
            before[part] if has_hidden else before,
            scale,
            shift,
            after[part],
            scale,
            part.stop - first,
            RESIDUAL=has_hidden,
            AFFINE=True,
        )
    return after


def _shapes(convolution: Any) -> Shapes:
    return shapes_of(convolution.layout, convolution.mix[0].device)


def _is_sorted(destination: torch.Tensor) -> bool:
    """True on a GPU without looking, since looking would wait for it: graphs are built sorted."""
    return destination.is_cuda or bool((destination[1:] >= destination[:-1]).all())


def _version(tensor: torch.Tensor) -> int:
    """How often a tensor was written to; inference tensors do not count."""
    return 0 if tensor.is_inference() else tensor._version


_GEOMETRIES: Any = WeakIdKeyDictionary()
_FOLDED: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()


def _folded(convolution: Any, norm: Any) -> tuple[torch.Tensor, ...]:
    """Table of radial weights before their ReLU, mixing matrices and norm, kept until a parameter changes."""
    state = [*convolution.parameters(), *convolution.buffers(), *norm.parameters(), *norm.buffers()]
    key = tuple((t.data_ptr(), _version(t)) for t in state)
    held = _FOLDED.get(convolution)
    if held is None or held[0] != key:
        shapes, radial = _shapes(convolution), convolution.radial
        weight, bias = shapes.pack_weights(radial.linear_out.weight, radial.linear_out.bias)
        r = torch.arange(TABLE + 2, device=weight.device, dtype=torch.float64) * (radial.cutoff / TABLE)
        basis = bessel_basis(r.clamp(min=radial.cutoff / TABLE), radial.n_basis, radial.cutoff)
        table = torch.addmm(bias, radial.hidden_units(basis.to(weight.dtype)), weight.t())
        scale, shift, _, _ = running(shapes, norm)
        held = key, (table, shapes.flat_mix(convolution.mix)[shapes.mix_forward], scale, shift)
        _FOLDED[convolution] = held
    return held[1]


KERNEL = TritonKernel()
