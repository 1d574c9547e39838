"""Parts of the CPU kernel's loops on data that a core's own cache holds, a row of 16 edges at a time.

    OMP_NUM_THREADS=1 python -m benchmarks.cpu_rows [SECONDS]

Each part stands beside what its multiply-adds take at the least, by a loop of nothing else in the same run.
All are run in turn, and the smallest times taken.  The paper's layer: l_max 3, 4 channels, 16 hidden units,
float32.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from propensity.compiling import njit
from propensity.nn.kernels.cpu.radial import ROWS, Linear, Radial, add_outer, dense, hidden_units, scratch
from propensity.nn.kernels.cpu.rows import groups, padded, row_function, sum_offsets
from propensity.nn.layout import ConvolutionLayout
from propensity.simd import LANES, add, call, fma, gather, load, scatter_add, store

LAYOUT = ConvolutionLayout(4, 2, 4, 3)
HIDDEN, BASIS, N = 16, 10, 4096
WIDTH, COMB, SUMS = padded(LAYOUT.dim_in) + padded(LAYOUT.n_scalars), LAYOUT.n_comb, sum_offsets(LAYOUT)[-1]


@njit(nogil=True)
def multiply_adds(times, a):
    """Twelve a turn that don't wait for each other."""
    c = load(a, 12 * LANES)
    t0, t1, t2, t3 = load(a, 0), load(a, 16), load(a, 32), load(a, 48)
    t4, t5, t6, t7 = load(a, 64), load(a, 80), load(a, 96), load(a, 112)
    t8, t9, ta, tb = load(a, 128), load(a, 144), load(a, 160), load(a, 176)
    for _ in range(times):
        t0, t1, t2, t3 = fma(c, t0, c), fma(c, t1, c), fma(c, t2, c), fma(c, t3, c)
        t4, t5, t6, t7 = fma(c, t4, c), fma(c, t5, c), fma(c, t6, c), fma(c, t7, c)
        t8, t9, ta, tb = fma(c, t8, c), fma(c, t9, c), fma(c, ta, c), fma(c, tb, c)
    low = add(add(add(t0, t1), add(t2, t3)), add(t4, t5))
    store(a, 0, add(low, add(add(add(t6, t7), add(t8, t9)), add(ta, tb))))


@njit(nogil=True)
def last_layer(times, layer, columns, u, w):
    for _ in range(times):
        for k in range(len(columns) - 1):
            for r in range(0, ROWS, 2):
                dense(layer, u, r * layer.matrix.shape[0], 2, (columns[k], columns[k + 1]), w, True)


@njit(nogil=True)
def hidden_gradient(times, layer, z, v):
    for _ in range(times):
        dense(layer, z, 0, ROWS, (0, layer.matrix.shape[1]), v, False)


@njit(nogil=True)
def products(times, functions, arrays, of_row):
    for _ in range(times):
        for k in range(len(functions)):
            for r in range(ROWS):
                n_f, n_y, n_a, n_b = of_row
                places = r * n_f * LANES, r * n_y * LANES, 0, 0, r * n_a * LANES, r * n_b * LANES
                call(functions[k], arrays, places)


@njit(nogil=True)
def outer_products(times, z, u, total):
    for _ in range(times):
        add_outer(ROWS, z, 0, len(z) // ROWS // LANES, u, 0, len(u) // ROWS // LANES, total)


@njit(nogil=True)
def units(times, radial, basis, x, u):
    for _ in range(times):
        hidden_units(radial, basis, 0, ROWS, x, u)


@njit(nogil=True)
def gathers(times, table, width, source, h):
    for _ in range(times):
        for r in range(ROWS):
            for f in range(0, width, LANES):
                gather(table, source, r * LANES, width, f, h, (r * width + f) * LANES)


@njit(nogil=True)
def scatters(times, h, width, table, columns, source):
    for _ in range(times):
        for r in range(ROWS):
            for f in range(0, columns, LANES):
                scatter_add(h, (r * width + f) * LANES, table, source, r * LANES, columns, f)


def parts():
    """What to run, with what, and the multiply-adds of a row."""
    random = np.random.default_rng(0)

    def vectors(n):
        made = scratch(n, np.empty(0, np.float32))
        made[:] = random.normal(size=len(made))
        return made

    def layer(inputs, outputs):
        matrix = random.normal(size=(inputs, outputs)).astype(np.float32)
        return Linear(matrix, np.zeros(outputs, np.float32))

    h, gh, y, z, w = (vectors(ROWS * k) for k in (WIDTH, WIDTH, 16, COMB, COMB))
    x, u, v, basis = (vectors(ROWS * k) for k in (HIDDEN, HIDDEN, HIDDEN, BASIS))
    sums, total, table, into = vectors(SUMS), vectors(COMB * (HIDDEN + 1)), vectors(N * 5), vectors(N * 4)
    kept, ones = random.integers(0, 2**LANES, ROWS * HIDDEN).astype(np.uint16), np.ones(HIDDEN, np.float32)
    radial = Radial(kept, layer(BASIS, HIDDEN), ones, ones, layer(HIDDEN, COMB))
    source = random.integers(0, N, ROWS * LANES)
    columns = np.array([group[0].weight for group in groups(LAYOUT)] + [COMB])
    forward, backward = (
        np.array([row_function(kind, LAYOUT, k, 32).address for k in range(len(groups(LAYOUT)))])
        for kind in ("forward", "backward")
    )
    small = np.float32(1e-3) * vectors(13)
    return {
        "multiply-adds": (multiply_adds, (small,), 12 * ROWS),
        "tensor product": (products, (forward, (h, y, w, sums, w, w), (WIDTH, 16, 0, 0)), 3327),
        "last layer": (last_layer, (radial.outer, columns, u, w), HIDDEN * COMB),
        "hidden units": (units, (radial, basis, x, u), (BASIS + 1) * HIDDEN),
        "gather": (gathers, (table, WIDTH, source, h), 0),
        "tensor product, backward": (
            products,
            (backward, (h, y, w, sums, gh, z), (WIDTH, 16, WIDTH, COMB)),
            4087,
        ),
        "gradient of hidden units": (hidden_gradient, (layer(COMB, HIDDEN), z, v), HIDDEN * COMB),
        "outer products": (outer_products, (z, u, total), HIDDEN * COMB),
        "scatter": (scatters, (gh, WIDTH, into, 64, source), 0),
    }, (sums, gh, z, total, into)


def main():
    """Print a row for each part."""
    cases, growing = parts()
    best, end = dict.fromkeys(cases, np.inf), time.monotonic() + float(sys.argv[1] if sys.argv[1:] else 20)
    while time.monotonic() < end:
        for name, (function, arguments, _) in cases.items():
            for array in growing:
                array[:] = 0.1
            function(1, *arguments)
            times = 10_000 if function is multiply_adds else 10
            begin = time.perf_counter()
            function(times, *arguments)
            best[name] = min(best[name], (time.perf_counter() - begin) / times / ROWS)
    each = best.pop("multiply-adds") / 12 * ROWS
    print(f"a multiply-add of {LANES} lanes: {1e9 * each:.3f} ns")
    print("| part | ns a row | at the least |")
    for name, took in best.items():
        print(f"| {name} | {1e9 * took:.0f} | {1e9 * each * cases[name][2]:.0f} |")


if __name__ == "__main__":
    main()
