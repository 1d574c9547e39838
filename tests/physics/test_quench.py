"""Inherent structures: true minima of the right potential, and where predictions take them."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from click.testing import CliRunner
from matscipy.calculators.pair_potential import LennardJonesCut, LennardJonesLinear, PairPotential

import propensity.physics.quench
from propensity import Predictor, PropensityCalculator, inherent_structure
from propensity.cli.annotate import command
from propensity.cli.convert import command as convert_command
from propensity.data import Sample, StoreWriter, open_dataset
from propensity.data.convert import convert
from propensity.errors import DataError, InputError, PropensityError
from propensity.estimators.single import in_single_precision
from propensity.lattice import minimum_image
from propensity.physics.interaction import CUT, EPSILON, SIGMA
from propensity.physics.kob_andersen import SKIN, KobAndersen, local_potential_energy
from propensity.physics.quench import mean_inherent_structure
from propensity.structure import Structure
from tests.conftest import make_liquid, make_tiny_model

ONE = Path(__file__).parents[1] / "fixtures" / "ka3d_one_valid.npz"
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
    np.testing.assert_allclose(
        found.positions - found.positions.mean(0), minimum.positions - minimum.positions.mean(0), atol=1e-5
    )


@pytest.mark.parametrize("potential", ["lj/cut", SMOOTH])
def test_forces_are_those_of_the_energies(liquid, potential):
    atoms = ase.Atoms(liquid.types + 1, liquid.positions, cell=liquid.cell, pbc=True)
    atoms.calc = KobAndersen(potential)
    for i in (0, 7):
        step = np.zeros((120, 3))
        step[i, 0] = 1e-6
        up, down = (
            local_potential_energy(liquid.with_positions(liquid.positions + sign * step), potential).sum()
            for sign in (1, -1)
        )
        assert atoms.get_forces()[i, 0] == pytest.approx(-(up - down) / 2e-6, rel=1e-4)


def matscipys(potential):
    kind = LennardJonesLinear if potential == SMOOTH else LennardJonesCut
    pairs = [(0, 0), (0, 1), (1, 1)]
    return PairPotential(
        {(a + 1, b + 1): kind(EPSILON[a, b], SIGMA[a, b], CUT * SIGMA[a, b]) for a, b in pairs}
    )


@pytest.mark.parametrize("potential", ["lj/cut", SMOOTH])
def test_forces_follow_whatever_changes(potential):
    """Of matscipy's pair potential, while particles move little and far and box, species and number
    change."""
    liquid, random = make_liquid(400), np.random.default_rng(0)
    atoms = ase.Atoms(liquid.types + 1, liquid.positions, cell=liquid.cell, pbc=True)
    atoms.calc, lists = KobAndersen(potential), []
    made = atoms.calc._list
    atoms.calc._list = lambda now: (lists.append(1), made(now))

    def check(n_lists):
        theirs = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        theirs.calc = matscipys(potential)
        assert atoms.get_potential_energy() == pytest.approx(theirs.get_potential_energy(), rel=1e-10)
        np.testing.assert_allclose(atoms.get_forces(), theirs.get_forces(), rtol=1e-8, atol=1e-8)
        assert len(lists) == n_lists

    check(1)
    atoms.positions += random.uniform(-0.05, 0.05, (400, 3))
    check(1)  # the skin covers it
    atoms.positions[7] += [SKIN, 0, 0]
    check(2)
    atoms.wrap()
    check(3)
    atoms.set_cell(atoms.cell.array + [[0, 0, 0], [0.5, 0, 0], [0, 0, 0.2]])
    check(4)
    atoms.numbers[:5] = 2
    check(5)
    del atoms[3]
    check(6)
    atoms.pbc = [True, True, False]
    check(7)


def test_box_and_order_do_not_matter(thermal):
    order = np.random.default_rng(0).permutation(120)
    moved = Structure((thermal.positions + 0.7)[order], thermal.types[order], thermal.cell)
    a, b = inherent_structure(thermal, SMOOTH, force=1e-6), inherent_structure(moved, SMOOTH, force=1e-6)
    np.testing.assert_allclose(b.positions, (a.positions + 0.7)[order], atol=1e-5)


def test_minimum_of_the_data_set():
    """Found from positions rounded as in single precision, and again from those of the file."""
    sample = open_dataset(ONE)[0]
    thermal, random = sample.structure, np.random.default_rng(0)
    rounded = thermal.with_positions(thermal.positions + random.uniform(-5e-7, 5e-7, (4096, 3)))
    found, again = inherent_structure(thermal, SMOOTH), inherent_structure(rounded, SMOOTH)
    assert np.linalg.norm(again.positions - found.positions, axis=1).max() < 5e-5
    step = minimum_image(found.positions - sample.inherent_positions, found.cell, found.pbc)
    assert np.linalg.norm(step, axis=1).max() < 2e-4


@pytest.fixture
def model(tmp_path) -> Path:
    return make_tiny_model(tmp_path / "model", input_positions="inherent")


@pytest.mark.filterwarnings("ignore:the model was trained on inherent")
def test_predictions_see_the_minimum(model, thermal):
    expected = Predictor(model).predict(inherent_structure(in_single_precision(thermal), SMOOTH))
    np.testing.assert_array_equal(Predictor(model, potential=SMOOTH).predict(thermal), expected)
    assert not np.allclose(Predictor(model).predict(thermal), expected, rtol=1e-3)
    scaled = Predictor(model, potential=SMOOTH, length_scale=2.5).predict(thermal.scaled(2.5))
    np.testing.assert_allclose(scaled, 2.5 * expected, rtol=1e-2)


def test_ase_and_the_shell_pass_it_on(model, thermal, tmp_path):
    expected = Predictor(model, potential=SMOOTH).predict(thermal)
    atoms = ase.Atoms(np.array(["H", "He"])[thermal.types], thermal.positions, cell=thermal.cell, pbc=True)
    calculator = PropensityCalculator(model, potential=SMOOTH, species_map={"H": "A", "He": "B"})
    np.testing.assert_allclose(calculator.get_property("propensities", atoms), expected, rtol=1e-6)
    source, target = tmp_path / "in.extxyz", tmp_path / "out.extxyz"
    ase.io.write(source, atoms)
    arguments = [
        str(source),
        "-o",
        str(target),
        "-m",
        str(model),
        "--potential",
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
    for options, text in (
        ({"potential": None}, "potential is None: give a name"),
        ({"force": float("inf")}, "force is inf: give the largest"),
        ({"force": 0}, "force is 0"),
        ({"length_scale": 0}, "length_scale is 0"),
        ({"structure": None}, "give a Structure"),
        ({"structure": liquid.scaled(10)}, r"0\.0012 particles a σ³, a gas"),
    ):
        with pytest.raises(InputError, match=text):
            inherent_structure(**{"structure": liquid, **options})
    with pytest.raises(InputError, match="has type 2"):
        inherent_structure(Structure(liquid.positions, liquid.types + 1, liquid.cell))
    with pytest.raises(InputError, match="periodic in every direction"):
        inherent_structure(Structure(liquid.positions, liquid.types, liquid.cell, [True, True, False]))
    # A model of thermal positions needs nothing made.
    np.testing.assert_array_equal(
        Predictor(tiny_model, potential="lj/cut").predict(liquid), Predictor(tiny_model).predict(liquid)
    )
    with pytest.raises(InputError, match="is unknown"):
        Predictor(model, potential="morse")
    monkeypatch.setattr(propensity.physics.quench, "MAX_STEPS", 2)
    with pytest.raises(PropensityError, match="no energy minimum within 2 steps"):
        inherent_structure(liquid)


def unquenched(name: str, seed: int, **changes) -> Sample:
    structure = make_liquid(seed=seed)
    labels = np.full((len(structure), 1), 0.5)
    return Sample(structure, np.array([1.0]), labels, name, **{"potential": SMOOTH, **changes})


def test_data_sets_are_quenched_in_their_own_potential(tmp_path):
    given = make_liquid(seed=2).positions + 0.01
    samples = [
        unquenched("smooth", 0),
        unquenched("sharp", 1, potential="lj/cut"),
        unquenched("given", 2, inherent_positions=given),
    ]
    with StoreWriter(tmp_path / "thermal.h5") as writer:
        for sample in samples:
            writer.add(sample)
    done = CliRunner().invoke(
        convert_command, [str(tmp_path / name) for name in ("thermal.h5", "quenched.h5")] + ["--quench"]
    )
    assert done.exit_code == 0, done.output
    found = {sample.name: sample for sample in open_dataset(tmp_path / "quenched.h5")}
    np.testing.assert_allclose(found["given"].inherent_positions, given, atol=2e-5)
    for sample in samples[:2]:
        expected = inherent_structure(found[sample.name].structure, sample.potential).positions
        np.testing.assert_allclose(found[sample.name].inherent_positions, expected, atol=2e-5)
        np.testing.assert_allclose(
            found[sample.name].structure.positions, sample.structure.positions, atol=2e-5
        )


@pytest.mark.parametrize("potential", [None, "buckingham"])
def test_a_data_set_whose_potential_is_not_known(tmp_path, potential):
    with StoreWriter(tmp_path / "thermal.h5") as writer:
        writer.add(unquenched("liquid", 0, potential=potential))
    with pytest.raises(
        DataError, match=f"liquid can't be quenched: its potential is {potential!r}, known are"
    ):
        convert([tmp_path / "thermal.h5"], tmp_path / "quenched.h5", quench=True)
    assert not (tmp_path / "quenched.h5").exists()


@pytest.mark.slow
def test_the_average_of_minima_repeats_better_than_one():
    structure = make_liquid(216, seed=3)
    rough = inherent_structure(structure, "lj/cut force-shifted", force=0.5)
    hot = rough.with_positions(rough.positions + 0.1 * np.random.default_rng(0).standard_normal((216, 3)))
    spread = []
    for samples in (1, 6):
        a, b = (
            mean_inherent_structure(hot, samples=samples, kick=0.05, seed=seed, force=1e-2) for seed in (1, 2)
        )
        spread.append(np.sqrt(((a.positions - b.positions) ** 2).sum(1).mean()))
        assert abs((a.positions - hot.positions).mean(0)).max() < 1e-3
    assert spread[1] < 0.8 * spread[0]
    again = mean_inherent_structure(hot, samples=6, kick=0.05, seed=2, force=1e-2)
    assert np.array_equal(again.positions, b.positions)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"samples": 1.5}, "samples is 1.5"),
        ({"kick": -1.0}, "kick is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_averages_of_nothing(options, match):
    with pytest.raises(InputError, match=match):
        mean_inherent_structure(make_liquid(), **options)
