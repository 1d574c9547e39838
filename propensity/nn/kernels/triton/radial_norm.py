"""Dropout's choices and batch norm of the radial MLPs of all layers, which do not depend on features: at once."""

from __future__ import annotations

from itertools import groupby
from typing import Any, cast

import torch

from propensity.nn.kernels.triton.parameters import Packing
from propensity.nn.radial import Draws, RadialMLP

#: Edges that a program takes for the statistics.
BLOCK = 256


class RadialNorms:
    """Dropout's choices, a bit for every hidden unit, and affine maps of the batch norms of all layers."""

    def __init__(self, kernels: Any, basis: torch.Tensor, count: torch.Tensor, packing: Packing) -> None:
        self.kernels, self.basis, self.count, self.packing = kernels, basis, count, packing
        self.n = len(basis)
        self._moments: list[tuple[list[RadialMLP], torch.Tensor]] = []

    def __call__(self, radials: list[RadialMLP], packed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Bits, shape (layers, E up to whole blocks, HP/8); mean, 1/σ, scale and shift, shape (layers, 4, HP)."""
        hp, n_layers = self.packing.hp, len(radials)
        # Kernels are compiled anew for the layers that begin at an address of another alignment.
        rows = -(-self.n // BLOCK) * BLOCK
        mask = torch.empty(n_layers, rows, hp // 8, dtype=torch.uint8, device=self.basis.device)
        affine = self.basis.new_zeros(n_layers, 4, hp)
        for _, numbers in groupby(range(n_layers), lambda k: _settings(radials[k], self.n)):
            first, *_ = held = list(numbers)
            part = slice(first, first + len(held))
            if self.n:
                self._fill([radials[k] for k in held], packed[0], part, mask[part], affine[part])
        return mask, affine

    def _fill(
        self,
        radials: list[RadialMLP],
        packed: torch.Tensor,
        part: slice,
        mask: torch.Tensor,
        affine: torch.Tensor,
    ) -> None:
        """The same for layers of one kind, in ``part`` of all."""
        basis, hp, radial = self.basis, self.packing.hp, radials[0]
        hidden, blocks = radial.linear_in.out_features, -(-self.n // BLOCK)
        draws = _draws(radials, self.n, basis.device)
        values = packed, self.packing.starts[part]
        partial = basis.new_empty(len(radials), blocks, 2, hp)
        self.kernels.radial_sums[(blocks, len(radials))](
            basis,
            draws.words,
            mask,
            values,
            partial,
            self.count,
            self.n,
            B=BLOCK,
            NB=radial.n_basis,
            NBP=self.packing.nbp,
            H=hidden,
            HP=hp,
            BITS=draws.bits,
            MOST=draws.most,
            PER=draws.per_word,
        )
        keep = kept_share(radial)
        if not radial.uses_batch(self.n):
            for k, radial in enumerate(radials):
                norm = radial.norm
                mean, variance = cast("tuple[torch.Tensor, ...]", (norm.running_mean, norm.running_var))
                inverse = torch.rsqrt(variance + norm.eps)
                scale = inverse * norm.weight.detach()
                shift = norm.bias.detach() - mean * scale
                affine[k, :, :hidden] = torch.stack([mean, inverse, scale / keep, shift / keep])
            return
        moments = basis.new_empty(len(radials), 2, hp)
        self.kernels.radial_statistics[(len(radials),)](
            partial,
            values,
            (affine, moments),
            self.count,
            blocks,
            radial.norm.eps,
            keep,
            B=BLOCK,
            H=hidden,
            HP=hp,
            R=256,
            num_warps=8,
        )
        self._moments.append((radials, moments[:, :, :hidden]))

    def update_running(self) -> None:
        """Move the running statistics towards what the last call found."""
        for radials, moments in self._moments:
            running = [
                getattr(each.norm, name) for each in radials for name in ("running_mean", "running_var")
            ]
            torch._foreach_lerp_(running, list(moments.flatten(0, 1).unbind()), radials[0].norm.momentum)


def _draws(radials: list[RadialMLP], n_edges: int, device: torch.device) -> Draws:
    """Dropout's draws of layers of one kind, (layers, E, words); without dropout such that every unit stays."""
    found = [draws for radial in radials if (draws := radial.dropout_draws(n_edges, device))]
    if found:
        return found[0]._replace(words=torch.stack([draws.words for draws in found]))
    shape = len(radials), n_edges, -(-radials[0].linear_in.out_features // 30)
    return Draws(torch.zeros(shape, dtype=torch.int32, device=device), 1, 1)


def kept_share(radial: RadialMLP) -> float:
    """Share of the hidden units that dropout keeps."""
    return 1.0 if radial.dropout.p == 0 or not radial.training else 1 - radial.dropout.p


def _settings(radial: RadialMLP, n_edges: int) -> tuple[Any, ...]:
    return radial.uses_batch(n_edges), kept_share(radial), radial.norm.momentum, radial.norm.eps
