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
def _store(pointer, live, x):
    """A number a thread."""
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
