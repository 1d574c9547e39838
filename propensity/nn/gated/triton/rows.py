"""Triton functions that the kernels of the gated network share: rows of features, and products of matrices.

Symbols as in :mod:`propensity.nn.gated.triton`.
"""

import triton
import triton.language as tl

#: √½ and √⅙, of symmetric traceless matrices of norm 1.
ROOT = tl.constexpr(0.7071067811865476)
SIXTH = tl.constexpr(0.4082482904638631)


@triton.jit
def multiply(a, b, c):
    """a·b + c of matrices."""
    return tl.dot(a, b, c, input_precision="ieee")


@triton.jit
def put(place, found, inside):
    """Store numbers where they are inside, as what lies there is."""
    tl.store(place, found.to(place.dtype.element_ty), mask=inside)


@triton.jit
def read_rows(table, r, n, STRIDE: tl.constexpr, C: tl.constexpr, CP: tl.constexpr):
    """Rows r of a table, in float32."""
    c = tl.arange(0, CP)
    return tl.load(
        table + r[:, None] * STRIDE + c[None, :], mask=(r < n)[:, None] & (c < C)[None, :], other=0.0
    ).to(tl.float32)


@triton.jit
def put_rows(table, r, n, found, STRIDE: tl.constexpr, C: tl.constexpr, CP: tl.constexpr):
    """Write rows r of a table."""
    c = tl.arange(0, CP)
    put(table + r[:, None] * STRIDE + c[None, :], found, (r < n)[:, None] & (c < C)[None, :])


@triton.jit
def vector_rows(table, r, n, C: tl.constexpr, CP: tl.constexpr, WIDTH: tl.constexpr):
    """C of the numbers, WIDTH apart, of each of three components."""
    x, y = read_rows(table, r, n, 3 * WIDTH, C, CP), read_rows(table + WIDTH, r, n, 3 * WIDTH, C, CP)
    return x, y, read_rows(table + 2 * WIDTH, r, n, 3 * WIDTH, C, CP)


@triton.jit
def put_vector_rows(table, r, n, found, C: tl.constexpr, CP: tl.constexpr, WIDTH: tl.constexpr):
    """Write three components, as :func:`vector_rows` reads them."""
    put_rows(table, r, n, found[0], 3 * WIDTH, C, CP)
    put_rows(table + WIDTH, r, n, found[1], 3 * WIDTH, C, CP)
    put_rows(table + 2 * WIDTH, r, n, found[2], 3 * WIDTH, C, CP)


@triton.jit
def quadrupole_rows(table, r, n, C: tl.constexpr, CP: tl.constexpr, WIDTH: tl.constexpr):
    """The same of five components."""
    a, b = read_rows(table, r, n, 5 * WIDTH, C, CP), read_rows(table + WIDTH, r, n, 5 * WIDTH, C, CP)
    c, d = (
        read_rows(table + 2 * WIDTH, r, n, 5 * WIDTH, C, CP),
        read_rows(table + 3 * WIDTH, r, n, 5 * WIDTH, C, CP),
    )
    return a, b, c, d, read_rows(table + 4 * WIDTH, r, n, 5 * WIDTH, C, CP)


@triton.jit
def put_quadrupole_rows(table, r, n, found, C: tl.constexpr, CP: tl.constexpr, WIDTH: tl.constexpr):
    """Write five components, as :func:`quadrupole_rows` reads them."""
    put_rows(table, r, n, found[0], 5 * WIDTH, C, CP)
    put_rows(table + WIDTH, r, n, found[1], 5 * WIDTH, C, CP)
    put_rows(table + 2 * WIDTH, r, n, found[2], 5 * WIDTH, C, CP)
    put_rows(table + 3 * WIDTH, r, n, found[3], 5 * WIDTH, C, CP)
    put_rows(table + 4 * WIDTH, r, n, found[4], 5 * WIDTH, C, CP)


@triton.jit
def weight_forth(
    weight,
    IN: tl.constexpr,
    INP: tl.constexpr,
    OUT: tl.constexpr,
    OUTP: tl.constexpr,
    STRIDE: tl.constexpr,
    HALF: tl.constexpr,
):
    """(INP, OUTP) of a weight (OUT, IN) whose rows are STRIDE apart."""
    i, o = tl.arange(0, INP), tl.arange(0, OUTP)
    return tl.load(
        weight + o[None, :] * STRIDE + i[:, None], mask=(o < OUT)[None, :] & (i < IN)[:, None], other=0.0
    ).to(HALF)


@triton.jit
def weight_back(
    weight,
    IN: tl.constexpr,
    INP: tl.constexpr,
    OUT: tl.constexpr,
    OUTP: tl.constexpr,
    STRIDE: tl.constexpr,
    HALF: tl.constexpr,
):
    """The same transposed, (OUTP, INP)."""
    i, o = tl.arange(0, INP), tl.arange(0, OUTP)
    return tl.load(
        weight + o[:, None] * STRIDE + i[None, :], mask=(o < OUT)[:, None] & (i < IN)[None, :], other=0.0
    ).to(HALF)


@triton.jit
def times(x, w):
    """x·w in float32, of operands like w."""
    return multiply(x.to(w.dtype), w, tl.zeros([x.shape[0], w.shape[1]], tl.float32))


@triton.jit
def times_3(v, w):
    """The same of three components."""
    x, y, z = v
    return times(x, w), times(y, w), times(z, w)


@triton.jit
def times_5(v, w):
    """The same of five."""
    a, b, c, d, e = v
    return times(a, w), times(b, w), times(c, w), times(d, w), times(e, w)


@triton.jit
def inner_3(v, w):
    """Inner product of three components."""
    return v[0] * w[0] + v[1] * w[1] + v[2] * w[2]


@triton.jit
def inner_5(v, w):
    """Inner product of five components."""
    return v[0] * w[0] + v[1] * w[1] + v[2] * w[2] + v[3] * w[3] + v[4] * w[4]


@triton.jit
def scaled_3(v, f):
    """Three components times a factor."""
    return v[0] * f, v[1] * f, v[2] * f


@triton.jit
def scaled_5(v, f):
    """Five components times a factor."""
    return v[0] * f, v[1] * f, v[2] * f, v[3] * f, v[4] * f


@triton.jit
def added_3(v, w):
    """Sums of three components."""
    return v[0] + w[0], v[1] + w[1], v[2] + w[2]


@triton.jit
def added_5(v, w):
    """Sums of five components."""
    return v[0] + w[0], v[1] + w[1], v[2] + w[2], v[3] + w[3], v[4] + w[4]


@triton.jit
def read_bias(bias, first, C: tl.constexpr, CP: tl.constexpr):
    """C numbers of a row."""
    c = tl.arange(0, CP)
    return tl.load(bias + first + c, mask=c < C, other=0.0)[None, :]


@triton.jit
def read_std(std, first, C: tl.constexpr, CP: tl.constexpr):
    """The same, 1 where there is none."""
    c = tl.arange(0, CP)
    return tl.load(std + first + c, mask=c < C, other=1.0)[None, :]
