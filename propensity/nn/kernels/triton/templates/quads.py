"""Loads and stores of four numbers a thread, in Triton alone."""

# mypy: ignore-errors
# Read as text, never imported: Triton compiles it together with the kernels of a layout.

import triton
import triton.language as tl


@triton.jit
def _index(pointer, live):
    """A 32-bit integer a thread."""
    return tl.load(pointer, mask=live, other=0)


@triton.jit
def _store(pointer, live, x):
    """A number a thread."""
    tl.store(pointer, x, mask=live)


@triton.jit
def _quad(pointer, live):
    """Four numbers a thread, as four (T,) tensors."""
    four = tl.load(pointer[:, None] + tl.arange(0, 4)[None, :], mask=live[:, None], other=0.0)
    even, odd = tl.split(tl.reshape(four, [four.shape[0], 2, 2]))
    x0, x2 = tl.split(even)
    x1, x3 = tl.split(odd)
    return x0, x1, x2, x3


@triton.jit
def _store_quad(pointer, live, x0, x1, x2, x3):
    """Inverse of _quad."""
    pairs = tl.join(tl.join(x0, x2), tl.join(x1, x3))
    tl.store(
        pointer[:, None] + tl.arange(0, 4)[None, :], tl.reshape(pairs, [x0.shape[0], 4]), mask=live[:, None]
    )
