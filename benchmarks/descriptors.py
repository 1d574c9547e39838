"""Structural descriptors of 4096 particles on one core, and long-range sums against a neighbour list.

    OMP_NUM_THREADS=1 python -m benchmarks.descriptors

Processor time of the fastest of three calls, since it does not change when others use the machine.  The peer
of the long-range sums is matscipy's neighbour list followed by the same sums in numpy.
"""

from __future__ import annotations

import numpy as np
from matscipy.neighbours import neighbour_list

from benchmarks.common import liquid
from benchmarks.cpu import seconds
from propensity.descriptors.averaged import (
    DescriptorGrid,
    angular_descriptors,
    averaged_descriptors,
    radial_descriptors,
)
from propensity.descriptors.fields import REACH, coarse_grain
from propensity.descriptors.pairs import TAIL
from propensity.descriptors.structure_functions import structure_functions

LENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


def listed(structure, cutoff):
    """Neighbours by matscipy: centres, neighbours and distances."""
    return neighbour_list(
        "ijd", positions=structure.positions, cell=structure.cell, pbc=[True] * 3, cutoff=cutoff
    )


def listed_coarse_grain(structure, values):
    """As :func:`propensity.estimators.fields.coarse_grain`, from a list."""
    i, j, r = listed(structure, REACH)
    n, columns = len(structure), []
    for length in LENGTHS:
        weight = np.exp(-r / length)
        columns.append((values + np.bincount(i, weight * values[j], n)) / (1 + np.bincount(i, weight, n)))
    return np.stack(columns, axis=1)


def listed_radial(structure, shells):
    """As :func:`propensity.descriptors.averaged.radial_descriptors`, from a list sorted by distance."""
    i, j, r = listed(structure, max(x + TAIL * d for x, d in shells))
    order = np.argsort(r)
    i, r, is_b = i[order], r[order], structure.types[j[order]] == 1
    n, columns = len(structure), []
    for x, delta in shells:
        near = slice(*np.searchsorted(r, [x - TAIL * delta, x + TAIL * delta]))
        gaussian = np.exp(-0.5 * ((r[near] - x) / delta) ** 2)
        columns.append(np.bincount(i[near] + n * is_b[near], gaussian, 2 * n).reshape(2, n))
    return np.concatenate(np.stack(columns, axis=2), axis=1)


if __name__ == "__main__":
    whole, grid = liquid(), DescriptorGrid()
    values = np.random.default_rng(0).normal(size=len(whole))
    np.testing.assert_allclose(
        listed_radial(whole, grid.radial), radial_descriptors(whole, 2, grid.radial), atol=1e-9
    )
    np.testing.assert_allclose(
        listed_coarse_grain(whole, values), coarse_grain(whole, values, LENGTHS), atol=1e-9
    )
    for name, ours, peer in (
        (
            "radial, 2 × 86 shells to 5.8",
            lambda: radial_descriptors(whole, 2, grid.radial),
            lambda: listed_radial(whole, grid.radial),
        ),
        (
            "coarse-graining, 7 lengths to 6",
            lambda: coarse_grain(whole, values, LENGTHS),
            lambda: listed_coarse_grain(whole, values),
        ),
        ("angular, 16 shells, l = 1..12", lambda: angular_descriptors(whole, grid.angular, grid.l_max), None),
        ("all 1092 averaged descriptors", lambda: averaged_descriptors(whole, 2), None),
        ("all 166 structure functions", lambda: structure_functions(whole, 2), None),
    ):
        ours()
        mine = seconds(ours, 3)[1]
        line = f"{name:35s} {mine:6.2f} s"
        if peer is not None:
            theirs = seconds(peer, 3)[1]
            line += f"   matscipy and numpy {theirs:6.2f} s, {theirs / mine:.1f}×"
        print(line)
