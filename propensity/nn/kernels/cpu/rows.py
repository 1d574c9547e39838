"""Functions for one slot row (16 edges) of the tensor product, with every Clebsch–Gordan term written out.

LLVM gets straight-line code for each layout: indices and coefficients are constants, couplings Σ_m C·Y_m
live in registers.  numba compiles the functions and keeps them on disk, as it does its own.
"""

# mypy: disable-error-code="call-arg"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from propensity.compiling import cfunc
from propensity.nn.kernels.clebsch import terms
from propensity.nn.layout import ConvolutionLayout, Path
from propensity.simd import LANES, keep_positive, llvm_vector, multiply_add

#: Sums that one function adds to: 16 kB in float32, which leave a first-level cache room for features.
GROUP = 256


def padded(width: int) -> int:
    """Width of a table whose rows are read LANES numbers at a time."""
    return -(-width // LANES) * LANES


def sum_offsets(layout: ConvolutionLayout) -> list[int]:
    """Where the sums of each path start, channel by channel, 2·l_out+1 numbers each; the last entry is their
    number.
    """
    offsets = [0]
    for path in layout.paths:
        offsets.append(offsets[-1] + path.channels * (2 * path.l_out + 1))
    return offsets


@lru_cache(maxsize=256)
def groups(layout: ConvolutionLayout) -> tuple[tuple[Path, ...], ...]:
    """Paths that share a function: those of one l_in, whose features are then read together, and of more
    where there is room.  Their ``weight`` is where it starts among those of all groups.
    """
    sizes, found, size, weight = np.diff(sum_offsets(layout)), [list[Path]()], 0, 0
    numbers = sorted(range(len(layout.paths)), key=lambda k: (-layout.paths[k].block, layout.paths[k].l_in))
    for _, each in groupby(numbers, lambda k: (layout.paths[k].block, layout.paths[k].l_in)):
        alike = list(each)
        together = size + sum(sizes[k] for k in alike)
        for k in alike:
            if found[-1] and (size + sizes[k] > GROUP or (k == alike[0] and together > GROUP)):
                found.append([])
                size = 0
            found[-1].append(replace(layout.paths[k], weight=weight))
            size, weight = size + sizes[k], weight + layout.paths[k].channels
    return tuple(map(tuple, found))


@lru_cache(maxsize=256)
def weight_order(layout: ConvolutionLayout) -> np.ndarray:
    """Which of the layout's radial weights each of those in the order of :func:`groups` is."""
    paths = [path for group in groups(layout) for path in group]
    starts = [layout.paths[_number(layout, path)].weight for path in paths]
    return np.concatenate([start + np.arange(p.channels) for start, p in zip(starts, paths, strict=True)])


def _number(layout: ConvolutionLayout, path: Path) -> int:
    """Which of the layout's paths this is, wherever its weights are."""
    return [replace(other, weight=path.weight) for other in layout.paths].index(path)


@lru_cache(maxsize=1024)
def row_function(kind: str, layout: ConvolutionLayout, group: int, bits: int) -> Any:
    """Compiled function for a group of paths; ``address`` is where it lies.

    It takes pointers to features h_j, harmonics Y, radial weights φ, and, by ``kind``:

    - ``"forward"``: sums, to which Σ φ · (Y ⊗ h) is added;
    - ``"backward"``: gradient of the sums; gradients of h (added to) and of φ where φ > 0;
    - ``"harmonics"``: gradient of the sums; gradient of Y (added to).
    """
    # Only strings and numbers may enter the closure: numba makes the key of its cache of them.
    what = f"{kind} {group} {layout.channels_in} {layout.n_scalars} {layout.channels} {layout.l_max}"
    pointer = types.CPointer(types.float32 if bits == 32 else types.float64)

    @cfunc(types.void(pointer, pointer, pointer, pointer, pointer, pointer))
    def function(h, y, w, sums, a, b):  # type: ignore[no-untyped-def]
        _emit(what, h, y, w, sums, a, b)

    return function


@intrinsic(prefer_literal=True)
def _emit(typingctx: Any, what: Any, h: Any, y: Any, w: Any, sums: Any, a: Any, b: Any) -> Any:
    kind, group, *shape = what.literal_value.split()
    layout = ConvolutionLayout(*map(int, shape))

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for path in groups(layout)[int(group)]:
            at = sum_offsets(layout)[_number(layout, path)]
            _PATHS[kind](_Writer(builder, h.dtype, args[1:]), layout, path, at)
        return context.get_dummy_value()

    return types.void(what, h, y, w, sums, a, b), build


class _Writer:
    """Vector instructions; memory is counted in vectors, from a constant and an optional run-time offset."""

    def __init__(self, builder: Any, dtype: Any, pointers: Any) -> None:
        self.builder, self.kind = builder, llvm_vector(dtype)
        self.align = dtype.bitwidth // 8
        self.h, self.y, self.w, self.sums, self.a, self.b = (
            builder.bitcast(pointer, self.kind.as_pointer()) for pointer in pointers
        )

    def _at(self, pointer: Any, place: int, offset: Any) -> Any:
        index = ir.Constant(ir.IntType(64), place)
        return self.builder.gep(pointer, [index if offset is None else self.builder.add(offset, index)])

    def load(self, pointer: Any, place: int, offset: Any = None) -> Any:
        value = self.builder.load(self._at(pointer, place, offset), typ=self.kind)
        value.align = self.align
        return value

    def store(self, pointer: Any, place: int, value: Any, offset: Any = None) -> None:
        self.builder.store(value, self._at(pointer, place, offset)).align = self.align

    def number(self, value: float) -> Any:
        return ir.Constant(self.kind, [value] * LANES)

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a·b + c, where c may be nothing yet."""
        return self.mul(a, b) if c is None else multiply_add(self.builder, a, b, c)

    def dot(self, pairs: Any) -> Any:
        """Σ a·b."""
        total = None
        for a, b in pairs:
            total = self.fma(a, b, total)
        return total

    def loop(self, count: int, body: Callable[[Callable[[int], Any]], None]) -> None:
        """Repeat for 0 ≤ c < count; ``body`` gets a function that multiplies c by a constant."""
        builder, integer = self.builder, ir.IntType(64)
        before = builder.block
        inside, after = builder.append_basic_block("channel"), builder.append_basic_block("after")
        builder.branch(inside)
        builder.position_at_end(inside)
        c = builder.phi(integer)
        c.add_incoming(ir.Constant(integer, 0), before)
        body(lambda factor: builder.mul(c, ir.Constant(integer, factor)))
        following = builder.add(c, ir.Constant(integer, 1))
        c.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, ir.Constant(integer, count)), inside, after)
        builder.position_at_end(after)


def _features(layout: ConvolutionLayout, path: Path) -> int:
    """Where the input of a path starts: node scalars follow the padded equivariant features."""
    return padded(layout.dim_in) if path.block else layout.channels_in * path.l_in**2


def _couplings(writer: _Writer, path: Path) -> dict[tuple[int, int], Any]:
    """Σ_m C·Y_m for each (m_in, m_out) that a path couples."""
    found: dict[tuple[int, int], Any] = {}
    for term in terms(path.l_in, path.l_filter, path.l_out):
        y = writer.load(writer.y, path.l_filter**2 + term.m_filter)
        pair = term.m_in, term.m_out
        found[pair] = writer.fma(writer.number(term.value), y, found.get(pair))
    return found


def _forward(writer: _Writer, layout: ConvolutionLayout, path: Path, at: int) -> None:
    d_in, d_out = 2 * path.l_in + 1, 2 * path.l_out + 1
    coupling, feature = _couplings(writer, path), _features(layout, path)

    def channel(times: Callable[[int], Any]) -> None:
        weight = writer.load(writer.w, path.weight, times(1))
        h = [writer.load(writer.h, feature + m, times(d_in)) for m in range(d_in)]
        if d_in <= d_out:
            h = [writer.mul(weight, value) for value in h]
        for m_out in range(d_out):
            total = writer.load(writer.sums, at + m_out, times(d_out))
            pairs = [(coupling[m, m_out], h[m]) for m in range(d_in) if (m, m_out) in coupling]
            if d_in <= d_out:
                for pair in pairs:
                    total = writer.fma(*pair, total)
            elif pairs:
                total = writer.fma(weight, writer.dot(pairs), total)
            writer.store(writer.sums, at + m_out, total, times(d_out))

    writer.loop(path.channels, channel)


def _backward(writer: _Writer, layout: ConvolutionLayout, path: Path, at: int) -> None:
    d_in, d_out = 2 * path.l_in + 1, 2 * path.l_out + 1
    coupling, feature = _couplings(writer, path), _features(layout, path)

    def channel(times: Callable[[int], Any]) -> None:
        weight = writer.load(writer.w, path.weight, times(1))
        g = [writer.load(writer.sums, at + m, times(d_out)) for m in range(d_out)]
        along = writer.number(0)
        for m_in in range(d_in):
            pairs = [(coupling[m_in, m], g[m]) for m in range(d_out) if (m_in, m) in coupling]
            if pairs:
                value = writer.dot(pairs)
                along = writer.fma(value, writer.load(writer.h, feature + m_in, times(d_in)), along)
                before = writer.load(writer.a, feature + m_in, times(d_in))
                writer.store(writer.a, feature + m_in, writer.fma(weight, value, before), times(d_in))
        writer.store(writer.b, path.weight, keep_positive(writer.builder, weight, along), times(1))

    writer.loop(path.channels, channel)


def _harmonics(writer: _Writer, layout: ConvolutionLayout, path: Path, at: int) -> None:
    d_in, d_out, harmonic = 2 * path.l_in + 1, 2 * path.l_out + 1, path.l_filter**2
    feature = _features(layout, path)

    def channel(times: Callable[[int], Any]) -> None:
        weight = writer.load(writer.w, path.weight, times(1))
        h = [writer.mul(weight, writer.load(writer.h, feature + m, times(d_in))) for m in range(d_in)]
        g = [writer.load(writer.sums, at + m, times(d_out)) for m in range(d_out)]
        totals = [writer.load(writer.a, harmonic + m) for m in range(2 * path.l_filter + 1)]
        for term in terms(path.l_in, path.l_filter, path.l_out):
            scaled = writer.mul(writer.number(term.value), h[term.m_in])
            totals[term.m_filter] = writer.fma(scaled, g[term.m_out], totals[term.m_filter])
        for m, total in enumerate(totals):
            writer.store(writer.a, harmonic + m, total)

    writer.loop(path.channels, channel)


_PATHS = {"forward": _forward, "backward": _backward, "harmonics": _harmonics}
