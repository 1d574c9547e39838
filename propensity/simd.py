"""Vectors of 16 numbers inside numba functions, so that loops over lanes become SIMD instructions for
certain.

LLVM splits them into the widest registers that the processor has.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16


class Vector(types.Type):
    """Numba type of a vector of LANES floats."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector{LANES}({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, llvm_vector(fe_type.dtype))


def llvm_vector(dtype: types.Float) -> ir.VectorType:
    """LANES numbers of a numba float type, in LLVM."""
    return ir.VectorType(ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType(), LANES)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c of LLVM vectors, in one instruction where there is one."""
    kind = a.type
    bits = 32 if kind.element == ir.FloatType() else 64
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{LANES}f{bits}"
    )
    return builder.call(function, [a, b, c])


def _data(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def read_vector(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """LANES numbers of a flat contiguous array from an index, in LLVM."""
    pointer = builder.gep(_data(context, builder, array_type, array), [index])
    kind = llvm_vector(array_type.dtype)
    value = builder.load(builder.bitcast(pointer, kind.as_pointer()), typ=kind)
    value.align = array_type.dtype.bitwidth // 8
    return value


def number_at(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """One number of a flat contiguous array, in LLVM."""
    return builder.load(builder.gep(_data(context, builder, array_type, array), [index]))


def write_vector(context: Any, builder: Any, array_type: Any, array: Any, index: Any, value: Any) -> None:
    """Write an LLVM vector there."""
    pointer = builder.gep(_data(context, builder, array_type, array), [index])
    pointer = builder.bitcast(pointer, value.type.as_pointer())
    builder.store(value, pointer).align = array_type.dtype.bitwidth // 8


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """LANES numbers of a flat contiguous array from ``index``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return read_vector(context, builder, signature.args[0], *args)

    return Vector(array.dtype)(array, types.intp), build


@intrinsic
def store(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to a flat contiguous array at ``index``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        write_vector(context, builder, signature.args[0], *args)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), build


def splatted(builder: Any, value: Any) -> Any:
    """One number in every lane, in LLVM."""
    undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, zeros)


@intrinsic
def splat(typingctx: Any, array: Any, value: Any) -> Any:
    """One number in every lane, of the dtype of ``array``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return splatted(builder, args[1])

    return Vector(array.dtype)(array, array.dtype), build


@intrinsic
def spread(typingctx: Any, array: Any, index: Any) -> Any:
    """One number of a flat contiguous array in every lane."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return splatted(builder, number_at(context, builder, signature.args[0], *args))

    return Vector(array.dtype)(array, types.intp), build


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return multiply_add(builder, *args)

    return a(a, a, a), build


@intrinsic
def mul(typingctx: Any, a: Any, b: Any) -> Any:
    """a·b."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return a(a, a), build


@intrinsic
def add(typingctx: Any, a: Any, b: Any) -> Any:
    """Sum a + b of two vectors."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return a(a, a), build


@intrinsic
def divide(typingctx: Any, a: Any, b: Any) -> Any:
    """Quotient a / b of two vectors."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return a(a, a), build


def _unary(name: str) -> Any:
    @intrinsic
    def function(typingctx: Any, a: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = args[0].type
            wanted = f"llvm.{name}.v{LANES}f{32 if kind.element == ir.FloatType() else 64}"
            called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), wanted)
            return builder.call(called, [args[0]])

        return a(a), build

    return function


#: Square root, and the nearest integer below, of each lane.
root, floor = _unary("sqrt"), _unary("floor")


@intrinsic
def store_as(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """:func:`store` in the precision of the array."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, value = llvm_vector(signature.args[0].dtype), args[2]
        if kind != value.type:
            value = builder.fptrunc(value, kind)
        write_vector(context, builder, signature.args[0], args[0], args[1], value)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), build


def keep_positive(builder: Any, a: Any, b: Any) -> Any:
    """Values of b where a > 0, else 0, of LLVM vectors."""
    zero = ir.Constant(a.type, [0.0] * LANES)
    return builder.select(builder.fcmp_ordered(">", a, zero), b, zero)


@intrinsic
def where_positive(typingctx: Any, a: Any, b: Any) -> Any:
    """Values of b where a > 0, else 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return keep_positive(builder, *args)

    return a(a, a), build


@intrinsic
def where_bits(typingctx: Any, bits: Any, vector: Any) -> Any:
    """The lanes whose bits are set in a 16-bit integer, 0 in the others."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        chosen = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), LANES))
        return builder.select(chosen, args[1], ir.Constant(args[1].type, [0.0] * LANES))

    return vector(types.uint16, vector), build


@intrinsic
def bits_below(typingctx: Any, array: Any, index: Any, shift: Any, full: Any, most: Any) -> Any:
    """Bit of each of LANES 32-bit integers from ``index`` whose part ``>> shift & full`` is less than
    ``most``.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.IntType(32), LANES)
        pointer = builder.gep(_data(context, builder, signature.args[0], args[0]), [args[1]])
        value = builder.load(builder.bitcast(pointer, kind.as_pointer()), typ=kind)
        value.align = 4
        shift, full, most = (splatted(builder, builder.trunc(number, ir.IntType(32))) for number in args[2:])
        part = builder.and_(builder.lshr(value, shift), full)
        return builder.bitcast(builder.icmp_unsigned("<", part, most), ir.IntType(16))

    return types.uint16(array, types.intp, types.intp, types.intp, types.intp), build


def lesser(builder: Any, a: Any, b: Any) -> Any:
    """The smaller one of each lane, of LLVM vectors."""
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


@intrinsic
def smaller(typingctx: Any, a: Any, b: Any) -> Any:
    """The smaller one of each lane."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return lesser(builder, *args)

    return a(a, a), build


@intrinsic
def below(typingctx: Any, a: Any, b: Any) -> Any:
    """Bit of each lane in which a < b."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fcmp_ordered("<", *args), ir.IntType(LANES))

    return types.uint16(a, a), build


def _of_bits(counted: Any) -> Any:
    @intrinsic
    def function(typingctx: Any, bits: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return counted(builder, args[0])

        return types.intp(types.intp), build

    return function


#: Number of bits that are set, and place of the lowest of them, if there is one.
ones = _of_bits(lambda builder, bits: builder.ctpop(bits))
lowest = _of_bits(lambda builder, bits: builder.cttz(bits, ir.Constant(ir.IntType(1), 1)))


def _across(joined: Any) -> Any:
    @intrinsic
    def function(typingctx: Any, vector: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value, half = args[0], LANES // 2
            while half:
                shifted = [k ^ half for k in range(LANES)]
                order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), shifted)
                value = joined(builder, value, builder.shuffle_vector(value, value, order))
                half //= 2
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return vector.dtype(vector), build

    return function


#: Sum over lanes, and the smallest of them.
lane_sum, lane_min = _across(lambda builder, a, b: builder.fadd(a, b)), _across(lesser)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """LANES vectors as the columns of a square: log₂ LANES rounds of interleaving row i with row i +
    LANES/2.
    """
    half, index = LANES // 2, ir.VectorType(ir.IntType(32), LANES)
    lower = ir.Constant(index, [k // 2 + LANES * (k % 2) for k in range(LANES)])
    upper = ir.Constant(index, [half + k // 2 + LANES * (k % 2) for k in range(LANES)])
    for _ in range(LANES.bit_length() - 1):
        pairs = list(zip(rows[:half], rows[half:], strict=True))
        rows = [builder.shuffle_vector(a, b, order) for a, b in pairs for order in (lower, upper)]
    return rows


def _row_indices(
    context: Any, builder: Any, rows_type: Any, rows: Any, first: Any, stride: Any, column: Any
) -> Any:
    data = _data(context, builder, rows_type, rows)
    for lane in range(LANES):
        row = builder.load(builder.gep(data, [builder.add(first, ir.Constant(first.type, lane))]))
        yield builder.add(builder.mul(row, stride), column)


@intrinsic
def gather(
    typingctx: Any, table: Any, rows: Any, first: Any, stride: Any, column: Any, out: Any, at: Any
) -> Any:
    """Columns ``column``.. of LANES rows of a table, rows[first..]: column k to vector ``at`` + k·LANES of
    ``out``.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, rows, first, stride, column, out, at = args
        indices = _row_indices(context, builder, signature.args[1], rows, first, stride, column)
        found = [read_vector(context, builder, signature.args[0], table, index) for index in indices]
        for k, vector in enumerate(_transposed(builder, found)):
            place = builder.add(at, ir.Constant(at.type, k * LANES))
            write_vector(context, builder, signature.args[5], out, place, vector)
        return context.get_dummy_value()

    return types.void(table, rows, types.intp, types.intp, types.intp, out, types.intp), build


def _scatter(adds: bool) -> Any:
    @intrinsic
    def function(
        typingctx: Any, vectors: Any, at: Any, table: Any, rows: Any, first: Any, stride: Any, column: Any
    ) -> Any:
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vectors, at, table, rows, first, stride, column = args
            kind, own = signature.args[2], signature.args[0]
            places = [builder.add(at, ir.Constant(at.type, k * LANES)) for k in range(LANES)]
            found = [read_vector(context, builder, own, vectors, place) for place in places]
            indices = _row_indices(context, builder, signature.args[3], rows, first, stride, column)
            for index, vector in zip(indices, _transposed(builder, found), strict=True):
                if adds:  # one row after another, since several lanes may have the same
                    vector = builder.fadd(read_vector(context, builder, kind, table, index), vector)
                write_vector(context, builder, kind, table, index, vector)
            return context.get_dummy_value()

        return types.void(vectors, types.intp, table, rows, types.intp, types.intp, types.intp), build

    return function


#: Write LANES vectors from ``at`` as columns ``column``.. of rows[first..] of a table, or add them to it.
scatter, scatter_add = _scatter(False), _scatter(True)


@intrinsic
def call(typingctx: Any, function: Any, arrays: Any, places: Any) -> Any:
    """Call the function at an address with a pointer into each flat array, at an index each."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointers = [
            builder.gep(_data(context, builder, kind, array), [place])
            for kind, array, place in zip(
                signature.args[1],
                cgutils.unpack_tuple(builder, args[1]),
                cgutils.unpack_tuple(builder, args[2]),
                strict=True,
            )
        ]
        kind = ir.FunctionType(ir.VoidType(), [pointer.type for pointer in pointers])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), pointers)
        return context.get_dummy_value()

    return types.void(types.intp, arrays, places), build
