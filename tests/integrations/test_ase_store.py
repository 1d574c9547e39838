"""The store through ASE: everything there and back, any frames, and what is no store."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import ase
import ase.io
import numpy as np
import pytest
from ase.io.formats import define_external_io_format, ioformats

from propensity import PropensityCalculator, open_dataset
from propensity.data import StoreWriter
from propensity.errors import DataError
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
