"""Vectors of 16 numbers inside numba functions, so that loops over lanes become SIMD instructions for certain.

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
        super().__init__(dmm, fe_type, _llvm(fe_type.dtype))


def _llvm(dtype: types.Float) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType(), LANES)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    address = builder.gep(data, [index])
    return builder.bitcast(address, _llvm(array_type.dtype).as_pointer())


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """LANES numbers of a flat contiguous array from ``index``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *args)
        value = builder.load(pointer, typ=_llvm(signature.args[0].dtype))
        value.align = signature.args[0].dtype.bitwidth // 8
        return value

    return Vector(array.dtype)(array, types.intp), build


@intrinsic
def store(typingctx: Any, array: Any, index: Any, vector: Any) -> Any:
    """Write a vector to a flat contiguous array at ``index``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], pointer).align = signature.args[0].dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), build


@intrinsic
def splat(typingctx: Any, array: Any, value: Any) -> Any:
    """One number in every lane, of the dtype of ``array``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = _llvm(signature.args[0].dtype)
        first = builder.insert_element(
            ir.Constant(kind, ir.Undefined), args[1], ir.Constant(ir.IntType(32), 0)
        )
        return builder.shuffle_vector(
            first,
            ir.Constant(kind, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
        )

    return Vector(array.dtype)(array, array.dtype), build


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = _llvm(signature.return_type.dtype)
        bits = signature.return_type.dtype.bitwidth
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{LANES}f{bits}"
        )
        return builder.call(function, args)

    return a(a, a, a), build


@intrinsic
def mul(typingctx: Any, a: Any, b: Any) -> Any:
    """a·b."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return a(a, a), build


@intrinsic
def add(typingctx: Any, a: Any, b: Any) -> Any:
    """A + b."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return a(a, a), build


@intrinsic
def where_positive(typingctx: Any, a: Any, b: Any) -> Any:
    """B where a > 0, else 0."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        zero = ir.Constant(_llvm(signature.return_type.dtype), [0.0] * LANES)
        return builder.select(builder.fcmp_ordered(">", args[0], zero), args[1], zero)

    return a(a, a), build
