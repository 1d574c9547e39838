from __future__ import annotations

import numpy as np
import pytest

from propensity.descriptors.averaged import radial_descriptors
from propensity.descriptors.fields import local_density
from propensity.descriptors.pairs import cells, exponential_sums, gaussian_sums
from propensity.errors import InputError
from propensity.neighbours import neighbour_list
from propensity.structure import Structure

CELLS = {
    "cubic": (np.diag([9.0, 9.0, 9.0]), True),
    "smaller than the cutoff": (np.diag([2.1, 3.0, 2.6]), True),
    "skewed": (np.array([[6.0, 0, 0], [4.5, 5.0, 0], [-2.0, 3.5, 4.0]]), True),
    "slab": (np.array([[7.0, 0, 0], [2.0, 6.0, 0], [0, 0, 8.0]]), (True, True, False)),
    "open": (np.diag([9.0, 6.0, 7.0]), False),
}


def make(name: str, n: int = 60) -> Structure:
    rng = np.random.default_rng(len(name))
    cell, pbc = CELLS[name]
    # Also outside of the cell, where periodic.
    positions = (rng.random((n, 3)) * 1.6 - 0.3 * np.any(pbc)) @ cell
    return Structure(positions, rng.integers(0, 2, n), cell, pbc=pbc)


@pytest.mark.parametrize("name", CELLS)
def test_sums_are_those_over_the_neighbour_list(name):
    structure, cutoff = make(name), 4.0
    (source, destination), vectors = (x.numpy() for x in neighbour_list(structure, cutoff))
    r = np.linalg.norm(vectors, axis=1)
    assert len(r) > 100
    n, values, lengths = len(structure), np.random.default_rng(1).normal(size=len(structure)), [0.5, 3.0]
    weights, weighted = exponential_sums(structure, values, np.array(lengths), cutoff)
    for k, length in enumerate(lengths):
        expected = np.bincount(destination, np.exp(-r / length), n)
        np.testing.assert_allclose(weights[:, k], expected, rtol=1e-10)
        expected = np.bincount(destination, values[source] * np.exp(-r / length), n)
        np.testing.assert_allclose(weighted[:, k], expected, rtol=1e-9, atol=1e-12)
    # Shells out of order and of very different widths.
    grid, delta = np.array([2.0, 0.9, 1.5]), np.array([0.25, 0.01, 0.3])
    sums = gaussian_sums(structure, 2, grid, delta)
    for s in (0, 1):
        for k in range(3):
            gaussian = np.exp(-((r - grid[k]) ** 2) / (2 * delta[k] ** 2)) * (structure.types[source] == s)
            expected = np.bincount(destination, gaussian, n)
            # Cut at 8δ here and at 4σ there.
            np.testing.assert_allclose(sums[:, 3 * s + k], expected, rtol=1e-9, atol=1e-9)


def test_an_empty_structure_needs_few_cells():
    far = Structure([[0.0, 0, 0], [1.0, 0, 0], [5e5, 5e5, 5e5]], [0, 0, 0], np.eye(3) * 1e6, pbc=False)
    assert np.prod(cells(far, 2.0).shape) < 2e6
    weights, _ = exponential_sums(far, np.zeros(3), np.array([1.0]), 2.0)
    np.testing.assert_allclose(weights[:, 0], [np.exp(-1), np.exp(-1), 0], rtol=1e-12)


@pytest.mark.parametrize(
    "function", [lambda s: radial_descriptors(s, 1, [(1.0, 0.1)]), lambda s: local_density(s, [1.0])]
)
@pytest.mark.parametrize("where", [(2.0, 3.0, 4.0), (2.0, 12.0, 4.0)])
def test_coincident_particles(function, where):
    structure = Structure([(1.0, 1.0, 1.0), (2.0, 3.0, 4.0), where], [0, 0, 0], 9.0)
    with pytest.raises(InputError, match="particles 1 and 2 coincide"):
        function(structure)
