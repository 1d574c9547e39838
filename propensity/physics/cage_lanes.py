"""What the restricted dynamics does with vectors of 16 replicas: pair forces, wall, noise."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from propensity.simd import LANES, Vector, llvm_vector, multiply_add

_FLOAT = llvm_vector(types.float32)
_INT = ir.VectorType(ir.IntType(32), LANES)
_VECTOR = Vector(types.float32)


def _constant(kind: Any, value: float) -> Any:
    return ir.Constant(kind, [value] * LANES)


def _spread(builder: Any, value: Any) -> Any:
    """One number in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, LANES), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INT, [0] * LANES))


def _less(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Value of c − a·b in one instruction where there is one."""
    return multiply_add(builder, builder.fneg(a), b, c)


def _inverse_root(builder: Any, square: Any) -> Any:
    """1/√: of an estimate and one step of Newton where the processor has one, since LLVM may be fast."""
    kind = ir.FunctionType(_FLOAT, [_FLOAT])
    root = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32")
    fast = builder.call(root, [square], fastmath=("fast",))
    return builder.fdiv(_constant(_FLOAT, 1.0), fast, flags=("fast",))


@intrinsic
def less(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """C − a·b."""
    return _VECTOR(a, b, c), lambda context, builder, signature, args: _less(builder, *args)


@intrinsic
def subtract(typingctx: Any, a: Any, b: Any) -> Any:
    """A − b."""
    return _VECTOR(a, b), lambda context, builder, signature, args: builder.fsub(*args)


@intrinsic
def least(typingctx: Any, vector: Any) -> Any:
    """The smallest number of all lanes."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [_FLOAT])
        reduce = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fmin.v{LANES}f32")
        return builder.call(reduce, args, fastmath=("nnan",))

    return types.float32(vector), build


@intrinsic
def pull(typingctx: Any, square: Any, cut: Any, c6: Any, c12: Any, slope: Any, held: Any) -> Any:
    """u′(r)/r at r², which is 0 beyond the squared ``cut`` and that of ``held`` at smaller r².

    It is (c6 − c12 r⁻⁶) r⁻⁸ − slope/r.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        square, cut, c6, c12, slope, held = args
        inside = builder.fcmp_ordered("<", square, cut)
        square = builder.select(builder.fcmp_ordered(">", square, held), square, held)
        inverse = _inverse_root(builder, square)
        inverse2 = builder.fmul(inverse, inverse)
        sixth = builder.fmul(builder.fmul(inverse2, inverse2), inverse2)
        weight = builder.fmul(_less(builder, c12, sixth, c6), builder.fmul(sixth, inverse2))
        return builder.select(inside, _less(builder, slope, inverse, weight), _constant(_FLOAT, 0.0))

    return _VECTOR(*[square] * 6), build


@intrinsic
def wall(typingctx: Any, square: Any, radius: Any, stiffness: Any) -> Any:
    """k·(1 − r_c/r) at r² outside of r_c, and 0 inside: the pull of a flat-bottomed harmonic wall over r."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        square, radius, stiffness = args
        inverse = _inverse_root(builder, builder.fadd(square, _constant(_FLOAT, 1e-12)))
        beyond = _less(builder, radius, inverse, _constant(_FLOAT, 1.0))
        zero = _constant(_FLOAT, 0.0)
        weight = builder.fmul(_spread(builder, stiffness), beyond)
        return builder.select(builder.fcmp_ordered(">", beyond, zero), weight, zero)

    return _VECTOR(square, radius, types.float32), build


@intrinsic
def noise(typingctx: Any, counter: Any, seed: Any) -> Any:
    """Uniform numbers in [−1, 1), one a lane: a hash of counter, lane and seed (lowbias32 of C. Wellons)."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        counter, seed = (builder.trunc(value, ir.IntType(32)) for value in args)
        first = _spread(builder, builder.mul(counter, ir.Constant(ir.IntType(32), LANES)))
        value = builder.add(first, ir.Constant(_INT, list(range(LANES))))
        value = builder.add(builder.mul(value, _constant(_INT, 0x9E3779B1)), _spread(builder, seed))
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, None)):
            value = builder.xor(value, builder.lshr(value, _constant(_INT, shift)))
            if factor is not None:
                value = builder.mul(value, _constant(_INT, factor))
        return builder.fmul(builder.sitofp(value, _FLOAT), _constant(_FLOAT, 2.0**-31))

    return _VECTOR(types.int64, types.int64), build
