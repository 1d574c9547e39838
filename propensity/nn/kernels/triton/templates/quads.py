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
def _number(pointer, live):
    """A number a thread."""
    return tl.load(pointer, mask=live, other=0.0)


@triton.jit
def _store(pointer, live, x):
    """Inverse of _number."""
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


@triton.jit
def _ahead(pointer, live):
    """Ask for the line of the first-level cache where a number lies."""
    pass


@triton.jit
def _partner(x, BIT: tl.constexpr):
    """X of the thread whose place differs in one bit."""
    return tl.gather(x, tl.arange(0, x.shape[0]) ^ BIT, axis=0)


@triton.jit
def _mma(a, b, c):
    """Product of 16×8 by 8×8 numbers by each warp, as ``fragments.py`` says, plus c."""
    threads: tl.constexpr = a[0].shape[0]
    warps: tl.constexpr = threads // 32
    b0 = tl.reshape(b[0], [warps, 1, 8, 4])
    b1 = tl.reshape(b[1], [warps, 1, 8, 4])
    upper = tl.reshape(a[0], [warps, 8, 1, 4]) * b0 + tl.reshape(a[2], [warps, 8, 1, 4]) * b1
    lower = tl.reshape(a[1], [warps, 8, 1, 4]) * b0 + tl.reshape(a[3], [warps, 8, 1, 4]) * b1
    d0, d1 = tl.split(tl.reshape(tl.sum(upper, axis=3), [threads, 2]))
    d2, d3 = tl.split(tl.reshape(tl.sum(lower, axis=3), [threads, 2]))
    return c[0] + d0, c[1] + d1, c[2] + d2, c[3] + d3


@triton.jit
def _mma_halves(a, b, c):
    """Product of 16×16 by 16×8 numbers in half precision by each warp, as ``fragments.py`` says, plus c."""
    for shift in tl.static_range(0, 32, 16):
        rows = _half_of(a[0], shift), _half_of(a[1], shift), _half_of(a[2], shift), _half_of(a[3], shift)
        c = _mma(rows, (_half_of(b[0], shift), _half_of(b[1], shift)), c)
    return c


@triton.jit
def _halves(x0, x1):
    """Both numbers in half precision in one 32-bit number, the first below, and 2048 times what that leaves."""
    h0 = x0.to(tl.float16)
    h1 = x1.to(tl.float16)
    rest0 = ((x0 - h0.to(tl.float32)) * 2048.0).to(tl.float16)
    rest1 = ((x1 - h1.to(tl.float32)) * 2048.0).to(tl.float16)
    return _joined(h0, h1), _joined(rest0, rest1)


@triton.jit
def _joined(lower, upper):
    lower = lower.to(tl.int16, bitcast=True).to(tl.int32) & 65535
    return lower | (upper.to(tl.int16, bitcast=True).to(tl.int32) << 16)


@triton.jit
def _half_of(x, SHIFT: tl.constexpr):
    return (x >> SHIFT).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def _bits(x):
    """The same bits as an integer."""
    return x.to(tl.int32, bitcast=True)
