"""All parameters of the layers in one vector in the order of the kernels, and their gradients back: once a
step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from propensity.nn.kernels.base import Stack
from propensity.nn.kernels.triton.shapes import Shapes, shapes_of
from propensity.nn.layout import ConvolutionLayout

#: Numbers to which every part of a vector is aligned, so that kernels read 16 bytes at a time.
ALIGNMENT = 32


class Values(NamedTuple):
    """Parameters of one layer as the kernels read them."""

    weight_in: torch.Tensor
    bias_in: torch.Tensor
    gamma: torch.Tensor
    beta: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    norm_weight: torch.Tensor
    norm_bias: torch.Tensor
    mix_forward: torch.Tensor
    mix_backward: torch.Tensor
    weight_back: (
        torch.Tensor
    )  # ``weight`` as matrix units want it going backward; empty where they are not used


class Gradients(NamedTuple):
    """Where the kernels write the gradients of one layer; ``edges`` holds ``outer``, ``inner`` and
    ``mix``.
    """

    edges: torch.Tensor
    units: torch.Tensor  # Σ g and Σ g·x̂ of the hidden units: beta and gamma
    norm: torch.Tensor  # Σ g and Σ g·û of the features: bias and weight of the equivariant batch norm


class GradientSizes(NamedTuple):
    """Numbers a layer has in ``Gradients.edges``: last radial layer, first radial layer, mixing matrices."""

    outer: int
    inner: int
    mix: int


class Packing:
    """Index maps of a network's layers on one device.

    Parameters of a layer come in the order ``linear_in`` (weight, bias), ``norm`` of the radial MLP,
    ``linear_out``, equivariant norm, mixing matrices.
    """

    def __init__(
        self, layouts: tuple[ConvolutionLayout, ...], n_basis: int, hidden: int, device: torch.device
    ) -> None:
        self.hp, self.nbp = power(hidden), power(n_basis)
        self.lengths: list[int] = []  # of each parameter
        self._values: list[list[tuple[int, int]]] = []  # of each layer: start and length of each of Values
        self._gradients: list[list[tuple[int, int]]] = []
        self.sizes: list[GradientSizes] = []
        index, scale, back, back_scale = [], [], [], []
        read = written = 0  # lengths of the vectors of values and of gradients so far
        of_layout = {layout: self._of(shapes_of(layout, device), n_basis, hidden) for layout in set(layouts)}
        for layout in layouts:
            (places, scales, lengths), sizes, spans, (found, found_scale) = of_layout[layout]
            before = sum(self.lengths)
            parts = []
            for place, factor in zip(places, scales, strict=True):
                padding = -len(place) % ALIGNMENT
                parts.append((read, len(place)))
                read += len(place) + padding
                index.append(torch.nn.functional.pad(place + before, (0, padding), value=0))
                scale.append(torch.nn.functional.pad(factor, (0, padding), value=0.0))
            self._values.append(parts)
            self.lengths += lengths
            self._gradients.append([(written + start, length) for start, length in spans])
            self.sizes.append(sizes)
            back.append(found + written)
            back_scale.append(found_scale)
            written += _aligned(sum(spans[-1]))
        self.length = written
        #: Where weight_in, bias_in, gamma and beta of each layer start.
        self.starts = torch.tensor(
            [[start for start, _ in parts[:4]] for parts in self._values], dtype=torch.int32
        )
        self.starts = self.starts.to(device)
        self._index, self._scale = torch.cat(index).to(device), torch.cat(scale).to(device)
        self._back, self._back_scale = torch.cat(back).to(device), torch.cat(back_scale).to(device)

    def _of(self, shapes: Shapes, n_basis: int, hidden: int) -> tuple[Any, ...]:
        """What layers of one layout share: their values, and sizes, spans and places of their gradients."""
        sizes = GradientSizes(
            shapes.pq * shapes.cp * 4 * (self.hp + 1), self.hp * (self.nbp + 1), shapes.mix_size
        )
        spans: list[tuple[int, int]] = []
        for length in (sum(sizes), 2 * self.hp, shapes.kinds * shapes.cp):
            spans.append((_aligned(sum(spans[-1])) if spans else 0, length))
        starts = [start for start, _ in spans]
        gradients = _gradients(shapes, n_basis, hidden, self.hp, self.nbp, sizes, starts)
        return _values(shapes, n_basis, hidden), sizes, spans, gradients

    def pack(self, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
        """All values in one row; three more with their parts, for matrix units: rounded to TF32 and the rest, and
        four numbers in half precision before 2048 times what that leaves of them.

        Weights beyond 65504, which half precision has no room for, make radial weights NaN.
        """
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        packed = flat.new_empty(4, len(self._index))
        torch.mul(flat.index_select(0, self._index), self._scale, out=packed[0])
        bits = packed.view(torch.int32)
        torch.bitwise_and(bits[0] + 4096, -8192, out=bits[1])
        torch.sub(packed[0], packed[1], out=packed[2])
        put_halves(packed[0], packed[3])
        return packed

    def values(self, packed: torch.Tensor, layer: int) -> Values:
        """Views of the values of one layer."""
        return Values(*(packed[0].narrow(0, *part) for part in self._values[layer]))

    def parts(self, packed: torch.Tensor, layer: int) -> tuple[torch.Tensor, ...]:
        """Views of parts of the values of one layer: weight as halves, weight_back rounded, and its rest."""
        weight, back = (self._values[layer][Values._fields.index(name)] for name in ("weight", "weight_back"))
        return packed[3].narrow(0, *weight), packed[1].narrow(0, *back), packed[2].narrow(0, *back)

    def gradients(self, packed: torch.Tensor, layer: int) -> Gradients:
        """Views to write the gradients of one layer to."""
        return Gradients(*(packed.narrow(0, *part) for part in self._gradients[layer]))

    def unpack(
        self, packed: torch.Tensor, parameters: Sequence[torch.Size], layers: int
    ) -> list[torch.Tensor | None]:
        """Gradient of each parameter, of the shapes given, from the vector of gradients; None after
        ``layers``.
        """
        flat = packed.index_select(0, self._back).mul_(self._back_scale)
        reached = len(self.lengths) // len(self.sizes) * layers
        parts = [part.view(shape) for part, shape in zip(flat.split(self.lengths), parameters, strict=True)]
        return [part if k < reached else None for k, part in enumerate(parts)]


def _aligned(length: int) -> int:
    return length + -length % ALIGNMENT


def put_halves(values: torch.Tensor, room: torch.Tensor) -> None:
    """Write fours of numbers as halves into as much room: see :meth:`Packing.pack`."""
    fours, halves = values.view(-1, 4), room.view(torch.float16).view(-1, 8)
    halves[:, :4] = fours
    halves[:, 4:] = (fours - halves[:, :4]) * 2048


def _values(
    shapes: Shapes, n_basis: int, hidden: int
) -> tuple[list[torch.Tensor], list[torch.Tensor], list[int]]:
    """Place among the parameters and factor of all numbers of Values, and the lengths of the parameters."""
    layout = shapes.layout
    rows, features = layout.n_comb, (layout.l_max + 1) * layout.channels
    lengths = [
        hidden * n_basis,
        hidden,
        hidden,
        hidden,
        rows * hidden,
        rows,
        features,
        layout.channels,
        *shapes.mix_lengths,
    ]
    starts = [sum(lengths[:k]) for k in range(len(lengths) + 1)]
    order = shapes.host.weights
    held = (order < rows).float()
    order = order.clamp(max=rows - 1)
    weight = (order[:, None] * hidden + torch.arange(hidden)).flatten() + starts[4]
    mixes = []
    scale = torch.cat([shapes.host.mix_scale, torch.zeros(1)])
    for place in (shapes.host.mix_forward, shapes.host.mix_backward):
        mixes.append((place.clamp(max=len(scale) - 2) + starts[8], scale[place]))
    plain = [torch.arange(lengths[k]) + starts[k] for k in (0, 1, 2, 3, 6, 7)]
    places = [*plain[:4], weight, order + starts[5], *plain[4:], *(place for place, _ in mixes)]
    ones = [torch.ones(len(place)) for place in plain]
    held_weight = held.repeat_interleave(hidden)
    scales = [*ones[:4], held_weight, held, *ones[4:], *(factor for _, factor in mixes)]
    back = shapes.weight_back(hidden)
    places.append(weight[back])
    scales.append(held_weight[back])
    return places, scales, lengths


def _gradients(
    shapes: Shapes, n_basis: int, hidden: int, hp: int, nbp: int, sizes: GradientSizes, starts: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Place in the vector of gradients and factor of every number of a layer's parameters."""
    edges, units, norm = starts
    inner, mix = edges + sizes.outer, edges + sizes.outer + sizes.inner
    h = torch.arange(hidden)
    order = shapes.host.weights_back
    channels = torch.arange(shapes.layout.channels)
    kinds = torch.arange(1, shapes.kinds)
    places = [
        (inner + h[:, None] * nbp + torch.arange(n_basis)).flatten(),
        inner + hp * nbp + h,
        units + hp + h,
        units + h,
        (edges + order[:, None] * hp + h).flatten(),
        edges + shapes.pq * shapes.cp * 4 * hp + order,
        (norm + kinds[:, None] * shapes.cp + channels).flatten(),
        norm + channels,
    ]
    factor = torch.cat([torch.ones(sum(len(place) for place in places)), shapes.host.mix_scale])
    return torch.cat([*places, mix + shapes.host.mix_gradient]), factor


def power(n: int) -> int:
    """Power of two that holds n, at least what a matrix product needs."""
    return max(1 << (n - 1).bit_length(), 16)


@lru_cache(maxsize=64)
def packing_of(
    layouts: tuple[ConvolutionLayout, ...], n_basis: int, hidden: int, device: torch.device
) -> Packing:
    """Index maps, made once."""
    return Packing(layouts, n_basis, hidden, device)


def stack_parameters(stack: Stack) -> list[torch.Tensor]:
    """Parameters of all layers in the order of :class:`Packing`."""
    found: list[torch.Tensor] = []
    for convolution, norm in stack:
        radial = convolution.radial
        found += [
            radial.linear_in.weight,
            radial.linear_in.bias,
            radial.norm.weight,
            radial.norm.bias,
            radial.linear_out.weight,
            radial.linear_out.bias,
            norm.weight,
            norm.bias,
            *convolution.mix,
        ]
    return found
