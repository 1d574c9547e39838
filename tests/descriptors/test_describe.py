from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from propensity.cli.describe import command
from propensity.data import StoreWriter
from propensity.descriptors.describe import KINDS, describe
from propensity.errors import InputError

COUNTS = {"averaged": 1092, "structure-functions": 166, "energy": 4, "density": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_values(structure, kind):
    values, names = describe(structure, kind)
    assert values.shape == (len(structure), COUNTS[kind]) and len(set(names)) == COUNTS[kind]
    assert np.isfinite(values).all()


def test_unknown_kind(structure):
    with pytest.raises(InputError, match="the nearest is 'density'"):
        describe(structure, "densty")


@pytest.fixture
def store(samples, tmp_path):
    path = tmp_path / "data.h5"
    with StoreWriter(path) as writer:
        for sample in samples[:2]:
            writer.add(sample)
    return path


def test_command_on_labelled_data(store, samples, tmp_path):
    for flag, positions in (([], "positions"), (["--inherent"], "inherent_positions")):
        result = CliRunner().invoke(
            command,
            [str(store), "-o", str(tmp_path / "f.npz"), "--kind", "density", *flag],
            catch_exceptions=False,
        )
        assert result.exit_code == 0 and "3 descriptors of 125 particles in 2 frame(s)" in result.output
        written = np.load(tmp_path / "f.npz")
        structure = samples[1].structure
        if positions == "inherent_positions":
            structure = structure.with_positions(samples[1].inherent_positions)
        np.testing.assert_allclose(written["features"][1], describe(structure, "density")[0], rtol=1e-3)
        assert written["names"].tolist() == describe(structure, "density")[1]
        assert written["frames"].tolist() == [sample.name for sample in samples[:2]]


def test_command_on_a_trajectory(structure, tmp_path):
    from ase import Atoms
    from ase.io import write

    symbols = np.array(["Ar", "Kr"])[structure.types]
    scaled = Atoms(symbols, positions=structure.positions * 2, cell=structure.cell * 2, pbc=True)
    write(tmp_path / "t.extxyz", [scaled] * 3)
    arguments = [
        str(tmp_path / "t.extxyz"),
        "-o",
        str(tmp_path / "f.npz"),
        "--kind",
        "energy",
        "--species-map",
        "Ar=A,Kr=B",
        "--length-scale",
        "2",
        "--step",
        "2",
    ]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    written = np.load(tmp_path / "f.npz")
    assert written["features"].shape == (2, 125, 4) and written["frames"].tolist() == ["0", "2"]
    np.testing.assert_allclose(written["features"][0], describe(structure, "energy")[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "extra, message",
    [
        (["-o", "f.csv"], "must end in .npz"),
        (["-o", "f.npz", "--start", "9"], "no frame from 9"),
        (["-o", "f.npz", "--kind", "avrgd"], "the nearest is 'averaged'"),
    ],
)
def test_errors_leave_nothing(store, tmp_path, monkeypatch, extra, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, [str(store), *extra])
    assert isinstance(result.exception, Exception) and message in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.h5"]
