"""The calculator behaves as ASE's do, and the observer leaves dynamics alone."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from propensity import Predictor, PropensityCalculator, Structure
from propensity.bias import Linear
from propensity.errors import DataError, InputError, PropensityError
from propensity.integrations.ase import PropensityObserver
from propensity.integrations.bias import PropensityBias
from tests.conftest import make_liquid, make_tiny_model

MAP = {"Ni": "A", "P": "B"}


@pytest.fixture
def atoms(liquid):
    return ase.Atoms(
        np.array(["Ni", "P"])[liquid.types],
        liquid.positions,
        cell=liquid.cell,
        pbc=True,
        momenta=np.ones((120, 3)),
    )


@pytest.fixture
def calculator(tiny_model):
    return PropensityCalculator(tiny_model, species_map=MAP)


@pytest.fixture
def counted(calculator, monkeypatch):
    """The calculator and a list that grows with each prediction."""
    calls = []
    columns = calculator.predictor.columns
    monkeypatch.setattr(calculator.predictor, "columns", lambda s: calls.append(len(s)) or columns(s))
    return calculator, calls


def test_properties_are_those_of_the_predictor(atoms, calculator, tiny_model, liquid):
    expected = Predictor(tiny_model).predict(liquid)
    atoms.calc = calculator
    assert np.array_equal(calculator.get_property("propensities", atoms), expected)
    assert np.array_equal(atoms.calc.get_property("propensity", atoms), expected[:, 2])
    assert calculator.times.tolist() == [1, 10, 100]


@pytest.mark.parametrize("ask", ["get_potential_energy", "get_forces", "get_stress"])
def test_energies_and_forces_are_not_implemented(ask, atoms, calculator):
    atoms.calc = calculator
    with pytest.raises(PropertyNotImplementedError):
        getattr(atoms, ask)()


def test_one_model_has_no_standard_deviation(atoms, calculator):
    with pytest.raises(PropertyNotImplementedError):
        calculator.get_property("propensity_std", atoms)


def test_results_are_cached(atoms, counted):
    calculator, calls = counted
    first = calculator.get_property("propensity", atoms)
    calculator.get_property("propensities", atoms)
    first[:] = 0
    assert calculator.get_property("propensity", atoms).min() > 0, "the cache was handed out"
    assert not calculator.calculation_required(atoms, ["propensity"])
    assert len(calls) == 1


def move(atoms):
    atoms.positions[3] += 0.01


def swap(atoms):
    atoms.numbers[[0, 4]] = atoms.numbers[[4, 0]]
    atoms.numbers[:] = np.roll(atoms.numbers, 1)


def stretch(atoms):
    atoms.set_cell(atoms.cell * 1.01)


def open_boundary(atoms):
    atoms.pbc = [True, True, False]


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
@pytest.mark.parametrize("change", [move, swap, stretch, open_boundary])
def test_changes_that_matter_invalidate(change, atoms, counted, tiny_model):
    calculator, calls = counted
    before = calculator.get_property("propensity", atoms)
    change(atoms)
    assert calculator.calculation_required(atoms, ["propensity"])
    after = calculator.get_property("propensity", atoms)
    assert len(calls) == 2
    assert not np.array_equal(before, after)
    fresh = PropensityCalculator(tiny_model, species_map=MAP).get_property("propensity", atoms)
    assert np.array_equal(after, fresh)


def test_a_changed_type_array_invalidates(atoms, counted):
    calculator, calls = counted
    calculator.predictor.species_map = {1: "A", 2: "B"}
    atoms.set_array("type", np.where(atoms.numbers == 28, 1, 2))
    before = calculator.get_property("propensity", atoms)
    atoms.arrays["type"][[0, 119]] = atoms.arrays["type"][[119, 0]]
    atoms.arrays["type"][:] = np.roll(atoms.arrays["type"], 1)
    assert not np.array_equal(before, calculator.get_property("propensity", atoms))
    assert len(calls) == 2


def test_changes_that_do_not_matter_do_not_invalidate(atoms, counted):
    calculator, calls = counted
    calculator.get_property("propensity", atoms)
    atoms.set_momenta(np.zeros((120, 3)))
    atoms.set_initial_charges(np.ones(120))
    atoms.set_initial_magnetic_moments(np.ones(120))
    atoms.info["note"] = "x"
    atoms.set_array("other", np.arange(120))
    calculator.get_property("propensity", atoms)
    assert len(calls) == 1


def test_results_without_asking_to_calculate(atoms, calculator):
    assert calculator.get_property("propensity", atoms, allow_calculation=False) is None


def test_species_are_checked_when_the_calculator_is_attached(atoms, tiny_model):
    unmapped = PropensityCalculator(tiny_model)
    with pytest.raises(InputError, match=r"'Ni', 'P'.*'A', 'B'"):
        atoms.calc = unmapped
    atoms.set_array("type", np.array(["A", "B"])[(atoms.numbers == 15).astype(int)])
    atoms.calc = unmapped
    assert unmapped.get_property("propensity", atoms).shape == (120,)


def test_predictions_follow_the_species_not_the_element(atoms, tiny_model, liquid):
    """LAMMPS types read by ASE become H and He: the map says what they are."""
    light = atoms.copy()
    light.numbers = liquid.types + 1
    expected = Predictor(tiny_model).predict(liquid)
    for mapping in ({"H": "A", "He": "B"}, {1: "A", 2: "B"}, {"1": "A", "2": "B"}):
        calculator = PropensityCalculator(tiny_model, species_map=mapping)
        assert np.array_equal(calculator.get_property("propensities", light), expected)


def test_annotate_writes_arrays_that_survive_extxyz(atoms, calculator, tmp_path):
    calculator.annotate(atoms)
    assert np.array_equal(atoms.arrays["propensity"], calculator.get_property("propensity", atoms))
    ase.io.write(tmp_path / "out.extxyz", atoms)
    back = ase.io.read(tmp_path / "out.extxyz")
    for array in ("propensity", "propensities"):
        assert back.arrays[array].shape == atoms.arrays[array].shape
        assert np.allclose(back.arrays[array], atoms.arrays[array], atol=1e-8)
    assert np.allclose(back.info["propensity_times"], [1, 10, 100])


def test_annotate_does_not_invalidate_and_returns_the_atoms(atoms, counted):
    calculator, calls = counted
    assert calculator.annotate(atoms) is atoms
    calculator.annotate(atoms)
    assert len(calls) == 1


def test_a_committee_gives_mean_and_standard_deviation(atoms, tiny_model, tmp_path, liquid):
    models = [tiny_model, make_tiny_model(tmp_path / "1", seed=1), make_tiny_model(tmp_path / "2", seed=2)]
    committee = PropensityCalculator(models, species_map=MAP)
    members = np.stack([Predictor(model).predict(liquid) for model in models])
    assert np.allclose(committee.get_property("propensities", atoms), members.mean(axis=0))
    assert np.allclose(committee.get_property("propensities_std", atoms), members.std(axis=0, ddof=1))
    assert np.allclose(committee.get_property("propensity_std", atoms), members[:, :, 2].std(axis=0, ddof=1))
    committee.annotate(atoms)
    ase.io.write(tmp_path / "out.extxyz", atoms)
    assert ase.io.read(tmp_path / "out.extxyz").arrays["propensity_std"].shape == (120,)
    # One model alone then takes the columns of the committee away.
    PropensityCalculator(tiny_model, species_map=MAP).annotate(atoms)
    assert "propensity_std" not in atoms.arrays


def test_length_scale_is_that_of_the_positions(atoms, tiny_model, calculator):
    expected = calculator.get_property("propensities", atoms)
    atoms.set_cell(atoms.cell * 2.5, scale_atoms=True)
    scaled = PropensityCalculator(tiny_model, species_map=MAP, length_scale=2.5)
    assert np.allclose(scaled.get_property("propensities", atoms), 2.5 * expected, rtol=1e-4)


def test_times_choose_columns_and_the_default(atoms, tiny_model, calculator):
    full = calculator.get_property("propensities", atoms)
    chosen = PropensityCalculator(tiny_model, species_map=MAP, times=[10, 1])
    assert np.array_equal(chosen.get_property("propensities", atoms), full[:, [1, 0]])
    assert np.array_equal(chosen.get_property("propensity", atoms), full[:, 0])
    with pytest.raises(InputError, match=r"11.*\[1.0, 10.0, 100.0\]"):
        PropensityCalculator(tiny_model, times=11)


def test_an_unknown_model_is_named():
    with pytest.raises(DataError, match="'no-such-model'"):
        PropensityCalculator("no-such-model")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_positions_are_an_error_every_time(bad, atoms, calculator):
    atoms.calc = calculator
    atoms.positions[5, 1] = bad
    for _ in range(2):
        with pytest.raises(InputError, match="particle 5"):
            calculator.get_property("propensity", atoms)
    assert not calculator.results


def test_density_is_warned_about_once(atoms, calculator):
    atoms.set_cell(atoms.cell * 1.2, scale_atoms=True)
    with pytest.warns(UserWarning, match=r"density.*length_scale") as warned:
        for _ in range(3):
            atoms.positions[0] += 0.01
            calculator.get_property("propensity", atoms)
    assert len([w for w in warned if "density" in str(w.message)]) == 1


# --- dynamics -------------------------------------------------------------------------------------


def copper() -> ase.Atoms:
    from ase.build import bulk

    atoms = bulk("Cu", cubic=True).repeat(2)
    atoms.set_momenta(np.random.default_rng(0).normal(size=(32, 3)) * 3)
    atoms.calc = EMT()
    return atoms


def run(observer_of=None, steps=12):
    atoms = copper()
    dynamics = VelocityVerlet(atoms, 2.0)
    observer = None
    if observer_of is not None:
        observer = observer_of(atoms)
        dynamics.attach(observer, interval=4)
    dynamics.run(steps)
    return atoms, observer


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_observed_dynamics_are_bitwise_the_same(tiny_model, tmp_path):
    free, _ = run()
    observed, observer = run(
        lambda atoms: PropensityObserver(
            atoms, tiny_model, file=tmp_path / "run.extxyz", species_map={"Cu": "A"}, length_scale=2.3
        )
    )
    assert np.array_equal(free.positions, observed.positions)
    assert np.array_equal(free.get_momenta(), observed.get_momenta())
    assert isinstance(observed.calc, EMT)
    assert observer.n_observed == 4
    frames = ase.io.read(tmp_path / "run.extxyz", ":")
    assert len(frames) == 4
    assert np.allclose(frames[-1].positions, observed.positions, atol=1e-7)
    assert frames[0].get_potential_energy() == pytest.approx(copper().get_potential_energy())
    calculator = PropensityCalculator(tiny_model, species_map={"Cu": "A"}, length_scale=2.3)
    for frame in (frames[0], frames[-1]):
        assert np.allclose(
            frame.arrays["propensities"], calculator.get_property("propensities", frame), rtol=1e-3
        )
    assert not np.allclose(frames[0].arrays["propensity"], frames[-1].arrays["propensity"], rtol=1e-3)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_an_older_file_is_replaced(tiny_model, tmp_path):
    path = tmp_path / "run.extxyz"
    for _ in range(2):
        run(lambda atoms: PropensityObserver(atoms, tiny_model, file=path, species_map={"Cu": "A"}), steps=4)
        assert len(ase.io.read(path, ":")) == 2


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_without_a_file_the_atoms_carry_the_last_frame(tiny_model):
    calculator = PropensityCalculator(tiny_model, species_map={"Cu": "A"})
    atoms, _ = run(lambda atoms: PropensityObserver(atoms, calculator))
    assert np.array_equal(atoms.arrays["propensity"], calculator.get_property("propensity", atoms))


def test_an_observer_checks_its_input_at_once(tiny_model, tmp_path, calculator):
    with pytest.raises(InputError, match="'Cu'"):
        PropensityObserver(copper(), tiny_model)
    with pytest.raises(InputError, match="VelocityVerlet"):
        PropensityObserver(VelocityVerlet(copper(), 1.0), tiny_model)
    with pytest.raises(InputError, match="length_scale"):
        PropensityObserver(copper(), calculator, length_scale=2.0)
    with pytest.raises(PropensityError, match="can't be written"):
        PropensityObserver(copper(), tiny_model, species_map={"Cu": "A"}, file=tmp_path / "no" / "run.extxyz")


def test_calculate_called_directly(atoms, calculator, liquid, tiny_model):
    calculator.calculate(atoms, ["propensity"], all_changes)
    assert np.array_equal(calculator.results["propensities"], Predictor(tiny_model).predict(liquid))


def test_the_structure_is_what_the_network_reads(atoms, calculator, liquid):
    structure = calculator.structure(atoms)
    assert isinstance(structure, Structure)
    assert np.array_equal(structure.types, liquid.types)


def test_a_supercell_repeats_the_values(tiny_model):
    small = make_liquid(120)
    atoms = ase.Atoms(np.array(["Ni", "P"])[small.types], small.positions, cell=small.cell, pbc=True)
    calculator = PropensityCalculator(tiny_model, species_map=MAP, dtype="float64")
    once = calculator.get_property("propensities", atoms)
    assert np.allclose(
        calculator.get_property("propensities", atoms.repeat((2, 1, 1))), np.tile(once, (2, 1))
    )


def test_threads_that_share_a_calculator_get_the_answers_of_their_own_atoms(tiny_model):
    calculator = PropensityCalculator(tiny_model, species_map={"Ni": "A", "P": "B"})
    liquids = [make_liquid(seed=seed) for seed in range(6)]
    frames = [ase.Atoms(np.array(["Ni", "P"])[s.types], s.positions, cell=s.cell, pbc=True) for s in liquids]
    expected = [calculator.predictor.predict(s) for s in liquids]
    with ThreadPoolExecutor(4) as pool:
        asked = pool.map(lambda k: calculator.get_property("propensities", frames[k % 6]), range(48))
        for k, found in enumerate(asked):
            np.testing.assert_allclose(found, expected[k % 6], atol=1e-6)
        for k, atoms in enumerate(pool.map(lambda k: calculator.annotate(frames[k].copy()), range(6))):
            np.testing.assert_allclose(atoms.arrays["propensities"], expected[k], atol=1e-6)
            np.testing.assert_array_equal(atoms.arrays["propensity"], atoms.arrays["propensities"][:, 2])
    assert copy.deepcopy(calculator._one) is not calculator._one


@pytest.mark.filterwarnings("ignore:.*sharp cutoff:propensity.errors.PropensityWarning")
@pytest.mark.parametrize("kind", ["propensity", "bias"])
def test_calculators_pickle_and_copy(kind, tiny_model):
    liquid = make_liquid(150)
    atoms = ase.Atoms(np.array(["Ni", "P"])[liquid.types], liquid.positions, cell=liquid.cell, pbc=True)
    options = {"species_map": {"Ni": "A", "P": "B"}, "device": "cpu"}
    calculator = (
        PropensityCalculator(tiny_model, **options)
        if kind == "propensity"
        else PropensityBias(tiny_model, Linear(2.0), group="A", **options)
    )
    name = "propensities" if kind == "propensity" else "energy"
    expected = calculator.get_property(name, atoms)
    for other in (pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
        assert other is not calculator and type(other) is type(calculator)
        other.reset()
        np.testing.assert_array_equal(other.get_property(name, atoms), expected)
    again = copy.deepcopy(calculator)
    again.results.clear()
    assert calculator.results
