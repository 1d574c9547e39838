"""Gradients of weights: products of what came back to a matrix and what it read, several in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from propensity.nn.gated.triton.sizes import rounded

#: Programs that fill a device, in parts of the particles, at least and at most.
PROGRAMS, FEWEST, MOST = 640, 16, 64
#: Rows that a program takes at a time, its warps and reads on the way.
ROWS, WARPS, STAGES = 64, 4, 3
#: Rows of a weight that a program finds, at most, and columns.
TALL, CHUNK = 64, 64


class Product(NamedTuple):
    """The gradient of what a matrix gave, (n, C, OUT) or (n, OUT), and what it read, (n, C, IN) or (n, IN);
    with ``bias`` the sum of the former too.
    """

    grad: torch.Tensor
    read: torch.Tensor
    bias: bool = False

    @property
    def size(self) -> int:
        """Numbers of the weight and its bias."""
        return int(self.grad.shape[-1] * (self.read.shape[-1] + self.bias))


def find_gradients(kernels: Any, products: Sequence[Product], found: torch.Tensor, half: Any) -> None:
    """Gradients (OUT, IN), each with that of a bias after it, one after the other into ``found``."""
    kinds, first, place = [], 0, 0
    for grad, read, bias in products:
        out, width = grad.shape[-1], read.shape[-1]
        chunks, tall = -(-(width + bias) // CHUNK), min(rounded(out), TALL)
        last = first + chunks * -(-out // tall)
        rows = grad.shape[1] if grad.ndim == 3 else 1
        between = grad.stride(0), out, tall, width, read.stride(-2)
        kinds.append((first, last, chunks, rows, *between, bias, place))
        first, place = last, place + out * (width + bias)
    parts = min(max(PROGRAMS // first, FEWEST), MOST)
    sums = torch.empty(parts, place, device=found.device)
    kernels.weight_gradients[(first, parts)](
        tuple(product.grad for product in products),
        tuple(product.read for product in products),
        sums,
        len(products[0].grad),
        KINDS=tuple(kinds),
        MANY=len(kinds),
        TOTAL=place,
        PARTS=parts,
        ROWS=ROWS,
        CHUNK=CHUNK,
        HALF=half,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    torch.sum(sums, 0, out=found)
