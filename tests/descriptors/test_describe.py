from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from propensity.cli.describe import command
from propensity.data import StoreWriter
from propensity.descriptors.describe import KINDS, describe
from propensity.errors import DataError, InputError
from propensity.predictor import Predictor
from tests.conftest import make_tiny_model

COUNTS = {"averaged": 1092, "structure-functions": 166, "energy": 4, "density": 3}


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_values(structure, kind):
    values, names = describe(structure, kind)
    assert values.shape == (len(structure), COUNTS[kind]) and len(set(names)) == COUNTS[kind]
    assert np.isfinite(values).all()


@pytest.mark.parametrize("species", ["AB", ("A", "A")])
def test_species_are_names(structure, species):
    with pytest.raises(InputError, match="give a name for each type, each once"):
        describe(structure, "density", species)


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
    broken = scaled.copy()
    broken.positions[3] = np.nan
    write(tmp_path / "t.extxyz", [scaled, scaled, broken])
    with pytest.raises(DataError, match=r"frame 2: positions of 1 particle.* are NaN"):
        CliRunner().invoke(command, arguments, catch_exceptions=False)


@pytest.mark.parametrize(
    "extra, message",
    [
        (["-o", "f.csv"], "must end in .npz"),
        (["-o", "f.npz", "--start", "9"], "no frame from 9"),
        (["-o", "f.npz", "--kind", "avrgd"], "frame synthetic-0: descriptor 'avrgd' is unknown"),
        (["-o", "f.npz", "--length-scale", "0"], "--length-scale is 0.0: give the length of σ_AA"),
        (["-o", "f.npz", "--length-scale", "-1"], "--length-scale is -1.0"),
        (["-o", "f.npz", "--length-scale", "1000"], "σ apart where σ is 1000 of the units"),
        (["-o", "f.npz", "--species-map", "1=A,2=B"], "whose species have names: leave --species-map out"),
        (["-o", "f.npz", "--temperature", "0.44"], "give the model that needs it, by -m"),
    ],
)
def test_errors_leave_nothing(store, tmp_path, monkeypatch, extra, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, [str(store), *extra])
    assert isinstance(result.exception, Exception) and message in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.h5"]


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
@pytest.mark.parametrize("layer", [None, 0])
def test_features_of_a_model(store, tiny_model, tmp_path, layer):
    from propensity.data import open_dataset

    flags = [] if layer is None else ["--layer", str(layer)]
    arguments = [str(store), "-o", str(tmp_path / "f.npz"), "-m", str(tiny_model), *flags]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "f.npz") as written:
        found = Predictor(tiny_model).features(open_dataset(store)[1].structure, layer)
        assert written["features"].shape == (2, 125, 8 if layer is None else 16)
        np.testing.assert_allclose(written["features"][1], found.values, atol=1e-3)
        assert written["names"].tolist() == list(found.names)
        assert str(written["irreps"]) == found.irreps == ("8x0e" if layer is None else "4x0e+4x1e")


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_features_in_the_units_of_a_model(samples, tmp_path):
    """A model that learned from Å divides by its own σ, which stores that were divided already are not by."""
    model = make_tiny_model(tmp_path / "metal", length_scale=2.5)
    metal = replace(samples[0], structure=samples[0].structure.scaled(2.5), inherent_positions=None)
    found = []
    for name, sample in (("metal", metal), ("reduced", metal.in_units_of(2.5))):
        with StoreWriter(tmp_path / f"{name}.h5") as writer:
            writer.add(sample)
        arguments = [str(tmp_path / f"{name}.h5"), "-o", str(tmp_path / "f.npz"), "-m", str(model)]
        CliRunner().invoke(command, arguments, catch_exceptions=False)
        with np.load(tmp_path / "f.npz") as written:
            found.append(written["features"][0])
    np.testing.assert_allclose(found[0], found[1], atol=1e-3)
    reduced = Predictor(model, length_scale=1.0).features(samples[0].structure)
    np.testing.assert_allclose(found[0], reduced.values, atol=1e-3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layer", "1"], "--layer is 1: give the model that has layers, by -m"),
        (["-m", "MODEL", "--kind", "density"], "--kind is for other descriptors"),
        (["-m", "MODEL", "--species", "A,B"], "--species is for other descriptors"),
        (["-m", "MODEL", "--layer", "2"], "layer is 2: the network has 2"),
        (["-m", "MODEL", "--inherent", "--potential", "lj/cut"], "--inherent gives minima and --potential"),
    ],
)
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_options_that_do_not_go_with_a_model(store, tiny_model, tmp_path, flags, message):
    flags = [str(tiny_model) if flag == "MODEL" else flag for flag in flags]
    result = CliRunner().invoke(command, [str(store), "-o", str(tmp_path / "f.npz"), *flags])
    assert result.exit_code and message in str(result.exception)
