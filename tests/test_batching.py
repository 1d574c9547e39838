"""Many structures at once and some particles alone: the numbers of one by one, to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propensity.batching import chosen_atoms, distance_from, surroundings
from propensity.errors import InputError
from propensity.estimators.storage import load_model
from propensity.neighbours import neighbour_list
from propensity.neighbours.many import _listed, neighbour_lists
from propensity.neighbours.sharing import sharing_many
from propensity.predictor import Predictor
from propensity.structure import Structure
from tests.conftest import make_liquid, make_tiny_model


def tilted(n: int, seed: int = 0) -> Structure:
    liquid = make_liquid(n, seed=seed)
    cell = liquid.cell.copy()
    cell[1, 0] = 0.3 * cell[0, 0]
    return Structure(liquid.positions, liquid.types, cell)


def film(n: int) -> Structure:
    liquid = make_liquid(n, seed=5)
    return Structure(liquid.positions, liquid.types, liquid.cell, (True, False, True))


MANY = [make_liquid(120), make_liquid(97, seed=1), tilted(150), film(110), make_liquid(30), make_liquid(500)]


def edges_of(index, vectors):
    table = torch.cat([index.T.double(), vectors.double()], dim=1).numpy()
    return table[np.lexsort(np.round(table, 6).T[::-1])]


def test_neighbours_of_many_are_those_of_each():
    index, vectors, counts = neighbour_lists(MANY, 2.0)
    assert (index[1].diff() >= 0).all()
    first = 0
    for structure, edges, values in zip(
        MANY, index.split(counts.tolist(), dim=1), vectors.split(counts.tolist()), strict=True
    ):
        expected = neighbour_list(structure, 2.0)
        np.testing.assert_allclose(edges_of(edges - first, values), edges_of(*expected), atol=1e-12)
        first += len(structure)


def test_coincident_particles_of_many_are_named():
    positions = MANY[1].positions.copy()
    positions[7] = positions[3]
    bad = Structure(positions, MANY[1].types, MANY[1].cell)
    with pytest.raises(InputError, match=r"structure 1: particles [37] and [37] coincide"):
        neighbour_lists([MANY[0], bad], 2.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_many_are_each(dtype, tiny_model):
    predictor = Predictor(tiny_model, dtype=dtype)
    found = predictor.predict_many(MANY)
    for structure, values in zip(MANY, found, strict=True):
        np.testing.assert_allclose(
            values, predictor.predict(structure), rtol=0, atol=1e-12 if dtype == "float64" else 1e-6
        )
    assert predictor.predict_many([]) == []


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_many_by_a_committee_in_other_units_and_at_some_times(tiny_model, tmp_path):
    models = [tiny_model, make_tiny_model(tmp_path / "other", seed=1)]
    predictor = Predictor(models, length_scale=2.5, times=[10, 1], dtype="float64")
    large = [structure.scaled(2.5) for structure in MANY[:3]]
    for structure, values in zip(large, predictor.predict_many(large), strict=True):
        np.testing.assert_allclose(values, predictor.predict(structure), atol=1e-12)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_more_than_fit_together(tiny_model, monkeypatch):
    monkeypatch.setattr("propensity.estimators.inputs.TOGETHER", 250)
    monkeypatch.setattr("propensity.neighbours.many.PAIRS", 20_000)
    predictor = Predictor(tiny_model, dtype="float64")
    for structure, values in zip(MANY, predictor.predict_many(MANY), strict=True):
        np.testing.assert_allclose(values, predictor.predict(structure), atol=1e-12)


def test_a_bad_one_among_many_is_named(tiny_model):
    bad = Structure(MANY[0].positions, MANY[0].types + 1, MANY[0].cell)
    with pytest.raises(InputError, match="structure 1: the structure has type 2"):
        Predictor(tiny_model).predict_many([MANY[0], bad])


@pytest.mark.parametrize("n", [100, 12])
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_a_bad_one_is_named_by_its_place_among_all(n, tiny_model, monkeypatch):
    monkeypatch.setattr("propensity.estimators.inputs.TOGETHER", 2 * n)
    many = [make_liquid(n, seed=k) for k in range(5)]
    positions = many[3].positions.copy()
    positions[7] = positions[3]
    many[3] = Structure(positions, many[3].types, many[3].cell)
    with pytest.raises(InputError, match=r"^structure 3: particles [37] and [37] coincide"):
        Predictor(tiny_model).predict_many(many)


def elongated(n: int = 120, times: int = 12, pbc=True) -> Structure:
    """A liquid repeated along x and shaken, so that much of it is far from a particle."""
    unit = make_liquid(n)
    shift = np.repeat(np.arange(times), n)[:, None] * unit.cell[0]
    noise = 0.05 * np.random.default_rng(3).random((n * times, 3))
    cell = unit.cell * np.array([[times], [1], [1]])
    positions = np.tile(unit.positions, (times, 1)) + shift + noise
    return Structure(positions, np.tile(unit.types, times), cell, pbc)


@pytest.mark.parametrize("pbc", [True, (True, True, False), False])
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_some_atoms_are_those_of_the_whole(pbc, tiny_model, monkeypatch):
    structure = elongated(pbc=pbc)
    predictor = Predictor(tiny_model, dtype="float64")
    whole = predictor.predict(structure)
    seen = []
    (estimator,) = predictor.estimators
    evaluate = estimator.unchecked
    monkeypatch.setattr(estimator, "unchecked", lambda part: (seen.append(len(part)), evaluate(part))[1])
    for atoms in ([700], [3, 1, 2], np.arange(len(structure)) == 1439):
        found = predictor.predict(structure, atoms=atoms)
        np.testing.assert_allclose(found, whole[np.asarray(atoms)], atol=1e-12)
    assert max(seen) < 0.5 * len(structure)
    np.testing.assert_allclose(predictor.predict(structure, atoms=np.arange(1440)), whole, atol=1e-12)
    assert seen[-1] == len(structure)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_less_than_the_reach_is_not_enough(tiny_model):
    """The reach is no larger than it must be by layers: what lies just within it matters."""
    structure = elongated()
    predictor = Predictor(tiny_model, dtype="float64")
    (estimator,) = predictor.estimators
    assert estimator.reach(structure) == 4.0  # two layers, cutoff 2
    atoms = np.array([700])
    near = distance_from(structure, atoms, 1.9)
    part = structure.part(np.flatnonzero(near <= 1.9))
    where = np.flatnonzero(np.flatnonzero(near <= 1.9) == 700)
    assert np.abs(estimator.unchecked(part)[where] - predictor.predict(structure)[700]).max() > 1e-6


def test_distances_are_those_to_the_nearest_image():
    structure = tilted(150)
    atoms = np.array([5, 80])
    found = distance_from(structure, atoms, 3.5)
    shifts = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3) @ structure.cell
    images = (structure.positions[atoms][:, None] + shifts).reshape(-1, 3)
    expected = np.linalg.norm(structure.positions[:, None] - images, axis=2).min(axis=1)
    near = expected <= 3.5
    np.testing.assert_allclose(found[near], expected[near], atol=1e-12)
    assert (found[~near] > 3.5).all()


@pytest.mark.parametrize("name", ["ka-both", "ka-cage-3", "bapst-t044-s09"])
@pytest.mark.slow
def test_reach_of_shipped_models(name):
    """What lies beyond the reach may be anything."""
    from propensity.caging import CageState

    estimator = load_model(name).to("cpu", torch.float64)
    rng = np.random.default_rng(0)
    structure = elongated(times=24)
    n = len(structure)
    offset = 0.05 * rng.normal(size=(n, 3))
    if estimator.card.input_positions == "both":
        covariance = np.broadcast_to(0.01 * np.eye(3), (2, n, 3, 3)).copy()
        cage = CageState(
            np.array([0.25, 0.45]),
            0.03 * rng.normal(size=(2, n, 3)),
            covariance,
            np.zeros(2),
            1650,
            structure.positions,
        )
        structure = Structure(
            structure.positions, structure.types, structure.cell, thermal_offset=offset, cage=cage
        )
    near = surroundings(structure, np.array([1400]), [estimator], 1.4)
    assert near is not None
    values = estimator.unchecked(structure.part(near.rows))[near.chosen]
    np.testing.assert_allclose(values, estimator.unchecked(structure)[[1400]], atol=1e-10)


@pytest.mark.slow
def test_many_by_the_gated_network():
    rng = np.random.default_rng(0)
    from propensity.caging import CageState

    estimator = load_model("ka-cage-3").to("cpu", torch.float64)
    structures = []
    for liquid in MANY[:3]:
        n = len(liquid)
        cage = CageState(
            np.array([0.25, 0.45]),
            0.03 * rng.normal(size=(2, n, 3)),
            np.broadcast_to(0.01 * np.eye(3), (2, n, 3, 3)).copy(),
            np.zeros(2),
            1650,
            liquid.positions,
        )
        structures.append(
            Structure(
                liquid.positions,
                liquid.types,
                liquid.cell,
                thermal_offset=0.05 * rng.normal(size=(n, 3)),
                cage=cage,
            )
        )
    for structure, values in zip(structures, estimator.unchecked_many(structures), strict=True):
        np.testing.assert_allclose(values, estimator.unchecked(structure), atol=1e-10)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        ([], "atoms is empty: give at least one index"),
        ([3, 500], "atoms holds the index 500: particles are numbered 0 to 119"),
        ([-1], "atoms holds the index -1"),
        ([1.0], "give integer indices"),
        ([[1]], r"atoms has shape \(1, 1\)"),
        ([4, 4], "atoms holds the index 4 twice: give each once"),
        (np.ones(7, bool), r"mask of shape \(7,\): give one of shape \(120,\)"),
        (["a"], "give integer indices"),
    ],
)
def test_atoms_that_are_none(atoms, message, tiny_model, liquid):
    with pytest.raises(InputError, match=message):
        Predictor(tiny_model).predict(liquid, atoms=atoms)


def test_one_index_will_do():
    assert chosen_atoms(3, 10).tolist() == [3]


def test_a_shared_list_gives_what_each_cutoff_lists():
    lone = Structure([[0.0, 0, 0], [2.5, 2.5, 2.5]], [0, 0], 9.0)  # without any edge, first and in between
    structures = [lone, MANY[0], lone, MANY[2]]
    with sharing_many(structures, 2.0, torch.device("cpu")):
        for cutoff, dtype in ((1.5, torch.float64), (2.0, torch.float32)):
            index, vectors, counts = neighbour_lists(structures, cutoff, dtype=dtype)
            expected = _listed(structures, cutoff, torch.device("cpu"), dtype)
            assert torch.equal(index, expected[0]) and torch.equal(counts, expected[2])
            assert torch.equal(vectors, expected[1]) and vectors.dtype == dtype


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_neighbours_are_listed_once_for_checks_and_network(monkeypatch, tiny_model):
    predictor, made = Predictor(tiny_model, device="cpu"), []

    def counted(structures, cutoff, *more):
        made.append((len(structures), cutoff))
        return _listed(structures, cutoff, *more)

    monkeypatch.setattr("propensity.neighbours.many._listed", counted)
    predictor.predict_many(MANY[:2] * 3)
    assert made == [(6, predictor.card.cutoff)]
