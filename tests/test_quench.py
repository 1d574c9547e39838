"""Inherent structures: true minima of the right potential, and where predictions take them."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from click.testing import CliRunner

import propensity.quench
from propensity import Predictor, PropensityCalculator, inherent_structure
from propensity.baselines.potential import local_potential_energy
from propensity.cli.annotate import command
from propensity.data import open_dataset
from propensity.errors import InputError, PropensityError
from propensity.quench import kob_andersen
from propensity.structure import Structure
from propensity.training.graphs import minimum_image
from tests.conftest import make_liquid, make_tiny_model

ONE = Path(__file__).parent / "data" / "ka3d_one_valid.npz"
SMOOTH = "lj/cut force-shifted"


@pytest.fixture(scope="module")
def minimum() -> Structure:
    return inherent_structure(make_liquid(), SMOOTH, force=1e-6)


@pytest.fixture(scope="module")
def thermal(minimum) -> Structure:
    """The minimum, shaken a little."""
    return minimum.with_positions(minimum.positions + 0.02 * np.random.default_rng(0).normal(size=(120, 3)))


def test_energy_is_lowest_at_the_minimum(minimum, thermal):
    energy = local_potential_energy(minimum, SMOOTH).sum()
    for size in (1e-3, 1e-2):
        step = size * np.random.default_rng(1).normal(size=(120, 3))
        assert local_potential_energy(minimum.with_positions(minimum.positions + step), SMOOTH).sum() > energy
    np.testing.assert_array_equal(inherent_structure(minimum, SMOOTH).positions, minimum.positions)
    found = inherent_structure(thermal, SMOOTH, force=1e-6)
    np.testing.assert_allclose(found.positions - found.positions.mean(0), minimum.positions - minimum.positions.mean(0), atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("potential", ["lj/cut", SMOOTH])
def test_forces_are_those_of_the_energies(liquid, potential):
    atoms = ase.Atoms(liquid.types + 1, liquid.positions, cell=liquid.cell, pbc=True)
    atoms.calc = kob_andersen(potential)
    for i in (0, 7):
        step = np.zeros((120, 3))
        step[i, 0] = 1e-6
        up, down = (
            local_potential_energy(liquid.with_positions(liquid.positions + sign * step), potential).sum()
            for sign in (1, -1)
        )
        assert atoms.get_forces()[i, 0] == pytest.approx(-(up - down) / 2e-6, rel=1e-4)


def test_box_and_order_do_not_matter(thermal):
    order = np.random.default_rng(0).permutation(120)
    moved = Structure((thermal.positions + 0.7)[order], thermal.types[order], thermal.cell)
    a, b = inherent_structure(thermal, SMOOTH, force=1e-6), inherent_structure(moved, SMOOTH, force=1e-6)
    np.testing.assert_allclose(b.positions, (a.positions + 0.7)[order], atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_minimum_of_the_data_set():
    sample = open_dataset(ONE)[0]
    found = inherent_structure(sample.structure, SMOOTH)
    step = minimum_image(found.positions - sample.inherent_positions, found.cell, found.pbc)
    assert np.linalg.norm(step, axis=1).max() < 0.02


@pytest.fixture
def model(tmp_path) -> Path:
    return make_tiny_model(tmp_path / "model", positions="inherent")


@pytest.mark.filterwarnings("ignore:the model was trained on inherent")
def test_predictions_see_the_minimum(model, thermal):
    expected = Predictor(model).predict(inherent_structure(thermal, SMOOTH))
    np.testing.assert_array_equal(Predictor(model, quench=SMOOTH).predict(thermal), expected)
    assert not np.allclose(Predictor(model).predict(thermal), expected, rtol=1e-3)
    scaled = Predictor(model, quench=SMOOTH, length_scale=2.5).predict(thermal.scaled(2.5))
    np.testing.assert_allclose(scaled, 2.5 * expected, rtol=1e-2)


def test_ase_and_the_shell_pass_it_on(model, thermal, tmp_path):
    expected = Predictor(model, quench=SMOOTH).predict(thermal)
    atoms = ase.Atoms(np.array(["H", "He"])[thermal.types], thermal.positions, cell=thermal.cell, pbc=True)
    calculator = PropensityCalculator(model, quench=SMOOTH, species_map={"H": "A", "He": "B"})
    np.testing.assert_allclose(calculator.get_property("propensities", atoms), expected, rtol=1e-6)
    source, target = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    ase.io.write(source, atoms)
    arguments = [
        str(source),
        "-o",
        str(target),
        "-m",
        str(model),
        "--quench",
        SMOOTH,
        "--species-map",
        "H=A,He=B",
    ]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    written = ase.io.read(target)
    np.testing.assert_allclose(written.positions, thermal.positions, atol=1e-6)
    np.testing.assert_allclose(written.arrays["propensity"], expected[:, 2], rtol=1e-3)


def test_bad_input(liquid, model, tiny_model, monkeypatch):
    with pytest.raises(InputError, match=r"potential 'lj/cutt' is unknown.*nearest is 'lj/cut'"):
        inherent_structure(liquid, "lj/cutt")
    with pytest.raises(InputError, match="has type 2"):
        inherent_structure(Structure(liquid.positions, liquid.types + 1, liquid.cell))
    with pytest.raises(InputError, match="periodic in every direction"):
        inherent_structure(Structure(liquid.positions, liquid.types, liquid.cell, [True, True, False]))
    with pytest.raises(InputError, match="trained on thermal positions"):
        Predictor(tiny_model, quench="lj/cut")
    with pytest.raises(InputError, match="is unknown"):
        Predictor(model, quench="morse")
    monkeypatch.setattr(propensity.quench, "MAX_STEPS", 2)
    with pytest.raises(PropensityError, match="no energy minimum within 2 steps"):
        inherent_structure(liquid)
