"""Equivariant batch norm of the CPU kernel, forward and backward, in loops over particles; the sum of all
gradients of features.

e3nn's does the same in some forty operations of torch, most of the time of which is their start.

Symbols
-------
========  ============================================================  ===========
letter    meaning                                                       shape
========  ============================================================  ===========
x         features: scalars, then 2l+1 columns for each channel of l,   (N+1, dim)
          then columns of zeros; a last row for idle lanes
centre    mean of each scalar, 0 for other columns                      (dim,)
variance  mean square about the centre, over particles and components   (channels,)
inverse   1/√(variance + eps)                                           (channels,)
grad      gradient of what went out                                     (N+1, F)
along     Σ grad · (x − centre), over particles and components          (channels,)
partial   sums of each block of particles                               (blocks, 2, dim)
========  ============================================================  ===========
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from propensity.compiling import njit
from propensity.threads import blocks_of, share


class Normed(NamedTuple):
    """What went into a batch norm, and what it made of it: enough to go back."""

    x: np.ndarray
    centre: np.ndarray
    inverse: np.ndarray
    weight: np.ndarray
    batch: bool  # whether mean and variance are those of these particles


class NormGradients(NamedTuple):
    """Gradients of a batch norm."""

    x: np.ndarray  # (N+1, dim), the last row 0
    weight: np.ndarray
    bias: np.ndarray


def normalise(norm: Any, x: np.ndarray, table: np.ndarray, out: np.ndarray) -> Normed:
    """Features about their centre, over their spread, times weight, plus bias, as :class:`e3nn.nn.BatchNorm`,
    whose running statistics move as its own.

    Columns of ``out`` beyond those of ``x`` are the last of ``table``, what joins every layer.
    """
    starts, sizes = _columns(tuple((mul, d) for mul, d, _ in norm.irs))
    weight, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    n, n_scalars, dim = len(x) - 1, len(bias), int(sizes.sum())
    centre, batch = np.zeros(x.shape[1], x.dtype), norm.training and n > 0
    if batch:
        centre[:n_scalars] = _sums(_squares, x, centre)[0, :n_scalars] / n
        squares = np.add.reduceat(_sums(_squares, x, centre)[1, :dim], starts)
        variance = (squares / (n * sizes)).astype(x.dtype)
        norm.running_mean.lerp_(torch.from_numpy(centre[:n_scalars]), norm.momentum)
        norm.running_var.lerp_(torch.from_numpy(variance), norm.momentum)
    else:
        centre[:n_scalars], variance = norm.running_mean.numpy(), norm.running_var.numpy()
    inverse = 1 / np.sqrt(variance + x.dtype.type(norm.eps))
    line = np.zeros((2, x.shape[1]), x.dtype)
    line[0, :dim] = np.repeat(inverse * weight, sizes)
    line[1] = -centre * line[0]
    line[1, :n_scalars] += bias
    share(_affine, blocks_of(n), x, line, table, out)
    return Normed(x, centre, inverse, weight, batch)


def normalise_backward(norm: Any, normed: Normed, grad: np.ndarray) -> NormGradients:
    """From the gradient of ``out`` of :func:`normalise` to those of ``x``, weight and bias."""
    starts, sizes = _columns(tuple((mul, d) for mul, d, _ in norm.irs))
    x, centre, inverse, weight, batch = normed
    n, n_scalars, dim = len(x) - 1, len(norm.bias), int(sizes.sum())
    total, products = _sums(_slopes, x, centre, grad)
    along = np.add.reduceat(products[:dim], starts)
    factors = np.zeros((3, len(centre)), x.dtype)
    factors[0, :dim] = np.repeat(inverse * weight, sizes)
    if batch:
        # What mean and variance of the batch take away.
        factors[1, :dim] = -np.repeat(weight * inverse**3 * along / (n * sizes), sizes)
        factors[2] = -factors[1] * centre
        factors[2, :n_scalars] -= factors[0, :n_scalars] * total[:n_scalars] / n
    out = np.empty_like(x)
    share(_combine, blocks_of(n), grad, x, factors, out)
    return NormGradients(out, along * inverse, total[:n_scalars])


@lru_cache(maxsize=64)
def _columns(irreps: tuple[tuple[int, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    """First column of each channel, and number of its columns."""
    sizes = np.repeat([d for _, d in irreps], [mul for mul, _ in irreps])
    return np.cumsum(sizes) - sizes, sizes


def _sums(function: Any, x: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Two sums over particles of each column, (2, dim), in an order that no number of threads changes."""
    partial = np.empty((blocks_of(len(x) - 1), 2, x.shape[1]), x.dtype)
    share(function, len(partial), x, *others, partial)
    return cast("np.ndarray", partial.sum(axis=0))


@njit(nogil=True)
def _squares(first, last, blocks, x, centre, partial):  # type: ignore[no-untyped-def]
    """Σ (x − centre) and Σ (x − centre)².

    Reads   x, centre.
    Writes  partial.
    One call is a range of blocks of particles.
    """
    n = len(x) - 1
    for block in range(first, last):
        partial[block] = 0
        for i in range(n * block // blocks, n * (block + 1) // blocks):
            for f in range(x.shape[1]):
                away = x[i, f] - centre[f]
                partial[block, 0, f] += away
                partial[block, 1, f] += away * away


@njit(nogil=True)
def _slopes(first, last, blocks, x, centre, grad, partial):  # type: ignore[no-untyped-def]
    """Σ grad and Σ grad · (x − centre).

    Reads   x, centre, grad.
    Writes  partial.
    One call is a range of blocks of particles.
    """
    n = len(x) - 1
    for block in range(first, last):
        partial[block] = 0
        for i in range(n * block // blocks, n * (block + 1) // blocks):
            for f in range(x.shape[1]):
                partial[block, 0, f] += grad[i, f]
                partial[block, 1, f] += grad[i, f] * (x[i, f] - centre[f])


@njit(nogil=True)
def _affine(first, last, blocks, x, line, table, out):  # type: ignore[no-untyped-def]
    """Write scale · x + shift, and what joins every layer; zeros in the last row.

    Reads   x, line: scale and shift (2, dim), table.
    Writes  out (N+1, F).
    One call is a range of blocks of particles.
    """
    n, dim = len(x) - 1, x.shape[1]
    more = out.shape[1] - dim
    skip = table.shape[1] - more
    for i in range(n * first // blocks, n * last // blocks):
        for f in range(dim):
            out[i, f] = line[0, f] * x[i, f] + line[1, f]
        for f in range(more):
            out[i, dim + f] = table[i, skip + f]
    if last == blocks:
        out[n] = 0


@njit(nogil=True)
def _combine(first, last, blocks, grad, x, factors, out):  # type: ignore[no-untyped-def]
    """Write factors · (grad, x, 1); zeros in the last row.

    Reads   grad, x, factors (3, dim).
    Writes  out (N+1, dim).
    One call is a range of blocks of particles.
    """
    n = len(x) - 1
    for i in range(n * first // blocks, n * last // blocks):
        for f in range(x.shape[1]):
            out[i, f] = factors[0, f] * grad[i, f] + factors[1, f] * x[i, f] + factors[2, f]
    if last == blocks:
        out[n] = 0


@njit(nogil=True)
def add_up(first, last, blocks, by_source, of_residual, of_scalars, out):  # type: ignore[no-untyped-def]
    """Gradients of features before a layer: sums over edges, and what goes past the convolution; zeros in
    the last row.

    Reads   by_source (blocks of tiles, N, F); of_residual (N+1, ·), that of the first columns, and
            of_scalars (N+1, ·), that of the last.
    Writes  out (N+1, F).
    One call is a range of blocks of particles.
    """
    n, n_f = by_source.shape[1:]
    for i in range(n * first // blocks, n * last // blocks):
        out[i] = 0
        out[i, : of_residual.shape[1]] = of_residual[i]
        out[i, out.shape[1] - of_scalars.shape[1] :] += of_scalars[i]
        for block in range(len(by_source)):
            for f in range(n_f):
                out[i, f] += by_source[block, i, f]
    if last == blocks:
        out[n] = 0
