"""Neighbours under every kind of boundary, against sums over images written out."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from itertools import product

import numpy as np
import pytest
import torch
from packaging.version import Version

from propensity.errors import DataError, InputError
from propensity.graph import build_graph, join_graphs
from propensity.neighbours import available, neighbour_list, register
from propensity.structure import Structure
from tests.conftest import make_liquid
from tests.nn.kernels.graphs import random_graph


def brute_force(structure: Structure, cutoff: float) -> set[tuple]:
    """All (source, destination, vector) by summing over more images than can be in range."""
    periodic = np.flatnonzero(structure.pbc)
    reach = [0, 0, 0]
    spread = np.ptp(structure.positions, axis=0)
    if len(periodic):
        # Heights of the periodic cell bound how many images lie within range.
        vectors = structure.cell[periodic]
        heights = 1 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)
        for axis, height in zip(periodic, heights, strict=True):
            reach[axis] = int(np.ceil((cutoff + np.linalg.norm(spread)) / height)) + 1
    edges = set()
    for image in product(*(range(-r, r + 1) for r in reach)):
        vectors = structure.positions[None] + np.array(image) @ structure.cell - structure.positions[:, None]
        distances = np.linalg.norm(vectors, axis=-1)
        for i, j in np.argwhere(distances < cutoff):
            if i != j or any(image):
                edges.add((int(j), int(i), *np.round(vectors[i, j], 8)))
    return edges


def edges_of(structure: Structure, cutoff: float) -> set[tuple]:
    graph = build_graph(structure, cutoff, dtype=torch.float64)
    rows = zip(*graph.edge_index.tolist(), np.round(graph.edge_vec.numpy(), 8), strict=True)
    result = {(j, i, *vector) for j, i, vector in rows}
    assert len(result) == graph.edge_index.shape[1], "an edge occurs twice"
    return {tuple(float(x) + 0.0 for x in edge) for edge in result}


CELLS = {
    "cubic": np.eye(3) * 3.1,
    "smaller than the cutoff": np.eye(3) * 1.3,
    "flat": np.diag([5.0, 4.0, 0.9]),
    "triclinic": np.array([[3.0, 0, 0], [1.1, 2.7, 0], [-0.8, 0.6, 2.9]]),
    "strongly tilted": np.array([[2.0, 0, 0], [1.9, 0.8, 0], [0.3, -0.7, 2.2]]),
    "left-handed": np.array([[0, 3.0, 0], [2.8, 0.4, 0], [0, 0.2, 3.3]]),
}


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("name", CELLS)
def test_edges_are_those_of_a_sum_over_images(name, pbc):
    rng = np.random.default_rng(7)
    # Positions outside the cell on purpose: files hold unwrapped ones.
    positions = rng.uniform(-1.5, 1.5, (9, 3)) @ CELLS[name]
    structure = Structure(positions, np.zeros(9, int), CELLS[name], pbc)
    expected = {tuple(float(x) + 0.0 for x in edge) for edge in brute_force(structure, 1.6)}
    assert edges_of(structure, 1.6) == expected
    if all(pbc):
        assert expected, "the case is vacuous"


@pytest.mark.parametrize("n_images", [1, 2, 3])
def test_one_particle_sees_its_own_images_but_not_itself(n_images):
    """Simple cubic lattice: 6 images at distance a, none at 0."""
    graph = build_graph(Structure([[0.3, 0.3, 0.3]], [0], 1.0), 1.001 * n_images)
    distances = graph.edge_vec.norm(dim=1)
    assert distances.min() == pytest.approx(1.0)
    assert int((distances < 1.0001).sum()) == 6
    lattice = np.array(list(product(range(-4, 5), repeat=3)))
    norms = np.linalg.norm(lattice, axis=1)
    assert len(distances) == ((norms > 0) & (norms < 1.001 * n_images)).sum()


def test_edges_are_directed_both_ways_and_sorted_by_destination(liquid):
    graph = build_graph(liquid, 2.0, dtype=torch.float64)
    source, destination = graph.edge_index
    assert bool((destination[1:] >= destination[:-1]).all())
    forth = {
        (j, i, *np.round(v, 8) + 0.0)
        for j, i, v in zip(source.tolist(), destination.tolist(), graph.edge_vec.numpy(), strict=True)
    }
    back = {
        (i, j, *np.round(-v, 8) + 0.0)
        for j, i, v in zip(source.tolist(), destination.tolist(), graph.edge_vec.numpy(), strict=True)
    }
    assert forth == back
    delta = liquid.positions[source] - liquid.positions[destination] - graph.edge_vec.numpy()
    images = delta @ np.linalg.inv(liquid.cell)
    assert np.allclose(images, np.round(images), atol=1e-9), "edge_vec is not r_j − r_i up to an image"


@pytest.mark.parametrize("shift", [0.0, 1e-17, -1e-17, 1e3, -0.5])
def test_positions_on_the_boundary_of_the_cell(shift):
    positions = np.array([[0.0, 0.0, 0.0], [3.0, 3.0, 3.0 - 1e-16], [1.0, 3.0, 0.0]]) + shift
    positions[1, :2] += 0.2
    structure = Structure(positions, [0, 0, 0], 3.0)
    assert len(edges_of(structure, 1.5)) == len(
        brute_force(Structure(positions - shift, [0, 0, 0], 3.0), 1.5)
    )


def test_isolated_particles_stay_in_the_graph():
    graph = build_graph(Structure([[1.0, 1, 1], [7, 7, 7]], [0, 1], 20.0), 2.0)
    assert graph.num_nodes == 2
    assert graph.edge_index.shape == (2, 0)
    assert graph.edge_vec.shape == (0, 3)


@pytest.mark.parametrize("offset", [0.0, 3.0, -300.0, 1e-30])
def test_coincident_particles_are_refused(offset):
    """Also through the boundary, where the coordinates differ by a cell vector."""
    positions = [[0.5, 0.5, 0.5], [2.0, 2.0, 2.0], [0.5 + offset, 0.5, 0.5]]
    with pytest.raises(InputError, match=r"particles (0 and 2|2 and 0) coincide"):
        build_graph(Structure(positions, [0, 0, 0], 3.0), 2.0)


def test_coincident_particles_are_refused_with_open_boundaries():
    with pytest.raises(InputError, match=r"coincide"):
        build_graph(Structure([[0, 0, 0], [0, 0, 0]], [0, 0], 0.0, False), 2.0)


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_cutoff_that_is_not_positive_is_refused(cutoff, liquid):
    with pytest.raises(InputError, match=r"cutoff"):
        build_graph(liquid, cutoff)


def test_an_unknown_backend_names_those_that_exist(liquid):
    with pytest.raises(InputError, match=r"matscipy.*nearest is 'matscipy'"):
        neighbour_list(liquid, 2.0, backend="matscippy")
    assert "matscipy" in available("cpu")


def test_a_registered_backend_is_used(liquid, monkeypatch):
    from propensity.neighbours import backends

    monkeypatch.setattr(backends.BACKENDS, "_entries", dict(backends.BACKENDS._entries))
    register(
        "none",
        lambda s, c, device, dtype: (torch.zeros(2, 0, dtype=torch.long), torch.zeros(0, 3, dtype=dtype)),
    )
    assert build_graph(liquid, 2.0, backend="none").edge_index.shape == (2, 0)


def test_a_supercell_repeats_the_edges():
    small = make_liquid(60, seed=3)
    double = Structure(
        np.concatenate([small.positions, small.positions + small.cell[0]]),
        np.tile(small.types, 2),
        small.cell * np.array([[2], [1], [1]]),
    )
    assert build_graph(double, 2.0).edge_index.shape[1] == 2 * build_graph(small, 2.0).edge_index.shape[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(liquid, dtype):
    graph = build_graph(liquid, 2.0, dtype=dtype)
    assert graph.edge_vec.dtype == dtype
    assert graph.types.dtype == graph.edge_index.dtype == torch.int64
    assert float(graph.edge_vec.norm(dim=1).max()) < 2.0


def test_every_field_is_declared_and_checked(liquid):
    graph = build_graph(liquid, 2.0)
    graph.check()
    with pytest.raises(AttributeError, match="no field 'to_inherent'"):
        graph.to_inherent = torch.zeros(3)
    graph.scalars = torch.zeros(len(liquid), 2)
    graph.check()
    graph.labels = torch.zeros(len(liquid) + 1, 2)
    with pytest.raises(DataError, match="labels has shape"):
        graph.check()
    graph.labels = torch.zeros(len(liquid), 2, dtype=torch.int64)
    with pytest.raises(DataError, match=r"dtype torch\.int64: declared"):
        graph.check()


def test_joined_graphs_are_those_of_torch_geometric():
    data = pytest.importorskip("torch_geometric.data")
    graphs = [random_graph(n, 30, seed=n) for n in (5, 7, 4)]
    joined, batch = join_graphs(graphs), data.Batch.from_data_list([graph.to_pyg() for graph in graphs])
    joined.check()
    assert joined.num_nodes == batch.num_nodes == 16
    names = [name for name, _, _ in joined.tensors()]
    assert "thermal_edge_index" in names
    for name in names:
        assert torch.equal(joined[name], batch[name]), name


def test_a_graph_moves_with_all_it_holds():
    graph = random_graph(5, 30)
    moved = graph.to("meta")
    assert [name for name, _, value in moved.tensors() if value.is_meta] == [n for n, _, _ in graph.tensors()]
    assert "labels" not in graph and "scalars" in graph and repr(graph).startswith("Graph(types=[5], ")


@pytest.mark.parametrize("module", ["propensity.predictor", "propensity.trajectory"])
def test_what_takes_long_to_import_is_left_out(module):
    """Of a prediction: torch_geometric, torch's compiler, and interpolation for models of one temperature."""
    if Version(version("e3nn")) < Version("0.6"):
        pytest.skip("e3nn of those days imports torch's compiler itself")
    slow = {"torch_geometric", "torch._dynamo", "scipy.interpolate", "lightning", "sklearn", "matplotlib"}
    slow |= {"scipy.integrate", "scipy.optimize", "ase.io"}
    code = f"import sys, {module}; found = {slow} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
