"""Annotated files say by what they were made, keep their values, and are replaced only when asked."""

from __future__ import annotations

import json

import ase.io
import h5py
import numpy as np
import pytest
from ase.io.trajectory import Trajectory
from click.testing import CliRunner

from propensity import PropensityCalculator
from propensity.cli.annotate import command
from propensity.errors import InputError
from propensity.integrations.ase import PropensityObserver
from propensity.predictor import Predictor
from propensity.trajectory import annotate, open_trajectory
from propensity.version import __version__
from tests.conftest import make_tiny_model

from .conftest import to_atoms, write_dump

SAID = {
    "propensity_time": 100.0,
    "propensity_model": "tiny",
    "propensity_version": __version__,
    "propensity_length_scale": 2.0,
    "propensity_species_map": "1=A,2=B",
    "propensity_potential": "lj/cut",
    "propensity_input": "thermal",
    "propensity_out_of_distribution": False,
}


@pytest.fixture
def predictor(tmp_path):
    model = make_tiny_model(tmp_path / "model", potential="lj/cut")
    return Predictor(model, length_scale=2.0, species_map={1: "A", 2: "B"})


@pytest.fixture
def source(tmp_path, frames):
    return write_dump(tmp_path / "t.dump", [frame.scaled(2.0) for frame in frames])


def check(info, times=True):
    assert {key: info[key] for key in SAID} == SAID
    assert np.allclose(info["propensity_times"], [1, 10, 100])
    assert info["propensity_negative"] >= 0


@pytest.mark.parametrize("suffix", ["extxyz", "traj", "dump", "h5"])
def test_every_output_says_by_what_it_was_made_and_keeps_the_values(suffix, source, predictor, tmp_path):
    out = tmp_path / f"out.{suffix}"
    annotate(source, out, predictor)
    expected = [
        predictor.predict(frame.structure(predictor.species, predictor.species_map))
        for frame in open_trajectory(source)
    ]
    negative = sum(int((p < 0).sum()) for p in expected)
    if suffix == "h5":
        with h5py.File(out) as file:
            group = file["parameters/propensity"]
            for key, value in SAID.items():
                if key != "propensity_out_of_distribution":
                    assert group.attrs[key.removeprefix("propensity_")] == value
            assert not group["out_of_distribution"][:].any() and len(group["outside"]) == 4
            assert group["negative"][:].sum() == negative
        return
    if suffix == "dump":
        said = json.loads(out.with_name("out.dump.json").read_text())
        check({**said, "propensity_out_of_distribution": False, "propensity_negative": 0})
        assert said["n_frames"] == 4 and said["frames_out_of_distribution"] == []
        assert said["negative_predictions"] == negative
        return
    found = ase.io.read(out, ":")
    for atoms, values in zip(found, expected, strict=True):
        check(atoms.info)
        kept = atoms.info if suffix == "traj" else atoms.arrays
        assert np.allclose(kept["propensities"], values) and np.allclose(kept["propensity"], values[:, 2])
    assert sum(atoms.info["propensity_negative"] for atoms in found) == negative
    for frame, values in zip(open_trajectory(out), expected, strict=True):
        assert np.allclose(frame.arrays["propensities"], values)


def test_what_an_earlier_model_said_is_gone(source, predictor, tmp_path, tiny_model):
    annotate(source, tmp_path / "a.traj", predictor)
    other = Predictor(tiny_model, length_scale=2.0, species_map={1: "A", 2: "B"}, times=10.0)
    annotate(tmp_path / "a.traj", tmp_path / "b.extxyz", other)
    info = ase.io.read(tmp_path / "b.extxyz").info
    assert info["propensity_time"] == 10.0 and "propensity_potential" not in info
    assert "propensities" not in info and "propensity" not in info


def test_frames_unlike_the_training_set_are_flagged_and_counted(tmp_path, frames, monkeypatch):
    from propensity.estimators.ranges import training_range

    known = training_range(frames, 2)
    model = make_tiny_model(tmp_path / "model", training_range=known)
    predictor = Predictor(model, species_map={1: "A", 2: "B"})
    moved = frames[1].positions.copy()
    moved[:30] += 0.25
    path = write_dump(tmp_path / "t.dump", [frames[0], frames[1].with_positions(moved)])
    with pytest.warns(UserWarning, match="neighbourhoods that no training particle had"):
        summary = annotate(path, tmp_path / "o.extxyz", predictor)
    read = ase.io.read(tmp_path / "o.extxyz", ":")
    flags = [atoms.info["propensity_out_of_distribution"] for atoms in read]
    assert flags == [False, True] and summary.n_doubtful == 1
    with pytest.warns(UserWarning):
        annotate(path, tmp_path / "o.dump", Predictor(model, species_map={1: "A", 2: "B"}))
    assert json.loads((tmp_path / "o.dump.json").read_text())["frames_out_of_distribution"] == [1]


def test_negative_predictions_are_counted_and_named(tmp_path, frames, source):
    model = make_tiny_model(tmp_path / "low", target_mean=[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    arguments = [str(source), "-o", str(tmp_path / "o.extxyz"), "-m", str(model), "--species-map", "1=A,2=B"]
    done = CliRunner().invoke(command, [*arguments, "--length-scale", "2"], standalone_mode=False)
    n = sum(int((a.arrays["propensities"] < 0).sum()) for a in ase.io.read(tmp_path / "o.extxyz", ":"))
    assert n > 0 and f"{n} of {4 * 120 * 3} predictions are negative" in " ".join(done.output.split())


def test_an_existing_output_is_replaced_only_when_asked(source, predictor, tmp_path, tiny_model):
    out = tmp_path / "o.extxyz"
    out.write_text("something older")
    arguments = [str(source), "-o", str(out), "-m", str(tiny_model), "--species-map", "1=A,2=B", "-q"]
    arguments += ["--length-scale", "2"]
    done = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(done.exception, InputError) and "--overwrite" in str(done.exception)
    assert out.read_text() == "something older"
    with pytest.raises(InputError, match="exists"):
        annotate(source, out, predictor, overwrite=False)
    assert CliRunner().invoke(command, [*arguments, "--overwrite"]).exit_code == 0
    assert len(ase.io.read(out, ":")) == 4


def test_ase_says_the_same_and_traj_files_keep_the_values(tmp_path, frames):
    model = make_tiny_model(tmp_path / "model", potential="lj/cut")
    atoms = to_atoms(frames[0].scaled(2.0))
    atoms.arrays["type"] = frames[0].types + 1
    calculator = PropensityCalculator(model, length_scale=2.0, species_map={1: "A", 2: "B"})
    expected = calculator.annotate(atoms).arrays["propensities"]
    check(atoms.info)
    observer = PropensityObserver(atoms, calculator, file=tmp_path / "o.traj")
    observer()
    observer()
    with Trajectory(tmp_path / "o.traj") as kept:
        assert len(kept) == 2 and np.allclose(kept[1].info["propensities"], expected)
        check(kept[1].info)
