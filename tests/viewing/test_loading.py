"""Scenes of every kind of input hold what the file says."""

from __future__ import annotations

import shutil

import ase
import ase.io
import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.errors import DataError, InputError
from propensity.estimators.storage import load_model
from propensity.predictor import Predictor
from propensity.trajectory import annotate
from propensity.viewing import load_scene
from propensity.viewing.scene import evenly, species_of_labels
from propensity.viewing.sizes import drawn_diameters, viewing_direction
from tests.conftest import make_liquid
from tests.data.conftest import DATA
from tests.trajectory.conftest import write_dump
from tests.viewing.conftest import planar

MAP = {1: "A", 2: "B"}


@pytest.fixture
def dump(tmp_path):
    """Two frames of 60 particles as a dump."""
    path = tmp_path / "two.dump"
    write_dump(path, [make_liquid(60, seed=k) for k in range(2)])
    return path


@pytest.mark.parametrize("suffix", [".extxyz", ".dump", ".h5"])
def test_annotated_files_show_their_values(dump, tmp_path, tiny_model, suffix):
    predictor = Predictor(tiny_model, species_map=MAP)
    annotate(dump, tmp_path / f"out{suffix}", predictor)
    scene = load_scene(tmp_path / f"out{suffix}", species_map=None if suffix == ".h5" else MAP)
    assert scene.times.tolist() == [1.0, 10.0, 100.0] and scene.default_time_index == 2
    assert scene.species == ("A", "B") and len(scene.frames) == 2
    for k, frame in enumerate(scene.frames):
        expected = predictor.predict(make_liquid(60, seed=k))
        np.testing.assert_allclose(frame.fields["predicted"], expected, atol=2e-5)
        assert (frame.structure.types == make_liquid(60, seed=k).types).all()
        assert frame.ids.tolist() == list(range(1, 61))
    assert load_scene(tmp_path / f"out{suffix}", times=[10]).times.tolist() == [10.0]


def test_what_was_simulated_is_shown_beside_the_prediction(tmp_path):
    liquid = make_liquid(40)
    atoms = ase.Atoms(np.array(["Ni", "P"])[liquid.types], liquid.positions, cell=liquid.cell, pbc=True)
    atoms.arrays["propensities"] = np.random.default_rng(0).random((40, 3))
    atoms.arrays["propensity"] = atoms.arrays["propensities"][:, 1]
    atoms.arrays["published"] = np.arange(40.0)
    atoms.info["propensity_times"] = np.array([1.0, 10.0, 100.0])
    ase.io.write(tmp_path / "both.extxyz", atoms)
    scene = load_scene(tmp_path / "both.extxyz")
    simulated = scene.frames[0].fields["simulated"]
    assert scene.default_time_index == 1 and simulated[:, 1].tolist() == list(range(40))
    assert np.isnan(simulated[:, [0, 2]]).all()


def test_a_bare_trajectory_is_predicted(dump, tiny_model, tmp_path):
    scene = load_scene(dump, tiny_model, species_map=MAP, frames=[1])
    expected = Predictor(tiny_model).predict(make_liquid(60, seed=1))
    np.testing.assert_allclose(scene.frames[0].fields["predicted"], expected, atol=2e-5)
    assert scene.card.name == "tiny" and scene.frames[0].name.startswith("frame 1")
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    pair = load_scene(dump, [tiny_model, copy], species_map=MAP)
    assert not pair.frames[0].fields["uncertainty"].any()


@pytest.mark.filterwarnings("ignore:number density is")  # the file holds some of the particles of each
def test_labelled_structures_show_labels_and_prediction(tiny_model):
    path = DATA / "ka3d_few_train.npz"
    sample = open_dataset(path)[0]
    scene = load_scene(path, frames=2)
    assert scene.fields == ("simulated",) and scene.card is None
    np.testing.assert_allclose(scene.frames[0].fields["simulated"], sample.propensities)
    k = int(np.argmin(np.abs(np.log(sample.times))))
    both = load_scene(path, tiny_model, match=[(0, k)], frames=2)
    assert both.fields == ("predicted", "simulated") and both.times.tolist() == [sample.times[k]]
    expected = load_model(tiny_model).predict(sample.structure)[:, 0]
    np.testing.assert_allclose(both.frames[0].fields["predicted"][:, 0], expected, atol=1e-5)


def test_other_columns_can_be_shown(tmp_path):
    liquid = make_liquid(40)
    atoms = ase.Atoms(
        ["Cu" if k else "Zr" for k in liquid.types], liquid.positions, cell=liquid.cell, pbc=True
    )
    atoms.arrays["energy_local"] = np.arange(40.0)
    ase.io.write(tmp_path / "metal.extxyz", atoms)
    scene = load_scene(tmp_path / "metal.extxyz", column="energy_local", length_scale=2.7)
    assert scene.species == ("Cu", "Zr") and scene.unit == "Å" and scene.field(None) == "energy_local"
    assert scene.frames[0].fields["energy_local"][:, 0].tolist() == list(range(40))
    with pytest.raises(InputError, match=r"no column 'energy'.*nearest is 'energy_local'"):
        load_scene(tmp_path / "metal.extxyz", column="energy")


def test_sizes_come_from_the_file_the_liquid_or_the_distances():
    liquid = make_liquid(60)
    radius = np.linspace(0.4, 0.6, 60)
    assert drawn_diameters(liquid, ("A", "B"), {"radius": radius}).tolist() == (2 * radius).tolist()
    assert set(drawn_diameters(liquid, ("A", "B"), {}, 2.0)) == {2.0, 1.76}
    # Big and small discs in a row touch: centres 1.5 apart, diameters 2 and 1.
    chain = np.column_stack([1.5 * np.arange(40), np.zeros(40), np.zeros(40)])
    from propensity.structure import Structure

    mixed = Structure(chain, np.arange(40) % 2, np.diag([60.0, 9, 9]), dimension=3)
    assert drawn_diameters(mixed, ("x", "y"), {}) == pytest.approx(np.full(40, 1.5), rel=0.05)


def test_planes_and_films_are_looked_at_across():
    liquid = make_liquid(60)
    assert viewing_direction(liquid) == 2 and viewing_direction(planar()) == 2
    from propensity.structure import Structure

    film = Structure(liquid.positions, liquid.types, liquid.cell, (False, True, True))
    assert viewing_direction(film) == 0


def test_names_of_species_follow_their_numbers():
    names, types = species_of_labels([10, 2, 2, 1])
    assert names == ("type 1", "type 2", "type 10") and types.tolist() == [2, 1, 1, 0]
    assert species_of_labels(["Zr", "Cu"])[0] == ("Cu", "Zr")


def test_frames_are_spread_evenly():
    assert evenly(5, 10) == [0, 1, 2, 3, 4]
    assert evenly(101, 3) == [0, 50, 100]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"path": "missing.h5"}, DataError, "doesn't exist"),
        ({"times": [7.0]}, InputError, "time 7 is not among"),
        ({"times": ["tau_alpha"]}, InputError, "is no number"),
        ({"frames": 0}, InputError, "give how many"),
        ({"frames": [9]}, DataError, "no frame 9"),
        ({"length_scale": -1.0}, InputError, "length_scale is -1"),
        ({"match": [(0, 0)]}, InputError, "pairs of times"),
        ({"column": "nothing"}, InputError, "no column 'nothing'"),
    ],
)
def test_bad_requests_are_named(dump, tmp_path, tiny_model, options, error, message):
    annotate(dump, tmp_path / "out.extxyz", Predictor(tiny_model, species_map=MAP))
    with pytest.raises(error, match=message):
        load_scene(**{"path": tmp_path / "out.extxyz", "species_map": MAP, **options})


@pytest.mark.parametrize("options", [{"potential": "lj/cut"}, {"temperature": 0.4}], ids=str)
def test_labelled_data_say_their_liquid(options):
    with pytest.raises(InputError, match=r"is labelled data, which says its \w+: leave \w+ out"):
        load_scene(DATA / "ka3d_few_train.npz", **options)


def test_a_model_alone_has_no_particles(tiny_model):
    with pytest.raises(DataError, match="a model without data"):
        load_scene(tiny_model)
