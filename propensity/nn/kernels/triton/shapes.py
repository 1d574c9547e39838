"""Index maps between the network's tensors and the layouts of the Triton kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch

from propensity.nn.kernels.triton.plan import Plan, quads
from propensity.nn.layout import ConvolutionLayout

#: Threads of a program of the kernels that work on particles.
THREADS = 128


def has_matrix_units(device: torch.device) -> bool:
    """Whether a device has those of NVIDIA's GPUs from Ampere on; the interpreter on a CPU does as they do."""
    if device.type == "cpu":
        return True
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


class Maps(NamedTuple):
    """Where the numbers of one layout of tensors lie in another; what lies nowhere points behind the last."""

    to_e3nn: torch.Tensor
    from_e3nn: torch.Tensor
    scalars: torch.Tensor
    weights: torch.Tensor
    weights_back: torch.Tensor
    mix_forward: torch.Tensor
    mix_backward: torch.Tensor
    mix_gradient: torch.Tensor
    mix_scale: torch.Tensor  # 1/√rows of every number of the mixing matrices

    def to(self, device: torch.device) -> Maps:
        """The same on a device, by one copy, since each waits for the device."""
        places = torch.cat(self[:-1]).to(device)
        return Maps._make([*places.split(list(map(len, self[:-1]))), self.mix_scale.to(device)])


class Shapes:
    """Index maps of one layout on one device, and its kernels."""

    def __init__(self, layout: ConvolutionLayout, device: torch.device) -> None:
        from propensity.nn.kernels.triton.launch import kernels

        self.layout, self.plan, self.kernels = layout, Plan(layout), kernels(layout)
        plan = self.plan
        cp = self.cp = plan.padded_channels
        self.dq, self.pq, self.nq = quads(plan.harmonics), quads(len(plan.paths)), quads(plan.scalar_blocks)
        self.width = self.dq * cp * 4
        self.sums = plan.first_sum(layout.l_max + 1) * cp * 4
        self.kinds = layout.l_max + 2
        self._has_matrix_units = has_matrix_units(device)
        #: Edges of a warp, which lie together in the radial weights.
        self.warp = max(32 // cp, 1)
        #: Particles of a program with one thread for each particle and channel.
        self.block = max(THREADS // cp, 1)

        def place(quad: int, c: int, slot: int) -> int:
            return (quad * cp + c) * 4 + slot

        features = {
            place(k // 4, c, k % 4): layout.channels * l * l + c * (2 * l + 1) + k - l * l
            for l in range(layout.l_max + 1)
            for k in range(l * l, (l + 1) ** 2)
            for c in range(layout.channels)
        }
        scalars = {place(s // cp // 4, s % cp, s // cp % 4): s for s in range(layout.n_scalars)}
        weights = {
            place(path.index // 4, c, path.index % 4): row
            for path in plan.paths
            for c, row in enumerate(path.weights)
        }
        rows_of = [layout.rows(l) for l in range(layout.l_max + 1)]
        self.mix_size = plan.first_mixing(layout.l_max + 1) * cp * 4 * cp
        self.mix_lengths = [rows * layout.channels for rows in rows_of]
        scale = [
            torch.full((n,), 1 / math.sqrt(rows)) for n, rows in zip(self.mix_lengths, rows_of, strict=True)
        ]
        #: The maps where parameters are packed from, and the same on the device.
        self.host = Maps(
            _inverse(features),
            _index(self.width, features, layout.dim_out),
            _index(self.nq * cp * 4, scalars, layout.n_scalars),
            _index(self.pq * cp * 4, weights, layout.n_comb),
            _inverse(weights),
            *self._mixing(),
            torch.cat(scale),
        )
        self.maps = self.host.to(device)

    def weight_back(self, hidden: int) -> torch.Tensor:
        """Places in the last radial layer's (width, hidden) of what each thread of a warp reads for a product with
        a pair of paths (see templates/fragments.py): four numbers, of both paths' columns and two hidden units.
        """
        if not self.in_matrix_units(hidden):
            return torch.zeros(0, dtype=torch.int64)
        pair, thread, path, half = torch.meshgrid(*map(torch.arange, (2 * self.pq, 32, 2, 2)), indexing="ij")
        column = pair // 2 * 16 + thread % 4 * 4 + pair % 2 * 2 + path
        return (column * hidden + thread // 4 + 8 * half).flatten()

    def in_matrix_units(self, hidden: int) -> bool:
        """Whether kernels make radial weights themselves: see :attr:`Plan.in_matrix_units`."""
        return self.plan.in_matrix_units and hidden == 16 and self._has_matrix_units

    def _mixing(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Places of the mixing matrices: forward, backward and of their gradients."""
        plan, cp, channels = self.plan, self.cp, self.layout.channels
        total, n = plan.first_mixing(self.layout.l_max + 1), sum(self.mix_lengths)
        forward, backward = torch.full((2, self.mix_size), n)
        gradient = torch.empty(n, dtype=torch.int64)
        out = torch.arange(channels)
        for path in plan.paths:
            quad, slot = plan.first_mixing(path.l_out) + path.rank // 4, path.rank % 4
            rows = torch.tensor(path.rows)[:, None]
            c = torch.arange(len(rows))[:, None]
            held = sum(self.mix_lengths[: path.l_out]) + rows * channels + out
            forward[((quad * cp + c) * cp + out) * 4 + slot] = held
            backward[((out * total + quad) * cp + c) * 4 + slot] = held
            gradient[held] = ((quad * cp + c) * 4 + slot) * cp + out
        return forward, backward, gradient

    def pack_features(self, hidden: torch.Tensor) -> torch.Tensor:
        """(N, dim_out) as in e3nn → (N, width)."""
        return _pad(hidden, 1)[:, self.maps.from_e3nn]

    def unpack_features(self, packed: torch.Tensor) -> torch.Tensor:
        """(N, width) → (N, dim_out) as in e3nn."""
        return cast("torch.Tensor", _Chosen.apply(packed, self.maps.to_e3nn, self.maps.from_e3nn))

    def pack_scalars(self, scalars: torch.Tensor) -> torch.Tensor:
        """(N, n_scalars) → (N, NQ·CP·4)."""
        return _pad(scalars, 1)[:, self.maps.scalars]

    def pack_weights(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of the last radial layer in the order of the kernels."""
        return _pad(weight, 0)[self.maps.weights], _pad(bias, 0)[self.maps.weights]

    def flat_mix(self, mix: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mixing matrices with 1/√rows, in one vector that ends with a zero."""
        flat = torch.cat([weight.detach().flatten() for weight in mix]) * self.maps.mix_scale
        return _pad(flat, 0)


class _Chosen(torch.autograd.Function):
    """Columns of a matrix; the way back reads columns too, where adding to them would sort first."""

    @staticmethod
    def forward(ctx: Any, matrix: torch.Tensor, columns: torch.Tensor, back: torch.Tensor) -> torch.Tensor:
        ctx.back = back
        return matrix.index_select(1, columns)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _pad(grad, 1).index_select(1, ctx.back), None, None


def _index(n: int, places: dict[int, int], nothing: int) -> torch.Tensor:
    table = torch.full((n,), nothing, dtype=torch.int64)
    table[torch.tensor(list(places), dtype=torch.int64)] = torch.tensor(
        list(places.values()), dtype=torch.int64
    )
    return table


def _inverse(places: dict[int, int]) -> torch.Tensor:
    held = {value: place for place, value in places.items()}
    return torch.tensor([held[k] for k in range(len(held))], dtype=torch.int64)


def _pad(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """One more row or column, of zeros, for places that hold nothing."""
    shape = list(tensor.shape)
    shape[dim] = 1
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)


@lru_cache(maxsize=64)
def shapes_of(layout: ConvolutionLayout, device: torch.device) -> Shapes:
    """Index maps, made once."""
    return Shapes(layout, device)
