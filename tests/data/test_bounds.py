"""Labels that can't be: wrong shapes, impossible values and masks are refused, never spread or passed on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.data.convert import convert
from propensity.data.formats.bapst import read_bapst
from propensity.errors import DataError, InputError
from propensity.species import map_species
from propensity.structure import Structure

from .conftest import make_sample

C, N, T = 2, 30, 3


def archive(**changes) -> dict[str, np.ndarray]:
    """Arrays of a small npz set with everything that such a set may hold; None leaves one out."""
    rng = np.random.default_rng(0)
    positions, propensity = rng.random((C, N, 3)) * 3, rng.random((C, T, N))
    arrays = {
        "positions": positions,
        "types": np.arange(N) % 5 // 4,
        "box": np.float64(3.0),
        "times": np.array([1.0, 10.0, 100.0]),
        "propensity": propensity,
        "inherent_positions": positions + 0.1 * rng.random((C, N, 3)),
        "propensity_halves": rng.random((C, 2, T, N)),
        "propensity_tau_halves": rng.random((C, 2, N)),
        "squared_displacement": 1.2 * np.square(propensity[:, 2]),
        "published_propensity_tau": rng.random((C, N)),
        "published_tau_halves": rng.random((C, 2, N)),
        "published_n_runs": np.int64(32),
        "tau_index": np.int64(2),
        "tau_alpha": np.float64(100.0),
        "temperature": np.float64(0.5),
        "n_runs": np.int64(8),
        "fs": np.array([0.9, 0.6, 0.3]),
        "structure_id": np.arange(C),
    }
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


def write(folder, **changes):
    path = folder / "set_train.npz"
    np.savez(path, **archive(**changes))
    return path


@pytest.mark.parametrize("labels", [None, "published"])
def test_the_whole_archive_is_read(labels, tmp_path):
    for array in ({}, {"propensity_halves": None}, {"squared_displacement": np.ones((C, T, N))}):
        sample = open_dataset(write(tmp_path, **array), labels=labels)[1]
        assert sample.propensities.shape == (N, T if labels is None else 1)
        assert sample.n_runs == (8 if labels is None else 32)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("propensity", (C, T, 1)),
        ("propensity", (C, 1, N)),
        ("propensity", (C, N, T)),
        ("inherent_positions", (C, 1, 3)),
        ("inherent_positions", (C, N, 1)),
        ("inherent_positions", (1, N, 3)),
        ("propensity_halves", (C, 2, T, 1)),
        ("propensity_tau_halves", (C, 2, 1)),
        ("propensity_tau_halves", (C, 1, N)),
        ("squared_displacement", (C, 1)),
        ("squared_displacement", (C, 1, N)),
        ("published_propensity_tau", (C, 1)),
        ("published_tau_halves", (C, 2, 1)),
        ("types", (1,)),
        ("types", (C, 1)),
        ("box", (1,)),
        ("box", (1, 3)),
        ("fs", (1,)),
        ("times", (1, T)),
        ("n_runs", (C,)),
        ("structure_id", (1,)),
        ("tau_index", (1,)),
        ("temperature", (C,)),
    ],
)
def test_arrays_of_other_shapes_are_not_spread(name, shape, tmp_path):
    labels = "published" if name.startswith("published") else None
    left_out = {"propensity_halves": None} if name == "propensity_tau_halves" else {}
    path = write(tmp_path, **left_out, **{name: np.full(shape, archive()[name].ravel()[0])})
    with pytest.raises(DataError, match=name):
        open_dataset(path, labels=labels)[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("propensity", -0.1),
        ("propensity", np.nan),
        ("propensity", np.inf),
        ("propensity", 9.96921e36),
        ("propensity", 1e20),
        ("propensity_halves", 1e20),
        ("squared_displacement", 1e30),
        ("inherent_positions", np.nan),
        ("positions", np.inf),
        ("propensity_halves", np.inf),
        ("squared_displacement", -1.0),
        ("times", np.nan),
        ("times", -1.0),
        ("fs", 1.5),
        ("fs", np.inf),
        ("n_runs", -1),
        ("n_runs", 0),
        ("temperature", -0.5),
        ("temperature", np.nan),
        ("tau_alpha", 0.0),
        ("tau_index", -1),
        ("tau_index", T),
        ("types", -1),
        ("types", np.arange(N) % 5 // 4 + 1),  # from 1, as LAMMPS counts
        ("box", 0.0),
        ("box", np.nan),
    ],
)
def test_values_that_cannot_be_are_refused(name, value, tmp_path):
    array = np.array(archive()[name])
    array.ravel()[: np.size(value)] = value
    with pytest.raises(DataError):
        open_dataset(write(tmp_path, **{name: array}))[0]


@pytest.mark.parametrize(
    "name", ["propensities", "inherent_positions", "halves", "squared_displacement", "fs"]
)
def test_samples_check_themselves(name):
    good = getattr(make_sample(), name)
    for bad in (good[..., :-1], np.ma.masked_less(good, np.median(good)), good.astype(str), good + 1j):
        with pytest.raises(DataError, match=name):
            make_sample(**{name: bad})
    make_sample(**{name: np.ma.masked_array(good, mask=False)})


def test_masked_structures_are_refused():
    x = np.random.default_rng(0).random((20, 3)) * 3
    types = np.zeros(20, int)
    flat = x * [1, 1, 0]
    for bad in (
        lambda: Structure(np.ma.masked_greater(x, 2.0), types, 3.0),
        lambda: Structure(np.ma.masked_greater(flat, 2.0), types, 3.0),
        lambda: Structure(x, np.ma.masked_array(types, mask=x[:, 0] > 2), 3.0),
        lambda: Structure(x, types, np.ma.masked_array([3.0, 3.0, 3.0], mask=[0, 0, 1])),
        lambda: map_species({"type": np.ma.masked_array(types, mask=x[:, 0] > 2)}, ["A"], {0: "A"}),
    ):
        with pytest.raises(InputError, match="masked"):
            bad()


@pytest.mark.parametrize("kind", ["shape of types", "shape of starts", "shape of runs"])
def test_files_of_botan_with_other_shapes(kind, tmp_path):
    x = np.random.default_rng(0).random((N, 3)) * 3
    runs = np.stack([x, x + 0.1])
    arrays = {"types": np.zeros(N, int), "initial_positions": x, "positions": runs, "box": 3.0, "time": 1.0}
    change = {
        "shape of types": {"types": np.zeros(1, int)},
        "shape of starts": {"initial_positions": x[:1]},
        "shape of runs": {"positions": runs[:, :1]},
    }[kind]
    np.savez(tmp_path / "a.npz", **arrays)
    assert open_dataset(tmp_path / "a.npz")[0].n_runs == 2
    np.savez(tmp_path / "a.npz", **{**arrays, **change})
    with pytest.raises(DataError, match=r"shape .*instead of"):
        open_dataset(tmp_path / "a.npz")[0]


@pytest.mark.parametrize("value", [0.44, np.float64(0.44), np.float32(0.44), np.array(0.44), 1, np.int64(1)])
def test_temperatures_of_any_number_type_in_pickles(value, data, tmp_path, monkeypatch):
    from propensity.data.formats import bapst

    raw = bapst.load_pickle(data / "bapst_small.pickle")
    monkeypatch.setattr(bapst, "load_pickle", lambda path: {**raw, "metadata": {"temperature": value}})
    assert read_bapst(data / "bapst_small.pickle").temperature == pytest.approx(float(value))


@pytest.mark.parametrize("damage", ["no archive", "cut", "shape"])
def test_one_damaged_archive_does_not_end_the_conversion_of_a_folder(damage, data, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(data / "ka3d_few_train.npz", folder / "a_train.npz")
    shutil.copy(data / "bapst_small.pickle", folder)
    if damage == "shape":
        write(folder, propensity=np.ones((C, T, 1)))
    else:
        whole = (data / "ka3d_few_train.npz").read_bytes()
        (folder / "set_train.npz").write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"noise")
    n = len(open_dataset(data / "ka3d_few_train.npz")) + 1
    with pytest.raises(DataError, match=rf"1 of {n + 1} structures can't be converted.*set_train\.npz"):
        convert([folder], tmp_path / "s.h5")
    assert len(list((tmp_path / "s.h5.parts").glob("*.h5"))) == n
    (folder / "set_train.npz").unlink()
    assert len(open_dataset(convert([folder], tmp_path / "s.h5"))) == n
    with pytest.raises(DataError):
        open_dataset([write(tmp_path, propensity=np.ones((C, T, 1)))])
