"""Blocks of two rows of eight vectors, which stay in registers while products are added to them.

A vector that is read serves two multiply-adds, so that these wait for each other as little as for memory.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from propensity.simd import (
    LANES,
    Vector,
    keep_positive,
    multiply_add,
    number_at,
    read_vector,
    splatted,
    write_vector,
)

#: Vectors of each row.
WIDE = 8


def _after(builder: Any, at: Any, k: int) -> Any:
    return builder.add(at, ir.Constant(at.type, k))


@intrinsic
def read_block(typingctx: Any, array: Any, p: Any, q: Any) -> Any:
    """Vectors from ``p`` and from ``q`` of a flat array as the two rows."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = [
            read_vector(context, builder, array, args[0], _after(builder, at, k * LANES))
            for at in args[1:]
            for k in range(WIDE)
        ]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(Vector(array.dtype), 2 * WIDE)(array, types.intp, types.intp), build


@intrinsic
def spread_block(typingctx: Any, numbers: Any, at: Any) -> Any:
    """Numbers from ``at`` of a flat array, each in every lane, in both rows."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row = [
            splatted(builder, number_at(context, builder, numbers, args[0], _after(builder, args[1], k)))
            for k in range(WIDE)
        ]
        return context.make_tuple(builder, signature.return_type, row + row)

    return types.UniTuple(Vector(numbers.dtype), 2 * WIDE)(numbers, types.intp), build


@intrinsic
def add_products(typingctx: Any, block: Any, numbers: Any, at: Any, vectors: Any, p: Any, q: Any) -> Any:
    """A block to whose rows vectors ``p`` and ``q`` are added, times the numbers from ``at``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = [read_vector(context, builder, vectors, args[3], place) for place in args[4:]]
        factors = [
            splatted(builder, number_at(context, builder, numbers, args[1], _after(builder, args[2], k)))
            for k in range(WIDE)
        ]
        return _added(context, builder, signature, args[0], rows, factors)

    return block(block, numbers, types.intp, vectors, types.intp, types.intp), build


@intrinsic
def add_outer_products(typingctx: Any, block: Any, a: Any, p: Any, q: Any, b: Any, at: Any) -> Any:
    """A block to whose rows vectors ``p`` and ``q`` of a are added, times those of b from ``at``."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows = [read_vector(context, builder, a, args[1], place) for place in args[2:4]]
        factors = [
            read_vector(context, builder, b, args[4], _after(builder, args[5], k * LANES))
            for k in range(WIDE)
        ]
        return _added(context, builder, signature, args[0], rows, factors)

    return block(block, a, types.intp, types.intp, b, types.intp), build


def _added(context: Any, builder: Any, signature: Any, block: Any, rows: Any, factors: Any) -> Any:
    before = cgutils.unpack_tuple(builder, block)
    found = [
        multiply_add(builder, factor, row, before[WIDE * r + k])
        for r, row in enumerate(rows)
        for k, factor in enumerate(factors)
    ]
    return context.make_tuple(builder, signature.return_type, found)


@intrinsic
def positive_block(typingctx: Any, block: Any) -> Any:
    """A block with 0 for whatever is below."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = [keep_positive(builder, each, each) for each in cgutils.unpack_tuple(builder, args[0])]
        return context.make_tuple(builder, signature.return_type, found)

    return block(block), build


@intrinsic
def write_block(typingctx: Any, block: Any, array: Any, p: Any, q: Any) -> Any:
    """Write the two rows from ``p`` and from ``q`` of a flat array."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for k, vector in enumerate(cgutils.unpack_tuple(builder, args[0])):
            place = _after(builder, args[2 + k // WIDE], k % WIDE * LANES)
            write_vector(context, builder, array, args[1], place, vector)
        return context.get_dummy_value()

    return types.void(block, array, types.intp, types.intp), build
