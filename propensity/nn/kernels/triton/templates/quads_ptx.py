"""Loads and stores of four numbers a thread in PTX, for NVIDIA GPUs.

Triton up to 3.9 compiles a load in a time that grows with the square of the size of the whole kernel (its pass
TritonGPUCoalesce: 200 s for ``backward`` at l_max = 5), and leaves inline assembly alone.  This file may go, and
``quads.py`` serve everywhere, once ``backward`` at l_max = 5 compiles in seconds without it.
"""

# mypy: ignore-errors
# Read as text, never imported: Triton compiles it together with the kernels of a layout.

import triton
import triton.language as tl


@triton.jit
def _index(pointer, live):
    """A 32-bit integer a thread."""
    return tl.inline_asm_elementwise(
        "mov.b32 $0, 0; @$2 ld.global.b32 $0, [$1];",
        "=&r,l,b",
        [pointer.to(tl.int64), live],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def _number(pointer, live):
    """A number a thread."""
    return tl.inline_asm_elementwise(
        "mov.f32 $0, 0f00000000; @$2 ld.global.f32 $0, [$1];",
        "=&f,l,b",
        [pointer.to(tl.int64), live],
        dtype=tl.float32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def _store(pointer, live, x):
    """Inverse of _number."""
    tl.inline_asm_elementwise(
        "@$2 st.global.f32 [$1], $3; mov.b32 $0, 0;",
        "=r,l,b,f",
        [pointer.to(tl.int64), live, x],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def _quad(pointer, live):
    """Four numbers a thread, as four (T,) tensors."""
    return tl.inline_asm_elementwise(
        "mov.f32 $0, 0f00000000; mov.f32 $1, 0f00000000; mov.f32 $2, 0f00000000; mov.f32 $3, 0f00000000; "
        "@$5 ld.global.v4.f32 {$0, $1, $2, $3}, [$4];",
        "=&f,=&f,=&f,=&f,l,b",
        [pointer.to(tl.int64), live],
        dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
        is_pure=False,
        pack=1,
    )


@triton.jit
def _store_quad(pointer, live, x0, x1, x2, x3):
    """Inverse of _quad."""
    tl.inline_asm_elementwise(
        "@$2 st.global.v4.f32 [$1], {$3, $4, $5, $6}; mov.b32 $0, 0;",
        "=r,l,b,f,f,f,f",
        [pointer.to(tl.int64), live, x0, x1, x2, x3],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def _ahead(pointer, live):
    """Ask for the line of the first-level cache where a number lies."""
    tl.inline_asm_elementwise(
        "@$2 prefetch.global.L1 [$1]; mov.b32 $0, 0;",
        "=r,l,b",
        [pointer.to(tl.int64), live],
        dtype=tl.int32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def _partner(x, BIT: tl.constexpr):
    """X of the thread whose place in the warp differs in one bit."""
    return tl.inline_asm_elementwise(
        "shfl.sync.bfly.b32 $0, $1, $2, 31, 0xffffffff;",
        "=f,f,r",
        [x, tl.full(x.shape, BIT, tl.int32)],
        dtype=tl.float32,
        is_pure=False,
        pack=1,
    )


@triton.jit
def _mma(a, b, c):
    """Product of 16×8 by 8×8 TF32 numbers by each warp, as ``fragments.py`` says, plus c."""
    return tl.inline_asm_elementwise(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
        "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
        [
            _bits(a[0]),
            _bits(a[1]),
            _bits(a[2]),
            _bits(a[3]),
            _bits(b[0]),
            _bits(b[1]),
            c[0],
            c[1],
            c[2],
            c[3],
        ],
        dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
        is_pure=True,
        pack=1,
    )


@triton.jit
def _mma_halves(a, b, c):
    """Product of 16×16 by 16×8 numbers in half precision by each warp, as ``fragments.py`` says, plus c."""
    return tl.inline_asm_elementwise(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
        "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
        [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], c[2], c[3]],
        dtype=(tl.float32, tl.float32, tl.float32, tl.float32),
        is_pure=True,
        pack=1,
    )


@triton.jit
def _halves(x0, x1):
    """Both numbers in half precision in one 32-bit number, the first below, and 2048 times what that leaves."""
    return tl.inline_asm_elementwise(
        "{ .reg .b16 l, u; .reg .f32 f, g; cvt.rn.f16x2.f32 $0, $3, $2; mov.b32 {l, u}, $0; "
        "cvt.f32.f16 f, l; cvt.f32.f16 g, u; sub.f32 f, $2, f; sub.f32 g, $3, g; "
        "mul.f32 f, f, 0f45000000; mul.f32 g, g, 0f45000000; cvt.rn.f16x2.f32 $1, g, f; }",
        "=&r,=&r,f,f",
        [x0, x1],
        dtype=(tl.int32, tl.int32),
        is_pure=True,
        pack=1,
    )


@triton.jit
def _bits(x):
    """The same bits as an integer."""
    return x.to(tl.int32, bitcast=True)
