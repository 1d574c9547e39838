"""freud's systems and neighbour lists go in and out unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from propensity import InputError, Predictor, Structure, build_graph
from propensity.lattice import minimum_image
from tests.conftest import make_liquid

freud = pytest.importorskip("freud", reason="needs the package freud-analysis")

from propensity.integrations.freud import from_freud, graph_of, neighbours_to_freud, to_freud  # noqa: E402


def sheared(structure: Structure) -> Structure:
    """The same number of particles in a cell that is neither orthogonal nor triangular."""
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    cell = (
        structure.cell @ np.array([[1, 0, 0], [0.2, 1, 0], [-0.1, 0.3, 1]]).T @ (turn * np.linalg.det(turn))
    )
    inside = structure.positions @ np.linalg.inv(structure.cell)
    return Structure(inside @ cell, structure.types, cell)


@pytest.fixture(params=["cubic", "sheared"])
def liquid(request) -> Structure:
    found = make_liquid(200)
    return found if request.param == "cubic" else sheared(found)


def distances(graph) -> np.ndarray:
    vectors = graph.edge_vec.numpy().astype(float)
    return np.sort(np.linalg.norm(vectors, axis=1))


def test_a_system_keeps_distances_and_predictions(liquid, tiny_model):
    system = to_freud(liquid)
    back = from_freud(system, liquid.types)
    assert back.volume == pytest.approx(liquid.volume, rel=1e-6)
    far, near = build_graph(liquid, 1.5), build_graph(back, 1.5)
    np.testing.assert_allclose(distances(near), distances(far), atol=2e-6)
    predictor = Predictor(tiny_model)
    # Single precision moves a few pairs of some thousand across the sharp cutoff at most.
    found, wanted = predictor.predict(back), predictor.predict(liquid)
    assert np.median(abs(found - wanted)) < 1e-5
    query = freud.locality.AABBQuery(*system)
    np.testing.assert_array_equal(from_freud(query, liquid.types).positions, back.positions)


def test_neighbours_of_the_network_are_those_that_freud_finds(liquid):
    system = to_freud(liquid)
    ours = neighbours_to_freud(build_graph(liquid, 1.4))
    by_ours = freud.order.Steinhardt(6).compute(system, neighbors=ours).particle_order
    alone = freud.order.Steinhardt(6).compute(system, neighbors={"r_max": 1.4, "exclude_ii": True})
    np.testing.assert_allclose(by_ours, alone.particle_order, atol=2e-5)


def test_a_neighbour_list_of_freud_is_the_graph(liquid):
    system = to_freud(liquid)
    structure = from_freud(system, liquid.types)
    query = freud.locality.AABBQuery(*system)
    longer = query.query(system[1], {"r_max": 1.7, "exclude_ii": True}).toNeighborList()
    graph, wanted = graph_of(structure, longer, 1.5), build_graph(structure, 1.5)
    graph.check()
    assert (np.diff(graph.edge_index[1]) >= 0).all()
    assert sorted(zip(*graph.edge_index.tolist(), strict=True)) == sorted(
        zip(*wanted.edge_index.tolist(), strict=True)
    )
    source, destination = graph.edge_index.numpy()
    step = structure.positions[source] - structure.positions[destination]
    expected = minimum_image(step, structure.cell, structure.pbc)
    np.testing.assert_allclose(graph.edge_vec, expected, atol=5e-6)


def test_planes_stay_planes():
    rng = np.random.default_rng(0)
    plane = Structure(rng.random((50, 2)) * 8, np.zeros(50, int), [8.0, 9.0])
    box, points = to_freud(plane)
    assert box.is2D and np.allclose(points[:, 2], 0)
    back = from_freud((box, points), plane.types)
    assert back.dimension == 2 and back.volume == pytest.approx(72)
    np.testing.assert_allclose(
        distances(build_graph(back, 1.5)), distances(build_graph(plane, 1.5)), atol=1e-5
    )


def test_bad_input_is_one_sentence():
    liquid = make_liquid(200)
    box, points = to_freud(liquid)
    short = freud.locality.AABBQuery(box, points).query(points, {"r_max": 1.2, "exclude_ii": True})
    with pytest.raises(InputError, match=r"lacks .* pairs within 1.5 σ"):
        graph_of(liquid, short.toNeighborList(), 1.5)
    few = freud.locality.AABBQuery(box, points[:100]).query(points[:100], {"r_max": 1.5, "exclude_ii": True})
    with pytest.raises(InputError, match="of 100 and 100 points and the structure has 200"):
        graph_of(liquid, few.toNeighborList(), 1.5)
    with pytest.raises(InputError, match="has no box"):
        to_freud(Structure(liquid.positions, liquid.types, np.zeros((3, 3)), False))
