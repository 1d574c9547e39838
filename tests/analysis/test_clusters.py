"""Clusters of extreme particles in space and through time."""

from __future__ import annotations

import numpy as np
import pytest

from propensity import analysis
from propensity.errors import InputError
from tests.analysis.systems import CELLS, CUBE, images, scattered


def test_the_same_share_of_each_species_is_extreme():
    values = np.concatenate([np.arange(80.0), 1000 + np.arange(20.0)])
    types = np.repeat([0, 1], [80, 20])
    fast = analysis.extreme_particles(values, 0.1, types)
    assert np.flatnonzero(fast).tolist() == [*range(72, 80), 98, 99]
    slow = analysis.extreme_particles(values, 0.1, types, which="slow")
    assert np.flatnonzero(slow).tolist() == [*range(8), 80, 81]
    values[79] = np.nan
    assert not analysis.extreme_particles(values, 0.1, types)[79]


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_clusters_are_connected_components(cell):
    networkx = pytest.importorskip("networkx")
    positions = scattered(cell, 400)
    chosen = np.random.default_rng(1).random(400) < 0.5
    found = analysis.find_clusters(chosen, positions, cell, cutoff=1.5)
    graph = networkx.Graph()
    graph.add_nodes_from(np.flatnonzero(chosen).tolist())
    index = np.flatnonzero(chosen)
    near = np.argwhere(images(positions[chosen], positions[chosen], cell) < 1.5)
    graph.add_edges_from(index[near].tolist())
    expected = list(networkx.connected_components(graph))
    assert sorted(found.sizes.tolist()) == sorted(map(len, expected))
    assert {frozenset(np.flatnonzero(found.labels == k)) for k in range(len(found.sizes))} == {
        frozenset(part) for part in expected
    }
    assert (found.labels[~chosen] == -1).all() and (np.diff(found.sizes) <= 0).all()
    assert found.weighted_size == pytest.approx((found.sizes**2).sum() / chosen.sum())


def test_cluster_across_the_boundary_is_one():
    positions = np.array([[0.2, 5, 5], [9.8, 5, 5], [5, 5, 5.0]])
    found = analysis.find_clusters([True] * 3, positions, CUBE, cutoff=1.0)
    assert found.sizes.tolist() == [2, 1] and found.labels.tolist() == [0, 0, 1]
    assert analysis.find_clusters([True] * 3, positions, CUBE, False, cutoff=1.0).sizes.tolist() == [1, 1, 1]


def test_agrees_with_freud():
    freud = pytest.importorskip("freud", reason="needs the package freud-analysis")
    cell = CELLS["sheared"]
    positions = scattered(cell, 500)
    box = freud.box.Box.from_matrix(cell.T)
    theirs = freud.cluster.Cluster().compute((box, box.wrap(positions)), neighbors={"r_max": 1.0})
    ours = analysis.find_clusters(np.ones(500, dtype=bool), positions, cell, cutoff=1.0)
    assert sorted(np.bincount(theirs.cluster_idx)) == sorted(ours.sizes)


def test_events_grow_and_end():
    """Two particles side by side move in turn, a third far away moves later; together two events."""
    positions = np.array([[[1.0, 1, 1], [2, 1, 1], [6, 6, 6]]] * 4)
    chosen = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
    found = analysis.space_time_clusters(chosen, positions, CUBE, cutoff=1.2)
    assert found.sizes.tolist() == [4, 1]
    assert found.n_particles.tolist() == [2, 1]
    assert found.first.tolist() == [0, 3] and found.last.tolist() == [2, 3]
    assert found.durations.tolist() == [3, 1]
    assert found.labels.tolist() == [[0, -1, -1], [0, 0, -1], [-1, 0, -1], [-1, -1, 1]]
    # A pause of one frame ends an event.
    chosen[1] = False
    assert analysis.space_time_clusters(chosen, positions, CUBE, cutoff=1.2).sizes.tolist() == [1, 1, 1]


def test_persistence_falls_to_chance():
    rng = np.random.default_rng(0)
    fixed = np.tile(rng.random(500) < 0.2, (5, 1))
    assert analysis.persistence(fixed) == pytest.approx(np.ones(5))
    assert analysis.persistence(rng.random((60, 2000)) < 0.2)[1:30] == pytest.approx(
        0.2 * np.ones(29), abs=0.02
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analysis.extreme_particles(np.arange(5.0), 1.5), "fraction is 1.5"),
        (lambda: analysis.extreme_particles(np.arange(5.0), 0.1, which="quick"), "choose 'fast' or 'slow'"),
        (lambda: analysis.find_clusters([True], np.zeros((3, 3)), CUBE), "give one a particle"),
        (lambda: analysis.space_time_clusters(np.ones((2, 3)), np.zeros((2, 4, 3)), CUBE), r"give \(F, N\)"),
        (lambda: analysis.persistence(np.ones(3)), r"give \(F, N\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
