"""The network's layers on NVIDIA GPUs: Triton kernels generated for each layout.

Harmonics are recomputed where they are needed and messages never leave registers.  At inference the
radial MLP is a table over r, read with linear interpolation: of its output, or, with four channels, of its
hidden units, and a layer is one kernel.  In training its output exists for one layer at a time, or, with four
channels, in registers alone, and only tensors of particles are kept for the backward pass.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.weak import WeakIdKeyDictionary

from propensity.nn.kernels.base import Stack
from propensity.nn.kernels.triton.edge_pass import convolve, infer_layer
from propensity.nn.kernels.triton.geometry import TABLE, TritonGeometry
from propensity.nn.kernels.triton.layer import launch, run_layers, running_norm
from propensity.nn.kernels.triton.parameters import put_halves
from propensity.nn.kernels.triton.shapes import Shapes, shapes_of
from propensity.nn.radial import bessel_basis

if TYPE_CHECKING:
    from propensity.graph import Graph
    from propensity.nn.convolution import Convolution

#: Particles whose sums exist at the same time at inference.
CHUNK = 1 << 19


class TritonKernel:
    """One thread an edge (or particle) and channel; sums stay in registers."""

    name = "triton"

    def is_available(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Runs in float32 on CUDA devices, and on CPUs under TRITON_INTERPRET=1, given Triton."""
        if dtype != torch.float32:
            return False
        try:
            import triton
        except ImportError:
            return False
        return device.type == "cuda" or (device.type == "cpu" and bool(triton.knobs.runtime.interpret))

    def prepare(self, graph: Graph, convolution: Convolution) -> TritonGeometry:
        """Sort edges and particles, once for all layers and, as long as the graph lives, for all passes."""
        key = graph.edge_vec
        capturing = key.is_cuda and torch.cuda.is_current_stream_capturing()
        # A captured graph must hold these operations, as its inputs are overwritten between replays.
        if capturing or (key.requires_grad and torch.is_grad_enabled()):
            return TritonGeometry(graph, convolution)
        stamp = (
            _version(key),
            torch.is_inference_mode_enabled(),
            graph.edge_index.data_ptr(),
            convolution.radial.cutoff,
            convolution.radial.n_basis,
            convolution.layout.l_max,
            key.dtype,
        )
        held = _GEOMETRIES.get(key)
        if held is None or held[0] != stamp:
            held = _GEOMETRIES[key] = stamp, TritonGeometry(graph, convolution)
        return cast("TritonGeometry", held[1])

    def layers(
        self, stack: Stack, graph: Graph, scalars: torch.Tensor, first: torch.Tensor, every: bool = False
    ) -> list[torch.Tensor]:
        """See :class:`propensity.nn.kernels.base.Kernel`."""
        shapes = _shapes(stack.last)
        packed = shapes.pack_scalars(scalars)
        # Where nothing goes into the first layer, the kernels want a tensor that they don't read.
        before = _shapes(stack.convolutions[0]).pack_features(first) if first.shape[1] else packed
        found = self._packed_layers(stack, self.prepare(graph, stack.last), packed, before)
        return [shapes.unpack_features(after) for after in (found if every else deque(found, maxlen=1))]

    def _packed_layers(
        self, stack: Stack, geometry: TritonGeometry, scalars: torch.Tensor, features: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """Features after each layer, in the layout of the kernels."""
        if stack.training or torch.is_grad_enabled():
            yield from run_layers(stack, geometry, scalars, features)
            return
        for convolution, norm in stack:
            features = _infer(convolution, norm, geometry, features, scalars)
            yield features


def _infer(
    convolution: Any, norm: Any, geometry: TritonGeometry, before: torch.Tensor, scalars: torch.Tensor
) -> torch.Tensor:
    """One layer without gradients; where a thread has no room to mix what it sums, a chunk of particles at a time."""
    shapes = _shapes(convolution)
    table, mixing, scale, shift = _folded(convolution, norm)
    if shapes.plan.mixes_sums:
        return infer_layer(shapes, geometry, before, scalars, table, mixing, (scale, shift))
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


def _version(tensor: torch.Tensor) -> int:
    """How often a tensor was written to; inference tensors do not count."""
    return 0 if tensor.is_inference() else tensor._version


_GEOMETRIES: Any = WeakIdKeyDictionary()
_FOLDED: weakref.WeakKeyDictionary[Any, tuple[Any, Any]] = weakref.WeakKeyDictionary()


def _folded(convolution: Any, norm: Any) -> tuple[Any, ...]:
    """Table of radial weights before their ReLU, or of hidden units with what makes weights of them; mixing matrices and norm, kept until a parameter changes."""
    tensors = [*convolution.parameters(), *convolution.buffers(), *norm.parameters(), *norm.buffers()]
    key = tuple((t.data_ptr(), _version(t)) for t in tensors)
    held = _FOLDED.get(convolution)
    if held is None or held[0] != key:
        shapes, radial = _shapes(convolution), convolution.radial
        weight, bias = shapes.pack_weights(radial.linear_out.weight, radial.linear_out.bias)
        r = torch.arange(TABLE + 2, device=weight.device, dtype=torch.float64) * (radial.cutoff / TABLE)
        basis = bessel_basis(r.clamp(min=radial.cutoff / TABLE), radial.n_basis, radial.cutoff)
        units, table = radial.hidden_units(basis.to(weight.dtype)), None
        if shapes.in_matrix_units(units.shape[1]):
            halves = torch.empty_like(weight)
            put_halves(weight, halves)
            table = units, halves, bias
        else:
            table = torch.addmm(bias, units, weight.t())
        scale, shift, _, _ = running_norm(shapes, norm)
        held = key, (table, shapes.flat_mix(convolution.mix)[shapes.maps.mix_forward], scale, shift)
        _FOLDED[convolution] = held
    return held[1]


KERNEL = TritonKernel()
