"""Published formats: numbers that the files must give, and files that contradict themselves."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.errors import DataError, InputError, PropensityWarning
from propensity.physics.isoconfigurational import average_runs


def bapst(path: Path, **changes) -> dict:
    """Raw dict of a pickle with some fields changed (None: removed)."""
    raw = pickle.loads(path.read_bytes())
    raw.update(changes)
    return {key: value for key, value in raw.items() if value is not None}


def write(path: Path, raw) -> Path:
    path.write_bytes(pickle.dumps(raw, 3))
    return path


# Bapst et al.


def test_bapst_propensities_from_runs(data):
    raw = bapst(data / "bapst_small.pickle")
    sample = open_dataset(data / "bapst_small.pickle")[0]
    assert sample.propensities.shape == (20, 10)
    assert (np.diff(sample.times) > 0).all() and (np.diff(sample.fs) < 0).all()
    # 1/e is stored last and belongs between 0.4 and 0.3.
    assert sample.fs[6] == pytest.approx(np.exp(-1)) and sample.tau_alpha == sample.times[6]
    assert sample.times[6] == raw["time"][raw["time_indices"][9]]
    runs = np.array(raw["trajectory_target_positions"][9])
    steps = np.linalg.norm(runs - raw["positions"], axis=-1)
    np.testing.assert_allclose(sample.propensities[:, 6], steps.mean(0), rtol=1e-12)
    np.testing.assert_allclose(sample.halves[0, :, 6], steps[::2].mean(0), rtol=1e-12)
    np.testing.assert_allclose(sample.halves[1, :, 6], steps[1::2].mean(0), rtol=1e-12)
    np.testing.assert_allclose(sample.squared_displacement[:, 6], (steps**2).mean(0), rtol=1e-12)
    assert sample.n_runs == 30 and sample.temperature == 0.44 and sample.potential == "lj/cut"
    np.testing.assert_allclose(sample.structure.cell, np.diag(raw["box"]))


def test_bapst_ready_targets_and_runs_for_one_time_only(data):
    raw = bapst(data / "bapst_targets.pickle")
    sample = open_dataset(data / "bapst_targets.pickle")[0]
    assert sample.propensities.shape == (30, 10)
    np.testing.assert_array_equal(sample.propensities[:, 6], raw["targets"][9])
    known = ~np.isnan(sample.halves).any(axis=(0, 1))
    np.testing.assert_array_equal(known, [True] + [False] * 9)
    np.testing.assert_allclose(sample.halves[..., 0].mean(0), sample.propensities[:, 0], rtol=1e-12)


def test_bapst_targets_without_runs(data, tmp_path):
    raw = bapst(data / "bapst_targets.pickle", trajectory_target_positions=None, metadata=None)
    sample = open_dataset(write(tmp_path / "t.pickle", raw))[0]
    assert sample.propensities.shape == (30, 10) and sample.halves is None
    assert sample.n_runs is None and sample.temperature is None


def test_bapst_runs_for_the_first_times_only(data, tmp_path):
    raw = bapst(data / "bapst_small.pickle")
    raw["trajectory_target_positions"] = raw["trajectory_target_positions"][:3]
    sample = open_dataset(write(tmp_path / "t.pickle", raw))[0]
    np.testing.assert_allclose(sample.fs, [0.9, 0.8, 0.7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": None}, "positions"),
        ({"positions": [[0.0, 0.0, 0.0]]}, "positions"),
        ({"types": None}, "types"),
        ({"box": None}, "box"),
        ({"box": np.array([1.0, -1.0, 1.0])}, "box"),
        ({"box": np.array([1.0, np.nan, 1.0])}, "box"),
        ({"time": None}, "time"),
        ({"time": ["a"]}, "time"),
        ({"time_indices": [0, 1, 500]}, "time_indices"),
        ({"time_indices": [3, 3]}, "twice"),
        ({"time_indices": [-1, 3]}, "time_indices"),
        ({"is_values": np.array([0.9])}, "is_values"),
        ({"targets": None, "trajectory_target_positions": None}, "neither"),
        ({"targets": [np.zeros(5)]}, "targets"),
        ({"targets": [[1.0, 2.0]]}, "targets"),
        ({"targets": "text"}, "targets"),
        ({"targets": [np.full(20, 7.0)]}, "contradicts"),
        ({"trajectory_target_positions": [[]]}, "no runs"),
        ({"trajectory_target_positions": [[np.zeros((3, 3))]]}, "shape"),
        ({"trajectory_target_positions": [[np.full((20, 3), np.nan)]]}, "NaN"),
        ({"trajectory_target_positions": [3.0]}, "runs at time 0"),
        ({"trajectory_target_positions": [[]] * 20}, "at most"),
        ({"metadata": {"temperature": "cold"}}, "temperature"),
    ],
)
def test_bapst_files_that_contradict_themselves(data, tmp_path, changes, message):
    path = write(tmp_path / "bad.pickle", bapst(data / "bapst_small.pickle", **changes))
    with pytest.raises((DataError, InputError), match=message) as caught:
        open_dataset(path)[0]
    assert "bad.pickle" in str(caught.value)


def test_bapst_positions_that_are_not_numbers(data, tmp_path):
    positions = bapst(data / "bapst_small.pickle")["positions"]
    positions[3] = np.nan
    path = write(tmp_path / "bad.pickle", bapst(data / "bapst_small.pickle", positions=positions))
    with pytest.raises(DataError, match=r"bad\.pickle.*NaN"):
        open_dataset(path)[0]


def test_a_pickle_of_something_else(tmp_path):
    with pytest.raises(DataError, match="list instead of the dict"):
        open_dataset(write(tmp_path / "x.pickle", [1, 2]))[0]


@pytest.mark.parametrize("folder", ["train", "test"])
def test_bapst_folder_gives_names_and_splits(data, tmp_path, folder):
    for i in (10, 2, 1):
        (tmp_path / "temperature_044" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "bapst_targets.pickle", tmp_path / f"temperature_044/{folder}/s{i}.pickle")
    dataset = open_dataset(tmp_path / "temperature_044")
    assert dataset.names == (f"{folder}/s1", f"{folder}/s2", f"{folder}/s10")
    assert {entry.split for entry in dataset.entries} == {folder} == {dataset[0].split}


# Averages over runs


def test_wrapped_runs_are_refused():
    rng = np.random.default_rng(0)
    initial = rng.random((500, 3)) * 10
    runs = initial + 0.3 * rng.standard_normal((4, 500, 3))
    box = np.full(3, 10.0)
    types = np.zeros(500, int)
    unwrapped = average_runs(initial, runs, types, box, "here")
    assert unwrapped.propensity.max() < 2
    with pytest.raises(DataError, match="unwrap"):
        average_runs(initial, runs % 10.0, types, box, "here")


@pytest.mark.parametrize("dimension", [2, 3])
def test_wrapped_runs_to_the_nearest_image(dimension):
    rng = np.random.default_rng(0)
    initial = rng.random((500, dimension)) * 10
    runs = initial + 0.3 * rng.standard_normal((4, 500, dimension))
    box, types = np.full(dimension, 10.0), np.zeros(500, int)
    unwrapped = average_runs(initial, runs, types, box, "here")
    nearest = average_runs(initial, runs % 10.0, types, box, "here", wrapped=True)
    np.testing.assert_allclose(nearest.propensity, unwrapped.propensity, atol=1e-12)
    np.testing.assert_allclose(nearest.fs, unwrapped.fs, atol=1e-12)
    with pytest.raises(DataError, match="half the box"):
        average_runs(initial, 10 * rng.random(runs.shape), types, box, "here", wrapped=True)


def test_long_diffusion_across_a_small_box_is_not_taken_for_wrapping():
    rng = np.random.default_rng(0)
    initial = rng.random((500, 3)) * 4
    runs = initial + 2.0 * rng.standard_normal((4, 500, 3))
    assert average_runs(initial, runs, np.zeros(500, int), np.full(3, 4.0), "here").propensity.mean() > 2


@pytest.mark.parametrize(("dimension", "mean"), [(2, np.sqrt(np.pi / 2)), (3, np.sqrt(8 / np.pi))])
def test_scattering_function_of_gaussian_displacements(dimension, mean):
    """F_s = exp(−k² σ²/2) for Gaussian steps of variance σ² a direction."""
    rng = np.random.default_rng(0)
    initial = rng.random((4000, dimension)) * 50
    spread = 0.15
    runs = initial + spread * rng.standard_normal((4, 4000, dimension))
    averages = average_runs(initial, runs, np.zeros(4000, int), np.full(dimension, 50.0), "here")
    assert averages.fs == pytest.approx(np.exp(-((7.25 * spread) ** 2) / 2), abs=0.01)
    assert averages.propensity.mean() == pytest.approx(spread * mean, rel=0.01)


def test_one_run_has_no_halves():
    initial = np.zeros((3, 3))
    averages = average_runs(initial, [initial + 0.1], np.zeros(3, int), np.full(3, 5.0), "here")
    assert np.isnan(averages.halves).all() and averages.n_runs == 1


# BOTAN


def test_botan(data):
    sample = open_dataset(data / "isoconfig_N4096T0.44_1_tc07.npz")[0]
    assert sample.times.tolist() == [4120.0] and sample.tau_alpha == 4120.0
    assert sample.structure.cell[0, 0] == 15.05658
    assert sample.structure.density == pytest.approx(1.2, abs=1e-6)
    assert sample.potential == "lj/cut force-shifted" and sample.temperature == 0.44
    assert sample.n_runs == 2 and sample.group == "T0.44 structure 1"
    assert 0.05 < sample.fs[0] < 0.2  # this structure is faster than most


def test_botan_agrees_with_the_published_labels(shared):
    sample = open_dataset(shared / "botan/isoconfig_N4096T0.44_1_tc07.npz")[0]
    published = open_dataset(shared / "data/ka3d_fs_T0.44_valid.npz", labels="published")[0]
    # Particles are in another order there.
    for species in (0, 1):
        ours = np.sort(sample.propensities[sample.structure.types == species, 0])
        theirs = np.sort(published.propensities[published.structure.types == species, 0])
        np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_botan_files_of_one_structure_become_one_sample(data, tmp_path):
    (tmp_path / "train").mkdir()
    with np.load(data / "isoconfig_N4096T0.44_1_tc07.npz") as archive:
        arrays = {
            key: archive[key][..., :64, :] if archive[key].ndim > 1 else archive[key][:64] for key in archive
        }
    near = {
        **arrays,
        "positions": arrays["initial_positions"] + 0.1 * (arrays["positions"] - arrays["initial_positions"]),
    }
    box = {"box": np.full(3, 15.05658)}
    for structure in (2, 10):
        np.savez(tmp_path / f"train/isoconfig_N4096T0.44_{structure}_tc07.npz", **arrays, **box)
        np.savez(tmp_path / f"train/isoconfig_N4096T0.44_{structure}_tc04.npz", **near, **box)
    dataset = open_dataset(tmp_path)
    assert dataset.names == ("train/isoconfig_N4096T0.44_2", "train/isoconfig_N4096T0.44_10")
    assert dataset.times.tolist() == [130.0, 4120.0]
    sample = dataset[1]
    np.testing.assert_allclose(sample.propensities[:, 0] * 10, sample.propensities[:, 1])
    assert sample.split == "train"


@pytest.mark.parametrize("name", ["isoconfig_N4096T0.50_1_tc07", "isoconfig_N4096T0.44_1_tc09", "mine"])
def test_botan_of_unknown_time(data, tmp_path, name):
    shutil.copy(data / "isoconfig_N4096T0.44_1_tc07.npz", tmp_path / f"{name}.npz")
    with pytest.raises(DataError, match="doesn't say its time"):
        open_dataset(tmp_path / f"{name}.npz")[0]
    with np.load(tmp_path / f"{name}.npz") as archive:
        np.savez(tmp_path / f"{name}.npz", **archive, time=7.0)
    assert open_dataset(tmp_path / f"{name}.npz")[0].times.tolist() == [7.0]


def test_botan_times_of_different_structures_under_one_name(data, tmp_path):
    shutil.copy(data / "isoconfig_N4096T0.44_1_tc07.npz", tmp_path)
    with np.load(data / "isoconfig_N4096T0.44_1_tc07.npz") as archive:
        arrays = dict(archive)
    arrays["initial_positions"] = arrays["initial_positions"] + 0.01
    np.savez(tmp_path / "isoconfig_N4096T0.44_1_tc06.npz", **arrays)
    with pytest.raises(DataError, match="different configurations"):
        open_dataset(tmp_path)[0]


# GlassBench


def glassbench(dimension: int, n: int = 40, seed: int = 0, **changes) -> dict:
    """Arrays of a made-up file: ready propensities in three dimensions, runs wrapped into the box in two."""
    rng = np.random.default_rng(seed)
    edge = (n / 1.2) ** (1 / dimension)
    x = rng.random((n, dimension)) * edge
    arrays = {
        "types": 1 + np.arange(n) % (5 - dimension),
        "initial_positions": x,
        "initial_positions_inherent": x + 0.05 * rng.standard_normal(x.shape),
        "box": np.float64(edge),
    }
    if dimension == 3:
        arrays |= {name: rng.gamma(4.0, 0.1, (10, n)) for name in ("md_prop", "bb_prop")}
    else:
        arrays["positions"] = (x + 0.1 * rng.standard_normal((4, n, 2))) % edge
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def test_glassbench_in_two_dimensions(data):
    dataset = open_dataset(data / "glassbench/T0.23")
    sample = dataset[0]
    assert dataset.names == ("test/N1290T0.23_151",) and sample.split == "test"
    assert sample.times.tolist() == [0.1, 1.5e6] and sample.temperature == 0.23
    assert sample.structure.dimension == 2 and sample.species == ("A", "B", "C")
    np.testing.assert_allclose(np.diag(sample.structure.cell)[:2], 32.8962)
    with np.load(data / "glassbench/T0.23/test/N1290T0.23_151_tc40.npz") as archive:
        raw = dict(archive)
    np.testing.assert_array_equal(sample.structure.types, raw["types"] - 1)
    np.testing.assert_array_equal(sample.structure.positions[:, :2], raw["initial_positions"])
    np.testing.assert_array_equal(sample.inherent_positions[:, :2], raw["initial_positions_inherent"])
    steps = np.linalg.norm(raw["positions"] - raw["initial_positions"], axis=-1)
    np.testing.assert_allclose(sample.propensities[:, 1], steps.mean(0), rtol=1e-12)
    np.testing.assert_allclose(sample.halves[0, :, 1], steps[::2].mean(0), rtol=1e-12)
    np.testing.assert_allclose(sample.halves[1, :, 1], steps[1], rtol=1e-12)
    assert sample.n_runs == 3 and sample.fs[0] > 0.9 > 0.4 > sample.fs[1]
    assert (sample.group, sample.tau_alpha) == ("T0.23 structure 151", 918306.0)


def test_glassbench_runs_that_were_wrapped_into_the_box(data):
    path = data / "glassbench/T0.30/train/N1290T0.30_3_tc01.npz"
    with np.load(path) as archive:
        far = np.abs(archive["positions"] - archive["initial_positions"]).max()
    sample = open_dataset(path)[0]
    assert far > 32 and sample.propensities.max() < 0.2
    # Free flight: two components of variance T/m each, slowed down a little by the neighbours.
    assert 0.6 < sample.squared_displacement.mean() / (2 * 0.30 * 0.11**2) < 1
    assert sample.inherent_positions is None and sample.times.tolist() == [0.11]


@pytest.mark.parametrize(
    ("temperature", "times", "tau"),
    [
        ("0.44", [0.13, 4120, 130000], 4120),
        ("0.50", [0.108, 217, 6860], None),
        ("0.56", [0.104, 52, 1650], None),
        ("0.64", [0.032, 16.5, 520], None),
    ],
)
def test_glassbench_in_three_dimensions(temperature, times, tau, tmp_path):
    (tmp_path / "train").mkdir()
    raw = glassbench(3)
    np.savez(tmp_path / f"train/N4096T{temperature}_7.npz", **raw)
    dataset = open_dataset(tmp_path)
    sample = dataset[0]
    assert sample.times[[0, 6, 9]].tolist() == times and sample.tau_alpha == tau
    np.testing.assert_array_equal(sample.propensities, raw["md_prop"].T)
    np.testing.assert_array_equal(sample.inherent_positions, raw["initial_positions_inherent"])
    np.testing.assert_array_equal(sample.structure.types, raw["types"] - 1)
    assert sample.structure.dimension == 3 and sample.species == ("A", "B") and sample.halves is None
    assert sample.structure.density == pytest.approx(1.2) and sample.potential == "lj/cut force-shifted"
    assert (sample.split, sample.temperature) == ("train", float(temperature))
    assert dataset.entries[0].group == sample.group == f"T{float(temperature):g} structure 7"


@pytest.mark.parametrize(("dimension", "n", "edge"), [(3, 4096, 15.05658), (2, 1290, 32.8962)])
def test_glassbench_boxes_that_no_file_holds(dimension, n, edge, tmp_path):
    raw = glassbench(
        dimension, n, box=None, positions=None, md_prop=np.ones((6 if dimension == 2 else 10, n))
    )
    np.savez(tmp_path / f"N{n}T{0.30 if dimension == 2 else 0.44:.2f}_1.npz", **raw)
    assert open_dataset(tmp_path)[0].structure.cell[1, 1] == edge


@pytest.mark.parametrize(
    ("name", "dimension", "changes", "message"),
    [
        ("N40T0.45_1", 3, {}, "doesn't say its times.*T0.44, T0.50, T0.56, T0.64 in"),
        ("N40T0.30_1", 3, {}, "doesn't say its times"),
        ("mine", 3, {}, "doesn't say its times"),
        ("N40T0.30_1_tc07", 2, {}, r"doesn't say its time: .*_tc.*\[1, 2, 3, 4, 5, 6\]"),
        ("N40T0.30_1", 2, {}, "doesn't say its time:"),
        ("N40T0.23_1_tc01", 2, {}, r"one of \[5, 10,"),
        ("N40T0.44_1", 3, {"box": None}, "no box.*add 'box'"),
        ("N40T0.44_1", 3, {"box": np.float64(-1)}, "box is -1 instead of a positive number"),
        ("N40T0.44_1", 3, {"types": np.arange(40) % 2}, "types are from 0 instead of from 1"),
        ("N40T0.44_1", 3, {"types": 1 + np.arange(40) % 3}, "type 2 has no name"),
        ("N40T0.44_1", 3, {"types": np.ones(39, int)}, "types have shape"),
        ("N40T0.44_1", 3, {"types": np.ones(40)}, "types have dtype float64"),
        ("N40T0.44_1", 3, {"initial_positions": np.zeros((40, 4))}, "initial_positions have shape"),
        ("N40T0.44_1", 3, {"initial_positions": None}, "no array 'initial_positions'"),
        ("N40T0.44_1", 3, {"initial_positions": np.full((40, 3), np.nan)}, "NaN"),
        ("N40T0.44_1", 3, {"initial_positions_inherent": np.zeros((40, 2))}, "inherent has shape"),
        ("N40T0.44_1", 3, {"md_prop": np.ones((9, 40))}, "md_prop has shape"),
        ("N40T0.44_1", 3, {"md_prop": np.full((10, 40), -1.0)}, "can't be"),
        ("N40T0.44_1", 3, {"md_prop": np.full((10, 40), np.nan)}, "NaN"),
        ("N40T0.44_1_tc07", 3, {"md_prop": None}, "no array 'positions'"),
        ("N40T0.30_1_tc05", 2, {"positions": np.zeros((0, 40, 2))}, "no runs"),
        ("N40T0.30_1_tc05", 2, {"positions": np.zeros((4, 40, 3))}, "positions have shape"),
        ("N40T0.30_1_tc05", 2, {"positions": np.full((4, 40, 2), np.inf)}, "run 0 has NaN or infinite"),
    ],
)
def test_glassbench_files_that_contradict_themselves(name, dimension, changes, message, tmp_path):
    np.savez(tmp_path / f"{name}.npz", **glassbench(dimension, **changes))
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path / f"{name}.npz")[0]
    assert name in str(caught.value)


def test_glassbench_files_of_one_name_that_are_two_structures(tmp_path):
    for k in (1, 2):
        np.savez(tmp_path / f"N40T0.30_1_tc0{k}.npz", **glassbench(2, seed=k))
    with pytest.raises(DataError, match="different configurations"):
        open_dataset(tmp_path)[0]


# npz with many structures


def test_ka3d(data):
    dataset = open_dataset(data / "ka3d_one_valid.npz")
    with np.load(data / "ka3d_one_valid.npz") as archive:
        raw = dict(archive)
    sample = dataset[0]
    np.testing.assert_array_equal(sample.propensities, raw["propensity"][0].T)
    np.testing.assert_array_equal(sample.inherent_positions, raw["inherent_positions"][0])
    known = ~np.isnan(sample.halves).any(axis=(0, 1))
    assert np.flatnonzero(known).tolist() == [6] == [int(raw["tau_index"])]
    np.testing.assert_allclose(sample.halves[..., 6].mean(0), sample.propensities[:, 6], rtol=4e-3)
    # ⟨r²⟩ ≥ ⟨r⟩², but for the rounding of the file
    assert (sample.squared_displacement[:, 6] > 0.99 * sample.propensities[:, 6] ** 2).all()
    assert (sample.n_runs, sample.tau_alpha, sample.temperature) == (16, 4120.0, 0.44)
    assert (sample.split, sample.group) == ("valid", "T0.44 structure 1")


def test_published_labels_are_a_choice(data):
    path = data / "ka3d_one_valid.npz"
    ours, published = open_dataset(path), open_dataset(path, labels="published")
    assert published.times.tolist() == [4120.0] and published[0].n_runs == 32
    a, b = ours[0].propensities[:, 6], published[0].propensities[:, 0]
    assert 0.6 < np.corrcoef(a, b)[0, 1] < 0.99
    assert "published" in published[0].source
    with pytest.raises(InputError, match="no published labels"):
        open_dataset(data / "ka3d_few_train.npz", labels="published")
    with pytest.raises(InputError, match="one set of labels"):
        open_dataset(data / "bapst_small.pickle", labels="published")
    with pytest.raises(InputError, match="choose"):
        open_dataset(path, labels="mine")


def test_children_of_one_parent_share_a_group(data):
    groups = [entry.group for entry in open_dataset(data / "ka3d_few_train.npz").entries]
    assert groups == ["T0.44 structure 1"] * 4 + ["T0.44 structure 2"] * 2


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("propensity", np.zeros((6, 3, 50)), "propensity has shape"),
        ("positions", np.zeros((6, 50)), "positions have shape"),
        ("box", np.zeros(3), "singular"),
        ("types", np.zeros(7, int), "types have shape"),
    ],
)
def test_ka3d_of_wrong_shapes(data, tmp_path, key, value, message):
    with np.load(data / "ka3d_few_train.npz") as archive:
        np.savez(tmp_path / "bad.npz", **{**archive, key: value})
    with pytest.raises((DataError, InputError), match=message):
        open_dataset(tmp_path / "bad.npz")[0]


# Whatever the path


def test_unknown_and_missing_paths(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", a=1)
    (tmp_path / "noise.npz").write_bytes(b"no archive")
    for path, message in [
        ("none.h5", "doesn't exist"),
        ("a.txt", "no known format"),
        ("empty", "no data files"),
        ("other.npz", "holds a"),
        ("noise.npz", "not a readable npz"),
    ]:
        with pytest.raises(DataError, match=message):
            open_dataset(tmp_path / path)
    with pytest.raises(InputError, match="no path"):
        open_dataset([])


def test_npz_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", positions=np.array([{}]), types=0, box=1, times=1, propensity=1)
    with pytest.raises(DataError, match=r"x\.npz"):
        open_dataset(tmp_path / "x.npz")


@pytest.mark.parametrize("keep", [100, 5000, 16_000])
def test_truncated_npz(data, tmp_path, keep):
    (tmp_path / "x.npz").write_bytes((data / "ka3d_few_train.npz").read_bytes()[:keep])
    with pytest.raises(DataError, match=r"x\.npz"):
        open_dataset(tmp_path / "x.npz")


def test_folder_skips_unknown_archives_with_a_warning(data, tmp_path):
    shutil.copy(data / "ka3d_few_train.npz", tmp_path)
    np.savez(tmp_path / "weights.npz", w=np.zeros(3))
    with pytest.warns(PropensityWarning, match=r"skipped 1 .*weights\.npz"):
        assert len(open_dataset(tmp_path)) == 6


def test_the_same_file_twice(data):
    with pytest.raises(DataError, match="twice"):
        open_dataset([data / "bapst_small.pickle"] * 2)


def test_several_paths_in_their_order(data):
    dataset = open_dataset([data / "ka3d_few_train.npz", data / "bapst_small.pickle"])
    assert len(dataset) == 7 and dataset.names[-1] == "bapst_small"
    assert [len(state) for state in dataset.state_points()] == [6, 1]
