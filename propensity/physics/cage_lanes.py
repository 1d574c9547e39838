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
        (value,) = args
        undefined = ir.Constant(_FLOAT, ir.Undefined)
        width = LANES // 2
        while width:
            order = ir.Constant(_INT, [(lane + width) % LANES for lane in range(LANES)])
            other = builder.shuffle_vector(value, undefined, order)
            value = builder.select(builder.fcmp_ordered("<", value, other), value, other)
            width //= 2
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(vector), build


@intrinsic
def pull(typingctx: Any, square: Any, pairs: Any, row: Any) -> Any:
    """u′(r)/r at r² for the pair of species in ``pairs[row:row+6]``: squared cut, σ², 6·4ε, 12·4ε, slope, and
    the r² below which it is held.
    """

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        square, pairs, row = args
        data = context.make_array(signature.args[1])(context, builder, pairs).data
        at = [builder.load(builder.gep(data, [builder.add(row, ir.Constant(row.type, k))])) for k in range(6)]
        cut, sigma, c6, c12, slope, least = (_spread(builder, value) for value in at)
        square = builder.select(builder.fcmp_ordered(">", square, least), square, least)
        # 1/r by its bits and two steps of Newton: 5·10⁻⁶ relative, a third of the time of root and division.
        bits = builder.lshr(builder.bitcast(square, _INT), _constant(_INT, 1))
        inverse = builder.bitcast(builder.sub(_constant(_INT, 0x5F3759DF), bits), _FLOAT)
        half = builder.fmul(square, _constant(_FLOAT, 0.5))
        for _ in range(2):
            part = _less(builder, builder.fmul(half, inverse), inverse, _constant(_FLOAT, 1.5))
            inverse = builder.fmul(inverse, part)
        inverse2 = builder.fmul(inverse, inverse)
        ratio = builder.fmul(sigma, inverse2)
        sixth = builder.fmul(builder.fmul(ratio, ratio), ratio)
        weight = builder.fmul(_less(builder, c12, sixth, c6), builder.fmul(sixth, inverse2))
        weight = _less(builder, slope, inverse, weight)
        inside = builder.fcmp_ordered("<", square, cut)
        return builder.select(inside, weight, _constant(_FLOAT, 0.0))

    return _VECTOR(square, pairs, types.intp), build


@intrinsic
def wall(typingctx: Any, square: Any, radius: Any, stiffness: Any) -> Any:
    """k·(1 − r_c/r) at r² outside of r_c, and 0 inside: the pull of a flat-bottomed harmonic wall over r."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        square, radius, stiffness = args
        root = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_FLOAT, [_FLOAT]), f"llvm.sqrt.v{LANES}f32"
        )
        length = builder.call(root, [builder.fadd(square, _constant(_FLOAT, 1e-12))])
        beyond = builder.fsub(_constant(_FLOAT, 1.0), builder.fdiv(radius, length))
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
