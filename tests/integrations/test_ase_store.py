"""The store through ASE: everything there and back, any frames, and what is no store."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import EntryPoint

import ase
import ase.io
import h5py
import numpy as np
import pytest
from ase.io.formats import define_external_io_format, ioformats

from propensity import PropensityCalculator, Structure, open_dataset
from propensity.caging import CageState
from propensity.data import StoreWriter
from propensity.data.store import record
from propensity.errors import DataError
from propensity.integrations.ase_store import atoms_of, sample_of
from tests.data.conftest import make_sample

NAME = "propensity-store"


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """As the entry point of an installed package makes it known."""
    if NAME not in ioformats:
        monkeypatch.setattr("ase.io.formats.ioformats", ioformats)
        define_external_io_format(
            EntryPoint(NAME, "propensity.integrations.ase_formats:STORE", "ase.ioformats")
        )


@pytest.fixture
def store(tmp_path):
    with StoreWriter(tmp_path / "data.h5") as writer:
        for name in "abc":
            writer.add(make_sample(name))
    return tmp_path / "data.h5"


@pytest.mark.parametrize(
    ("index", "names"), [(":", "abc"), (0, "a"), (-1, "c"), ("::2", "ac"), ("-2:", "bc"), (None, "c")]
)
def test_frames_are_chosen_as_in_ase(index, names, store):
    found = ase.io.read(store, index=index, format=NAME)
    found = [found] if isinstance(found, ase.Atoms) else found
    assert [atoms.info["name"] for atoms in found] == list(names)


def test_labels_are_arrays(store):
    atoms, sample = ase.io.read(store, index=1, format=NAME), open_dataset(store)[1]
    assert np.array_equal(atoms.positions, sample.structure.positions) and atoms.pbc.all()
    assert np.array_equal(atoms.arrays["type"], sample.structure.types + 1)
    assert set(atoms.arrays["species"]) == {"A", "B"}
    assert np.array_equal(atoms.arrays["propensities"], sample.propensities)
    assert np.array_equal(atoms.info["times"], sample.times)
    assert atoms.info["temperature"] == 0.5 and atoms.info["potential"] == "lj/cut"


def test_there_and_back(store, tmp_path):
    ase.io.write(tmp_path / "again.h5", ase.io.read(store, index=":", format=NAME), format=NAME)
    for one, other in zip(open_dataset(store), open_dataset(tmp_path / "again.h5"), strict=True):
        for name in ("times", "propensities", "halves", "squared_displacement", "inherent_positions", "fs"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        for name in ("name", "n_runs", "temperature", "potential", "tau_alpha", "split", "group", "species"):
            assert getattr(one, name) == getattr(other, name)
        assert np.array_equal(one.structure.positions, other.structure.positions)
        assert np.array_equal(one.structure.types, other.structure.types)


def with_cage(name, **changes):
    """A sample of a polydisperse liquid with a cage state about its minimum."""
    sample = make_sample(name, **changes)
    rng, n = np.random.default_rng(1), len(sample)
    spread = rng.normal(size=(2, n, 3, 3))
    cage = CageState(
        np.array([0.25, 0.45]),
        0.05 * rng.normal(size=(2, n, 3)),
        1e-3 * (spread + spread.swapaxes(2, 3)),
        np.array([1e-3, 2e-3]),
        500,
        sample.inherent_positions,
    )
    s = sample.structure
    sizes = Structure(s.positions, s.types, s.cell, diameters=rng.uniform(0.8, 1.2, n))
    return replace(sample, structure=sizes, cage=cage)


def test_steps_of_cage_states_are_those_of_each_replica_also_where_all_together_were_stored(tmp_path):
    made = with_cage("a")
    made = replace(made, cage=replace(made.cage, steps_each=4800))
    with StoreWriter(tmp_path / "data.h5") as writer:
        writer.add(made)
    assert open_dataset(tmp_path / "data.h5")[0].cage.steps_each == 4800

    def older(radii, steps):
        with h5py.File(tmp_path / "data.h5", "r+") as file:
            (group,) = file["structures"].values()
            metadata = json.loads(record.read_text(group, "metadata"))
            metadata["cage"] = {"radii": radii, "error": [0.001, 0.002], "steps": steps}
            del group["metadata"]
            record.write_text(group, "metadata", json.dumps(metadata))
        return open_dataset(tmp_path / "data.h5")[0].cage.steps_each

    assert older([0.25, 0.6], 153600) == 4800
    assert older([0.25, 0.45], 26400) == 1650


def test_all_arrays_of_particles_there_and_back(tmp_path):
    with StoreWriter(tmp_path / "data.h5") as writer:
        writer.add(with_cage("a"))
    atoms, stored = ase.io.read(tmp_path / "data.h5", format=NAME), open_dataset(tmp_path / "data.h5")[0]
    ase.io.write(tmp_path / "again.h5", atoms, format=NAME)
    again = open_dataset(tmp_path / "again.h5")[0]
    offset, covariance = atoms.arrays["cage_offset"], atoms.arrays["cage_covariance"]
    assert offset.shape == (40, 2, 3) and covariance.shape == (40, 2, 3, 3)
    np.testing.assert_array_equal(offset[:, 1], stored.cage.offset[1])
    np.testing.assert_array_equal(atoms.arrays["diameter"], stored.structure.diameters)
    np.testing.assert_array_equal(atoms.arrays["inherent_positions"], stored.inherent_positions)
    np.testing.assert_array_equal(again.structure.diameters, stored.structure.diameters)
    for name in ("radii", "offset", "covariance", "error", "steps_each"):
        np.testing.assert_array_equal(getattr(again.cage, name), getattr(stored.cage, name), err_msg=name)
    # Chosen atoms take their arrays along.
    np.testing.assert_array_equal(atoms[5:9].arrays["cage_covariance"], covariance[5:9])


def test_equal_diameters_and_a_plane_are_kept(tmp_path):
    flat = make_sample("flat").structure.positions * [1, 1, 0]
    structure = Structure(flat, np.zeros(40, int), [5.0, 5.0, 1.0], diameters=np.full(40, 1.1))
    sample = make_sample("flat", structure=structure, inherent_positions=flat + [0.1, 0.0, 0.0])
    again = sample_of(atoms_of(sample)).structure
    assert again.dimension == 2 and again.diameters.tolist() == [1.1] * 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda atoms: atoms.arrays.pop("cage_covariance"), "part of a cage state and no cage_covariance"),
        (lambda atoms: atoms.info.pop("cage_radii"), "part of a cage state and no cage_radii"),
        (lambda atoms: atoms.info.update(cage_radii=np.ones(3)), r"cage_offset has shape \(40, 2, 3\)"),
    ],
    ids=["covariance", "radii", "shape"],
)
def test_half_a_cage_state_is_refused(change, message):
    atoms = atoms_of(with_cage("a"))
    change(atoms)
    with pytest.raises(DataError, match=message):
        sample_of(atoms)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_species_need_no_map(store, tiny_model, monkeypatch):
    atoms = ase.io.read(store, index=0, format=NAME)
    assert PropensityCalculator(tiny_model).get_property("propensities", atoms).shape == (40, 3)


def test_a_frame_without_labels_leaves_the_old_file(store):
    before = store.read_bytes()
    with pytest.raises(DataError, match="frame 0 has no propensities: give an array"):
        ase.io.write(store, ase.Atoms("H2", positions=[[0, 0, 0], [1, 0, 0]], cell=[3] * 3), format=NAME)
    frames = ase.io.read(store, index=":", format=NAME)
    frames[1].info["name"] = "a"
    with pytest.raises(DataError, match="two frames are called 'a'"):
        ase.io.write(store, frames, format=NAME)
    assert store.read_bytes() == before


def test_no_store(tmp_path):
    (tmp_path / "other.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"other\.h5"):
        ase.io.read(tmp_path / "other.h5", format=NAME)
