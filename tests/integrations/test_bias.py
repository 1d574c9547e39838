"""A bias in ASE: forces are the slope of its energy, the total energy is conserved, bad input is refused."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.calculators.mixing import SumCalculator
from ase.md.verlet import VelocityVerlet

from propensity.bias import Bias, Harmonic, Linear, form_of
from propensity.errors import InputError, PropensityWarning
from propensity.estimators.card import Card
from propensity.estimators.gated import GatedEstimator
from propensity.estimators.storage import save_model
from propensity.integrations.bias import PropensityBias
from propensity.nn.gated import GatedNetwork
from propensity.physics.kob_andersen import KobAndersen
from propensity.predictor import Predictor
from tests.conftest import make_liquid, make_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:(number density|composition|the structure|some particles)")
MAP = {"H": "A", "He": "B"}


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random network of thermal positions, smooth at its cutoff."""
    torch.manual_seed(2)
    widths = dict(scalars=8, vectors=4, quadrupoles=3, sent_scalars=4, sent_vectors=3, products=2, hidden=8)
    network = GatedNetwork(["thermal"] * 2, "thermal", n_outputs=2, cutoff=1.6, readout=8, widths=widths)
    card = Card(
        kind="gated",
        name="smooth",
        config=network.config,
        species=("A", "B"),
        cutoff=1.6,
        times=(1.0, 10.0),
        default_time_index=1,
        density=1.2,
        composition=(0.8, 0.2),
        target_mean=[[0.2, 0.4], [0.3, 0.5]],
        target_std=[[0.02, 0.05], [0.02, 0.05]],
    )
    return save_model(tmp_path_factory.mktemp("models") / "smooth", GatedEstimator(network, card))


def make_atoms(n: int = 60, relaxed: bool = False) -> ase.Atoms:
    liquid = make_liquid(n)
    atoms = ase.Atoms(
        numbers=liquid.types + 1, positions=liquid.positions, cell=liquid.cell, pbc=True, masses=np.ones(n)
    )
    if relaxed:
        from ase.optimize import FIRE

        atoms.calc = KobAndersen("lj/cut force-shifted")
        FIRE(atoms, logfile=None).run(fmax=1.0, steps=150)
        atoms.set_momenta(np.random.default_rng(1).normal(scale=0.7, size=(n, 3)))
    return atoms


@pytest.mark.parametrize(
    ("form", "group", "time"),
    [
        (Linear(50.0), None, None),
        (Harmonic(2000.0, 0.3), "A", 1.0),
        (lambda q: 3 * torch.exp(q), [3, 4, 11], None),
        (Linear(-5.0), np.arange(60) % 2 == 0, 10.0),
    ],
)
def test_forces_are_the_slope_of_the_energy(smooth, form, group, time):
    atoms = make_atoms()
    atoms.calc = bias = PropensityBias(
        smooth, form, group=group, time=time, dtype="float64", device="cpu", species_map=MAP
    )
    predicted = bias.predictor.predict(bias.structure(atoms))[:, 0 if time == 1.0 else 1]
    chosen = (
        slice(None) if group is None else atoms.numbers == 1 if isinstance(group, str) else np.array(group)
    )
    q = predicted[chosen].mean()
    assert atoms.get_potential_energy() == pytest.approx(float(form(torch.tensor(q))), rel=1e-10)
    assert bias.mean == pytest.approx(q, rel=1e-10)
    forces = atoms.get_forces()
    direction = np.random.default_rng(0).normal(size=forces.shape)
    energies = []
    for step in (1e-5, -1e-5):
        moved = atoms.copy()
        moved.positions += step * direction
        moved.calc = bias
        energies.append(moved.get_potential_energy())
    assert (forces * direction).sum() == pytest.approx(-(energies[0] - energies[1]) / 2e-5, rel=1e-6)
    assert np.abs(forces.sum(axis=0)).max() < 1e-10 * np.abs(forces).max()


def test_energy_is_conserved(smooth):
    """In NVE beside the interaction: the sum strays by a fraction of what the bias itself gives and takes, by
    a quarter of that at half the timestep.
    """
    start, away = make_atoms(relaxed=True), []
    for timestep in (0.002, 0.001):
        atoms = start.copy()
        bias = PropensityBias(smooth, Linear(1e5), group="A", dtype="float64", device="cpu", species_map=MAP)
        atoms.calc = SumCalculator([KobAndersen("lj/cut force-shifted"), bias])
        given, total = [], [atoms.get_total_energy()]
        dynamics = VelocityVerlet(atoms, timestep)
        for _ in range(round(0.04 / timestep)):
            dynamics.run(1)
            given.append(bias.results["energy"])
            total.append(atoms.get_total_energy())
        assert np.ptp(given) > 1
        assert np.ptp(total) < 0.02 * np.ptp(given)
        assert atoms.get_potential_energy() == pytest.approx(
            bias.results["energy"] + KobAndersen("lj/cut force-shifted").get_potential_energy(atoms)
        )
        away.append(np.sqrt(np.mean((np.array(total) - total[0]) ** 2)))
    assert 3.6 < away[0] / away[1] < 4.4


def test_pull_lowers_the_propensity(smooth):
    """Steps down the bias alone lower the mean that it acts on."""
    atoms = make_atoms()
    atoms.calc = bias = PropensityBias(smooth, Linear(1.0), dtype="float64", device="cpu", species_map=MAP)
    before = atoms.get_potential_energy()
    forces = atoms.get_forces()
    atoms.positions += 1e-3 * forces / np.abs(forces).max()
    assert atoms.get_potential_energy() < before and bias.mean < before


def test_units_of_the_structure(smooth):
    """In Å, where σ is 2.5 Å: means in Å, and forces that fit."""
    atoms = make_atoms()
    calm = PropensityBias(smooth, Linear(1.0), dtype="float64", device="cpu", species_map=MAP)
    other = PropensityBias(
        smooth, Linear(1.0), dtype="float64", device="cpu", species_map=MAP, length_scale=2.5
    )
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell * 2.5, scale_atoms=True)
    atoms.calc, scaled.calc = calm, other
    assert scaled.get_potential_energy() == pytest.approx(2.5 * atoms.get_potential_energy(), rel=1e-10)
    assert np.allclose(scaled.get_forces(), atoms.get_forces(), rtol=1e-8)


def test_who_does_not_conserve_energy_says_so(tmp_path, smooth):
    sharp = make_tiny_model(tmp_path / "sharp")
    with pytest.warns(PropensityWarning, match="has a sharp cutoff, at which the energy of a bias jumps"):
        PropensityBias(sharp, Linear(1.0), device="cpu")
    steps = make_tiny_model(tmp_path / "steps", envelope=True)
    with pytest.warns(PropensityWarning, match="has rectifiers, at which the forces of a bias have steps"):
        PropensityBias(steps, Linear(1.0), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PropensityBias(smooth, Linear(1.0), device="cpu")
    with pytest.warns(PropensityWarning, match="sees minima, which bias forces hold"):
        PropensityBias(["ka-both"], Linear(1.0), device="cpu")


def test_groups_of_a_bias_alone(smooth):
    bias = Bias(Predictor(smooth, device="cpu"), Linear(np.float32(2.0)))
    liquid = make_liquid(60)
    mask = np.isin(np.arange(60), [3, 1])
    assert bias(liquid, [3, 1]).mean == bias(liquid, mask).mean == bias(liquid, mask.tolist()).mean
    masked = np.ma.masked_array(np.arange(5), mask=np.arange(5) == 3)
    for wrong in ("A", [60], np.ones(5, dtype=bool), np.ones(60), [[0, 1], [2]], masked):
        with pytest.raises(InputError, match=r"group (has shape|can't be read|are masked)"):
            bias(liquid, wrong)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"form": 3.0}, r"form is 3.0: give Linear"),
        ({"group": "C"}, r"group is 'C': give a species of \['A', 'B'\]"),
        ({"group": [60]}, "group has shape .* give indices 0 to 59"),
        ({"group": [0.5]}, "dtype float64 for 60 atoms"),
        ({"group": np.ones(59, dtype=bool)}, r"group has shape \(59,\)"),
        ({"group": np.zeros(60, dtype=bool)}, "the group has no particles"),
        ({"group": np.arange(60) % 2}, "holds an index twice in 60: give each once, or booleans"),
        ({"time": [1.0, 10.0]}, "acts on the propensity at one time"),
        ({"time": 3.0}, "time 3.0 is not among those"),
        ({"time": True}, "times are True: give one time"),
        ({"form": lambda q: 1.0}, "gave float: it must return a torch tensor"),
    ],
)
def test_bad_input(smooth, values, message):
    atoms = make_atoms()
    with pytest.raises(InputError, match=message):
        atoms.calc = PropensityBias(
            smooth, **{"form": Linear(1.0), "device": "cpu", "species_map": MAP, **values}
        )
        atoms.get_forces()


def test_options_of_a_finished_predictor(smooth):
    predictor = Predictor(smooth, device="cpu", species_map=MAP)
    assert PropensityBias(predictor, Linear(1.0)).predictor is predictor
    with pytest.raises(InputError, match=r"options \['device'\] come with a finished predictor"):
        PropensityBias(predictor, Linear(1.0), device="cpu")


def test_a_new_form_counts_at_once(smooth):
    """As of a bias that grows; and what a group was made of may change afterwards."""
    atoms, group = make_atoms(), np.arange(5)
    atoms.calc = bias = PropensityBias(
        smooth, Linear(1.0), group=group, dtype="float64", device="cpu", species_map=MAP
    )
    before = atoms.get_potential_energy()
    group[0] = 40
    bias.form = Linear(2.0)
    assert atoms.get_potential_energy() == pytest.approx(2 * before, rel=1e-12)
    again = pickle.loads(pickle.dumps(bias))
    assert again.form == Linear(2.0) and again.group.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="form is 3"):
        bias.form = 3
    for name in ("group", "time"):
        with pytest.raises(AttributeError):
            setattr(bias, name, None)


def test_a_form_may_write_to_its_argument(smooth):
    def parabola(q):
        q -= 0.3
        return q**2

    predictor, liquid = Predictor(smooth, device="cpu", dtype="float64"), make_liquid(60)
    found, mean = Bias(predictor, parabola)(liquid), Bias(predictor, Linear(1.0))(liquid).mean
    assert found.mean == pytest.approx(mean) and found.energy == pytest.approx((mean - 0.3) ** 2)


def test_what_a_bias_is_made_of(smooth):
    with pytest.raises(InputError, match="predictor is a PosixPath: give a Predictor"):
        Bias(smooth, Linear(1.0))
    with pytest.raises(InputError, match=r"structure is a Atoms: give a Structure"):
        Bias(Predictor(smooth, device="cpu"), Linear(1.0))(make_atoms())
    with pytest.raises(InputError, match="stiffness is -5, which pushes away"):
        Harmonic(-5, 0.3)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), True, "1", 10**400])
def test_numbers_of_forms(number):
    with pytest.raises(InputError, match="strength is"):
        Linear(number)
    with pytest.raises(InputError, match="centre is"):
        Harmonic(1.0, number)


def test_forms_from_words():
    assert form_of(["linear", "-3"]) == Linear(-3.0)
    assert form_of(["harmonic", "10", "0.5"]) == Harmonic(10.0, 0.5)
    for words in ([], ["linear"], ["cubic", "1"], ["harmonic", "1"], ["linear", "x"]):
        with pytest.raises(InputError, match="bias is"):
            form_of(words)
