"""Parameters of a layer and their sizes, as the kernels take them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from propensity.nn.gated.layer import GatedLayer

#: Columns of results in an update.
PADDED = ("SP", "VP", "QP", "SSP", "SVP")


class Parameters(NamedTuple):
    """Those of a layer, in the order in which they are handed over."""

    send_scalars: torch.Tensor
    send_scalars_bias: torch.Tensor
    send_vectors: torch.Tensor
    to_scalars: torch.Tensor
    to_vectors: torch.Tensor
    to_quadrupoles: torch.Tensor
    factor_vectors: torch.Tensor
    factor_quadrupoles: torch.Tensor
    first: torch.Tensor
    first_bias: torch.Tensor
    second: torch.Tensor
    second_bias: torch.Tensor

    @property
    def sending(self) -> tuple[torch.Tensor, ...]:
        """Those of what is sent."""
        return self[:3]

    @property
    def mixing(self) -> tuple[torch.Tensor, ...]:
        """Those of what neighbours add, and of factors."""
        return self[3:8]


def parameters_of(layer: GatedLayer) -> Parameters:
    """All of them."""
    first, _, second = layer.update
    return Parameters(
        layer.send_scalars.weight,
        layer.send_scalars.bias,
        layer.send_vectors.weight,
        layer.to_scalars.weight,
        layer.to_vectors.weight,
        layer.to_quadrupoles.weight,
        layer.factor_vectors.weight,
        layer.factor_quadrupoles.weight,
        first.weight,  # type: ignore[arg-type]
        first.bias,  # type: ignore[arg-type]
        second.weight,  # type: ignore[arg-type]
        second.bias,  # type: ignore[arg-type]
    )


def name_of(dtype: torch.dtype) -> Any:
    """Triton's name of a type of operands."""
    import triton.language as tl

    return {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}[dtype]


def rounded(n: int) -> int:
    """The least power of two that matrix units take and that holds n."""
    return max(16, 1 << (n - 1).bit_length())


class Sizes:
    """Constants of the kernels."""

    def __init__(self, layer: GatedLayer, rows: int) -> None:
        w, b = layer.widths, layer.n_radial
        self.sent, self.both = w.sent_scalars + 3 * w.sent_vectors, b * (w.sent_scalars + w.sent_vectors)
        self.wide = self.both + layer.curved * b * w.sent_vectors
        sent = {"SS": w.sent_scalars, "SV": w.sent_vectors}
        sent |= {f"{name}P": rounded(value) for name, value in sent.items()}
        held = {"S": w.scalars, "V": w.vectors, "Q": w.quadrupoles}
        held |= {f"{name}P": rounded(value) for name, value in held.items()}
        self.edges = sent | {"B": b, "BP": rounded(b), "CURVED": layer.curved}
        products = {"P": w.products, "PP": rounded(w.products)}
        self.mix = held | {"BOTH": self.both, "WIDE": self.wide}
        self.mix |= {"F": 3 * w.products, "FP": rounded(3 * w.products)}
        self.invariants = held | products
        #: Invariants of a particle.
        self.told = 2 * w.scalars + w.vectors + w.quadrupoles + 3 * w.products
        # Where results have as many rows as columns Triton lets every warp compute all of them.
        wide = {
            name: max(value, 2 * rows) if name in PADDED else value for name, value in (held | sent).items()
        }
        self.send = {name: wide[name] for name in ("S", "V", "SS", "SV", *PADDED) if name != "QP"}
        self.update = wide | {"IN": self.told, "H": w.hidden, "HP": max(rounded(w.hidden), 2 * rows)}
        #: Rows of scalars, vectors and quadrupoles among the sums over neighbours, with their widths.
        self.parts = ((1, self.both), (3, self.wide), (5, self.both))

    def met(self, sums: torch.Tensor, n: int) -> list[torch.Tensor]:
        """The three parts of sums over neighbours of n particles, each a matrix."""
        found = sums.split([n * rows * width for rows, width in self.parts])
        return [part.view(n * rows, width) for part, (rows, width) in zip(found, self.parts, strict=True)]
