"""Equivariant batch norm of the CPU kernel, forward and backward, in loops over particles.

e3nn's does the same in some forty operations of torch, most of the time of which is their start.

Symbols
-------
========  ============================================================  ===========
letter    meaning                                                       shape
========  ============================================================  ===========
x         features: scalars, then 2l+1 columns for each channel of l    (N, dim)
centre    mean of each scalar, 0 for other columns                      (dim,)
variance  mean square about the centre, over particles and components   (channels,)
inverse   1/√(variance + eps)                                           (channels,)
grad      gradient of what went out                                     (N, dim)
along     Σ grad · (x − centre), over particles and components          (channels,)
partial   sums of each block of particles                               (blocks, 2, dim)
========  ============================================================  ===========
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from propensity.compiling import njit
from propensity.threads import blocks_of, share


class Normalise(torch.autograd.Function):
    """:class:`e3nn.nn.BatchNorm`, whose running statistics move as its own."""

    @staticmethod
    def forward(
        ctx: Any, norm: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Features about their centre, over their spread, times weight, plus bias; shape (N, dim)."""
        ctx.batch, ctx.columns = norm.training, _columns(tuple((mul, d) for mul, d, _ in norm.irs))
        starts, sizes = ctx.columns
        data, n, n_scalars = x.numpy(), len(x), len(bias)
        ctx.centre = np.zeros(x.shape[1], data.dtype)
        if ctx.batch:
            ctx.centre[:n_scalars] = _sums(_squares, data, ctx.centre)[0, :n_scalars] / n
            squares = np.add.reduceat(_sums(_squares, data, ctx.centre)[1], starts)
            variance = (squares / (n * sizes)).astype(data.dtype)
            norm.running_mean.lerp_(torch.from_numpy(ctx.centre[:n_scalars]), norm.momentum)
            norm.running_var.lerp_(torch.from_numpy(variance), norm.momentum)
        else:
            ctx.centre[:n_scalars], variance = norm.running_mean.numpy(), norm.running_var.numpy()
        ctx.inverse = 1 / np.sqrt(variance + data.dtype.type(norm.eps))
        scale = np.repeat(ctx.inverse * weight.detach().numpy(), sizes)
        shift = -ctx.centre * scale
        shift[:n_scalars] += bias.detach().numpy()
        out = torch.empty_like(x)
        share(_affine, blocks_of(n), data, scale, shift, out.numpy())
        ctx.save_for_backward(x, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of features, weight and bias."""
        x, weight = (tensor.detach() for tensor in ctx.saved_tensors)
        (starts, sizes), n, centre, inverse = ctx.columns, len(x), ctx.centre, ctx.inverse
        data, given = x.numpy(), grad.contiguous().numpy()
        total, products = _sums(_slopes, given, data, centre)
        n_scalars, along = int((sizes == 1).sum()), np.add.reduceat(products, starts)
        factors = np.zeros((3, len(centre)), data.dtype)
        factors[0] = np.repeat(inverse * weight.numpy(), sizes)
        if ctx.batch:
            # What mean and variance of the batch take away.
            factors[1] = -np.repeat(weight.numpy() * inverse**3 * along / (n * sizes), sizes)
            factors[2] = -factors[1] * centre
            factors[2, :n_scalars] -= factors[0, :n_scalars] * total[:n_scalars] / n
        out = torch.empty_like(x)
        share(_combine, blocks_of(n), given, data, factors, out.numpy())
        return None, out, torch.from_numpy(along * inverse), torch.from_numpy(total[:n_scalars])


@lru_cache(maxsize=64)
def _columns(irreps: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """First column of each channel, and number of its columns."""
    sizes = np.repeat([d for _, d in irreps], [mul for mul, _ in irreps])
    return np.cumsum(sizes) - sizes, sizes


def _sums(function: Any, first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Two sums over particles of each column, (2, dim), in an order that no number of threads changes."""
    partial = np.empty((blocks_of(len(first)), 2, first.shape[1]), first.dtype)
    share(function, len(partial), first, *others, partial)
    return cast("np.ndarray", partial.sum(axis=0))


@njit(nogil=True)
def _squares(first, last, blocks, x, centre, partial):  # type: ignore[no-untyped-def]
    """Σ (x − centre) and Σ (x − centre)².

    Reads   x, centre.
    Writes  partial.
    One call is a range of blocks of particles.
    """
    for block in range(first, last):
        partial[block] = 0
        for i in range(len(x) * block // blocks, len(x) * (block + 1) // blocks):
            for f in range(x.shape[1]):
                away = x[i, f] - centre[f]
                partial[block, 0, f] += away
                partial[block, 1, f] += away * away


@njit(nogil=True)
def _slopes(first, last, blocks, grad, x, centre, partial):  # type: ignore[no-untyped-def]
    """Σ grad and Σ grad · (x − centre).

    Reads   grad, x, centre.
    Writes  partial.
    One call is a range of blocks of particles.
    """
    for block in range(first, last):
        partial[block] = 0
        for i in range(len(x) * block // blocks, len(x) * (block + 1) // blocks):
            for f in range(x.shape[1]):
                partial[block, 0, f] += grad[i, f]
                partial[block, 1, f] += grad[i, f] * (x[i, f] - centre[f])


@njit(nogil=True)
def _affine(first, last, blocks, x, scale, shift, out):  # type: ignore[no-untyped-def]
    """Write scale · x + shift.

    Reads   x, scale and shift (dim,).
    Writes  out (N, dim).
    One call is a range of blocks of particles.
    """
    for i in range(len(x) * first // blocks, len(x) * last // blocks):
        for f in range(x.shape[1]):
            out[i, f] = scale[f] * x[i, f] + shift[f]


@njit(nogil=True)
def _combine(first, last, blocks, grad, x, factors, out):  # type: ignore[no-untyped-def]
    """Write factors · (grad, x, 1).

    Reads   grad, x, factors (3, dim).
    Writes  out (N, dim).
    One call is a range of blocks of particles.
    """
    for i in range(len(x) * first // blocks, len(x) * last // blocks):
        for f in range(x.shape[1]):
            out[i, f] = factors[0, f] * grad[i, f] + factors[1, f] * x[i, f] + factors[2, f]
