"""A liquid in a plane is two-dimensional, however its file describes the third direction."""

from __future__ import annotations

import ase
import numpy as np
import pytest

from propensity.errors import InputError
from propensity.graph import build_graph
from propensity.structure import Structure

N, EDGE = 120, 10.0


def planar(height=0.0):
    rng = np.random.default_rng(3)
    # One particle a site of a jittered lattice: none too close.
    side = 12
    sites = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:N]
    plane = (sites + rng.uniform(0.1, 0.9, sites.shape)) * EDGE / side
    return np.column_stack([plane, np.full(N, height)]), rng.integers(0, 2, N)


def edges(structure):
    graph = build_graph(structure, 2.0)
    pairs = np.column_stack([graph.edge_index.numpy().T, np.round(graph.edge_vec.numpy(), 4)])
    return sorted(map(tuple, pairs.tolist()))


@pytest.fixture
def reference():
    positions, types = planar()
    return Structure(positions[:, :2], types, EDGE)


@pytest.mark.parametrize("pbc", [True, (True, True, False)])
@pytest.mark.parametrize("thickness", [0.0, 1.0, EDGE, 40.0])
@pytest.mark.parametrize("height", [0.0, -0.5, 3.7])
def test_third_direction_is_open_whatever_the_file_says(reference, pbc, thickness, height):
    positions, types = planar(height)
    structure = Structure(positions, types, [EDGE, EDGE, thickness], pbc)
    assert structure.dimension == 2 and structure.pbc.tolist() == [True, True, False]
    assert structure.density == pytest.approx(N / EDGE**2)
    assert edges(structure) == edges(reference)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_cartesian_plane(reference, axis):
    positions, types = planar()
    turned = np.roll(positions, axis + 1, axis=1)
    cell = np.diag(np.roll([EDGE, EDGE, 1.0], axis + 1))
    structure = Structure(turned, types, cell)
    assert structure.normal == axis and structure.pbc.tolist() == [k != axis for k in range(3)]
    assert build_graph(structure, 2.0).edge_index.shape == build_graph(reference, 2.0).edge_index.shape


@pytest.mark.parametrize("tilt", [0.0, 2.5, -7.0])
def test_triclinic_area(tilt):
    positions, types = planar()
    cell = [[EDGE, 0, 0], [tilt, EDGE, 0], [0, 0, 1.0]]
    sheared = positions + positions[:, 1:2] / EDGE * [[tilt, 0, 0]]
    structure = Structure(sheared, types, cell)
    assert structure.dimension == 2
    assert structure.density == pytest.approx(N / EDGE**2)
    flat = Structure(sheared[:, :2], types, np.array(cell)[:2, :2])
    assert edges(flat) == edges(structure)
    assert not (np.abs(build_graph(structure, 2.0).edge_vec[:, 2].numpy()) > 0).any()


@pytest.mark.parametrize("flags", [(True, False), (False, True), (False, False)])
def test_open_directions_in_the_plane_stay_open(flags):
    positions, types = planar()
    structure = Structure(positions, types, [EDGE, EDGE, 1.0], [*flags, True])
    assert structure.pbc.tolist() == [*flags, False] and structure.dimension == 2
    assert structure.density is None
    assert np.array_equal(Structure(positions[:, :2], types, EDGE, flags).pbc, structure.pbc)


def test_a_slab_and_a_bulk_are_three_dimensional():
    positions, types = planar()
    positions[:, 2] = np.random.default_rng(0).uniform(0, 0.3, N)
    for pbc in (True, (True, True, False)):
        structure = Structure(positions, types, [EDGE, EDGE, 1.0], pbc)
        assert structure.dimension == 3 and structure.pbc.all() == (pbc is True)
    assert structure.density is None


def test_three_dimensions_can_be_asked_for():
    positions, types = planar()
    structure = Structure(positions, types, [EDGE, EDGE, 1.0], dimension=3)
    assert structure.dimension == 3 and structure.pbc.all()
    assert structure.density == pytest.approx(N / EDGE**2)
    assert structure.scaled(2.0).dimension == 3 and structure.with_positions(positions).dimension == 3


def test_two_dimensions_asked_for_out_of_a_plane_are_refused():
    positions, types = planar()
    positions[7, 2] = 0.2
    with pytest.raises(InputError, match=r"dimension is 2.*planar positions, or dimension=3"):
        Structure(positions, types, EDGE, dimension=2)
    with pytest.raises(InputError, match=r"dimension is 4"):
        Structure(positions, types, EDGE, dimension=4)


def test_few_particles_that_share_a_plane_by_chance_stay_bulk():
    two = np.array([[0.1, 0.2, 0.3], [1.0, 1.2, 0.3]])
    assert Structure(two, [0, 1], 2.0).dimension == 3
    assert Structure(two, [0, 1], [4.0, 4.0, 1.0]).dimension == 2


def test_scaling_and_minimum_keep_the_plane(reference):
    scaled = reference.scaled(2.7)
    assert scaled.dimension == 2 and scaled.density == pytest.approx(reference.density / 2.7**2)
    moved = reference.at_minimum(reference.positions + [EDGE, 0.01, 0])
    assert moved.dimension == 2 and np.abs(moved.thermal_offset[:, 1] + 0.01).max() < 1e-9
    assert np.abs(moved.thermal_offset[:, 0]).max() < 1e-9


def test_ase_with_zero_third_vector_and_flags(reference):
    positions, types = planar()
    for pbc, height in (((True, True, False), 0.0), (True, 0.0), (True, 1.0)):
        atoms = ase.Atoms("H" * N, positions, cell=[EDGE, EDGE, height], pbc=pbc)
        atoms.arrays["type"] = types + 1
        structure = Structure.from_ase(atoms, ("A", "B"), {1: "A", 2: "B"})
        assert edges(structure) == edges(reference)


@pytest.mark.parametrize("height", [0.0, 1.0])
def test_mdanalysis_boxes(reference, height):
    import MDAnalysis

    positions, types = planar()
    universe = MDAnalysis.Universe.empty(N, trajectory=True)
    universe.add_TopologyAttr("types", np.where(types, "B", "A"))
    universe.atoms.positions = positions
    universe.dimensions = [EDGE, EDGE, height, 90, 90, 90]
    structure = Structure.from_mdanalysis(universe.atoms, ("A", "B"))
    assert structure.dimension == 2
    assert build_graph(structure, 2.0).edge_index.shape == build_graph(reference, 2.0).edge_index.shape


def test_a_planar_lammps_dump_reads_as_its_arrays(reference, tmp_path):
    from propensity.trajectory import open_trajectory

    positions, types = planar()
    rows = [
        f"{i + 1} {t + 1} {x!r} {y!r} 0"
        for i, (t, (x, y, _)) in enumerate(zip(types, positions.tolist(), strict=True))
    ]
    path = tmp_path / "plane.dump"
    path.write_text(
        "\n".join(
            ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", str(N), "ITEM: BOX BOUNDS pp pp pp"]
            + [f"0 {EDGE}", f"0 {EDGE}", "-0.5 0.5", "ITEM: ATOMS id type x y z", *rows, ""]
        )
    )
    (frame,) = open_trajectory(path)
    structure = frame.structure(("A", "B"), {1: "A", 2: "B"})
    assert edges(structure) == edges(reference)


def test_models_and_structures_of_different_dimension_are_kept_apart(tmp_path, liquid):
    from propensity import Predictor
    from tests.conftest import make_tiny_model

    positions, types = planar()
    flat = Structure(positions[:, :2], types, EDGE)
    bulk_model = make_tiny_model(tmp_path / "bulk")
    flat_model = make_tiny_model(
        tmp_path / "flat", dimension=2, density=float(flat.density), composition=tuple(flat.composition(2))
    )
    with pytest.raises(InputError, match=r"lie in one plane.*trained in 3 dimensions"):
        Predictor(bulk_model).predict(flat)
    with pytest.raises(InputError, match=r"fill three dimensions.*trained in 2 dimensions"):
        Predictor(flat_model).predict(liquid)
    predicted = Predictor(flat_model).predict(flat)  # no warning: the density is that of the area
    assert np.array_equal(
        predicted, Predictor(flat_model).predict(Structure(positions, types, [10, 10, 1.0]))
    )
    with pytest.warns(UserWarning, match=r"number density is 1\.\d+ σ⁻² and the model was trained at"):
        Predictor(flat_model).predict(flat.scaled(0.9))


def test_films_and_thin_slabs_are_named(tmp_path):
    from propensity import Predictor
    from tests.conftest import make_tiny_model

    model = make_tiny_model(tmp_path / "bulk", density=None, composition=())
    positions, types = planar()
    positions[:, 2] = np.random.default_rng(0).uniform(0, 0.3, N)
    with pytest.warns(UserWarning, match=r"open along cell vector\(s\) \[2\]"):
        Predictor(model).predict(Structure(positions, types, EDGE, (True, True, False)))
    with pytest.warns(UserWarning, match=r"1 σ thin along vector 2.*their own neighbours"):
        Predictor(model).predict(Structure(positions, types, [EDGE, EDGE, 1.0]))


def test_training_set_and_card_and_store_keep_the_plane(tmp_path):
    from propensity.data import StoreWriter, open_dataset
    from propensity.data.summary import summarise
    from propensity.errors import DataError
    from propensity.estimators.training_set import training_card
    from propensity.sample import Sample
    from tests.conftest import make_liquid

    positions, types = planar()
    flat = Sample(
        Structure(positions[:, :2], types, EDGE), np.array([1.0]), np.linspace(0, 1, N)[:, None], "flat"
    )
    card = training_card("ridge", [flat], config={}, options={})
    assert card.dimension == 2 and card.density == pytest.approx(N / EDGE**2)
    bulk = Sample(make_liquid(), np.array([1.0]), np.ones((120, 1)), "bulk")
    with pytest.raises(DataError, match="3 dimensions and flat has 2"):
        training_card("ridge", [flat, bulk], config={}, options={})
    with StoreWriter(tmp_path / "both.h5") as writer:
        writer.add(flat)
        writer.add(bulk)
    stored = open_dataset(tmp_path / "both.h5")
    assert {sample.name: sample.structure.dimension for sample in stored} == {"flat": 2, "bulk": 3}
    first, second = sorted(summarise(stored), key=lambda summary: summary.dimension)
    assert (first.dimension, second.dimension) == (2, 3)
    assert first.density == pytest.approx((N / EDGE**2,) * 2) and first.edges == (EDGE, EDGE)
