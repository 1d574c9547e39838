"""The GPU engine in the place of LAMMPS: its kernels run as C++ where there is no GPU."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.errors import InputError, MissingDependencyError, PropensityError
from propensity.physics.interaction import energy_and_forces, named_interaction
from propensity.sample import Sample
from propensity.simulate import (
    Leg,
    engines,
    load_input,
    load_preset,
    presets,
    simulate_propensities,
    with_given,
)
from propensity.simulate.engines import choose_engine
from propensity.simulate.fragment import interaction_of
from propensity.simulate.gpu_engine import GpuEngine
from propensity.simulate.lammps_engine import LammpsEngine
from propensity.structure import Structure
from tests.simulate.helpers import lammps_engine, random_microstate, small_settings

N = 200


def gpu_engine(**options) -> GpuEngine:
    engine = GpuEngine(host=True, **options)
    try:
        engine.describe()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    return engine


LIQUIDS = [name for name in presets() if load_preset(name).units == "lj" and name != "polydisperse"]


@pytest.mark.parametrize("name", LIQUIDS)
def test_presets_are_the_interactions_of_their_names(name):
    model = load_preset(name)
    read, named = interaction_of(model), named_interaction(model.potential)
    assert read.masses.tolist() == named.masses.tolist()
    assert (read.dimension, read.truncation) == (named.dimension, named.truncation)
    r = np.linspace(0.8, 3.1, 200)
    for a in range(2):
        for b in range(2):
            assert np.allclose(read.pair(a, b, r), named.pair(a, b, r), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["kob-andersen", "kob-andersen-force-shifted", "kob-andersen-2d", "wahnstrom"]
)
def test_agrees_with_lammps(name):
    lammps, gpu = lammps_engine(), gpu_engine()
    model = load_preset(name)
    microstate = random_microstate(model, N)
    rest = lammps.run([Leg(microstate, model, "minimise", iterations=100)])[0].microstate
    start = replace(rest, velocities=microstate.velocities)
    leg = Leg(start, model, "nve", 40, 0.004, (10, 40), sample_every=10)
    (a,), (b,) = lammps.run([leg]), gpu.run([leg])
    for field in ("potential", "kinetic", "pressure"):
        assert getattr(b, field) == pytest.approx(getattr(a, field), rel=2e-5, abs=2e-5), field
    assert b.frames == pytest.approx(a.frames, abs=2e-4)
    assert b.microstate.velocities == pytest.approx(a.microstate.velocities, abs=5e-3)
    assert np.array_equal(b.microstate.masses, a.microstate.masses)


def test_legs_are_sorted_into_kinds_and_come_back_in_order():
    engine = gpu_engine()
    model = load_preset("kob-andersen")
    microstates = [random_microstate(model, N, seed=k) for k in range(2)]
    legs = [
        Leg(microstates[0], model, "minimise", iterations=50),
        Leg(microstates[1], model, "nvt", 20, temperature=(1.0, 1.0)),
        Leg(microstates[1], model, "minimise", iterations=50),
    ]
    together = engine.run(legs)
    for leg, result in zip(legs, together, strict=True):
        (alone,) = engine.run([leg])
        assert np.array_equal(result.microstate.positions, alone.microstate.positions)
        assert np.array_equal(result.microstate.velocities, alone.microstate.velocities)


def test_a_whole_data_set(tmp_path):
    settings = small_settings(n_particles=N, structures=1, runs=2, chains=1, times="0.1:0.5:2")
    report = simulate_propensities(settings, tmp_path / "a.h5", gpu_engine(), workers=1, quiet=True)
    assert report["engine"].startswith("GPU kernels")
    assert -7.0 < report["equilibration"]["potential_energy"][0] < -4.0
    assert report["runs"]["residual_force"] < 1e-4
    assert abs(report["runs"]["max_energy_drift"]) < 0.01
    sample = open_dataset(tmp_path / "a.h5")[0]
    assert sample.propensities.shape == (N, 2)
    with pytest.raises(InputError, match=r"was begun with engine \"gpu\", and now it is \"lammps\""):
        simulate_propensities(settings, tmp_path / "a.h5", LammpsEngine(), quiet=True)


def test_models_that_it_cannot_follow_name_lammps(tmp_path):
    head = "# m\n# propensity: species A:0.5 B:0.5\nmass * 1.0\n"
    for text, what in {
        "units metal\npair_style lj/cut 2.5\npair_coeff * * 1 1": "in metal",
        "pair_style eam/alloy\npair_coeff * * f.eam A B": "pair_style eam/alloy",
        "pair_style lj/cut 2.5\npair_coeff * * 1 1\nspecial_bonds lj 0 0 0": "'special_bonds'",
        "pair_style lj/cut 2.5\npair_coeff * * 1 1\npair_modify tail yes": "pair_modify tail",
    }.items():
        (tmp_path / "m.in").write_text(head + text + "\n")
        with pytest.raises(InputError, match=what.replace("/", "/") + r".*--engine lammps"):
            interaction_of(load_input(tmp_path / "m.in"))


def test_a_table_beside_the_input_is_read(tmp_path):
    r = np.linspace(0.6, 2.5, 300)
    rows = [f"{i} {x} {4 * (x**-12 - x**-6)} {24 * (2 * x**-13 - x**-7)}" for i, x in enumerate(r, 1)]
    (tmp_path / "t.table").write_text(f"# table\n\nLJ\nN {len(r)}\n\n" + "\n".join(rows) + "\n")
    (tmp_path / "m.in").write_text(
        "# m\n# propensity: species A:1\nmass 1 1.0\npair_style table linear 1000\n"
        "pair_coeff 1 1 ${here}/t.table LJ 2.5\n"
    )
    pairs = interaction_of(load_input(tmp_path / "m.in"))
    x = np.linspace(0.9, 2.4, 50)
    assert pairs.pair(0, 0, x)[0] == pytest.approx(4 * (x**-12 - x**-6), abs=1e-4)
    assert pairs.pair(0, 0, x)[1] == pytest.approx(24 * (2 * x**-13 - x**-7), abs=1e-3)


def test_the_command_line_chooses_an_engine(monkeypatch):
    model = load_preset("kob-andersen")
    monkeypatch.setattr(engines, "_gpu_can", lambda model: False)
    assert choose_engine("auto", model).name == "lammps"
    monkeypatch.setattr(engines, "_gpu_can", lambda model: True)
    assert choose_engine("auto", model).name == "gpu"
    assert choose_engine("auto", model, ranks=2).name == "lammps"
    with pytest.raises(InputError, match="leave them out with --engine gpu"):
        choose_engine("gpu", model, suffix="omp")
    with pytest.raises(InputError, match="--batch belongs to the GPU"):
        choose_engine("lammps", model, batch=3)
    with pytest.raises(InputError, match="--batch is 0"):
        choose_engine("gpu", model, batch=0)
    with pytest.raises(InputError, match=r"engine 'gpuu' is unknown: choose from \['auto', 'gpu'"):
        choose_engine("gpuu", model)


@pytest.mark.parametrize(
    ("name", "temperature", "energy", "tau"),
    [("ka3d_T047_one.npz", 0.47, -6.965, 357), ("ka3d_T044_plain_one.npz", 0.44, -7.029, 2142)],
)
def test_the_state_points_made_with_it(name, temperature, energy, tau):
    """One structure of each: what is stored follows from its positions."""
    path = Path(__file__).parents[1] / "fixtures" / name
    stored = np.load(path)
    sample = open_dataset(path)[0]
    pairs = named_interaction(sample.potential)
    n, box = len(sample.structure), np.diag(sample.structure.cell)
    energies = [
        energy_and_forces(pairs, x, sample.structure.types, box)[0] / n
        for x in (sample.structure.positions, sample.inherent_positions)
    ]
    assert sample.temperature == temperature and sample.potential == "lj/cut"
    assert energies[0] == pytest.approx(stored["potential_energy"][0], abs=2e-4)
    assert energies[1] == pytest.approx(stored["inherent_energy"][0], abs=2e-5)
    assert energies[0] == pytest.approx(energy, abs=0.02)
    assert sample.tau_alpha == pytest.approx(tau, abs=1)
    assert (np.diff(sample.propensities[sample.structure.types == 0].mean(0)) > 0).all()


class Stopping(GpuEngine):
    """The engine, stopped at the fifth call as by a kill; calls are counted in a file."""

    def run(self, legs):
        count = Path(os.environ["PROPENSITY_TEST_CALLS"])
        calls = len(count.read_bytes()) if count.exists() else 0
        count.write_bytes(b"." * (calls + 1))
        if calls == 4:
            raise PropensityError("stopped")
        return super().run(legs)


def test_an_interrupted_data_set_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setenv("PROPENSITY_TEST_CALLS", str(tmp_path / "calls"))
    engine = gpu_engine(batch=2)
    model = load_preset("kob-andersen-force-shifted")
    (rest,) = engine.run([Leg(random_microstate(model, N), model, "minimise", iterations=100)])
    structure = Structure(rest.microstate.positions, rest.microstate.types, rest.microstate.box)
    given = [Sample(structure, np.array([1.0]), np.ones((N, 1)), name="a", potential=model.potential)]
    settings = with_given(small_settings(model=model, n_particles=N, runs=5, times="0.05:0.2:2"), given)
    options = {"given": given, "workers": 1, "quiet": True}
    simulate_propensities(settings, tmp_path / "a.h5", engine, **options)
    with pytest.raises(PropensityError, match="stopped"):
        simulate_propensities(settings, tmp_path / "b.h5", Stopping(batch=2, host=True), **options)
    assert list((tmp_path / "b.h5.work").rglob("run*/0.npz"))
    simulate_propensities(settings, tmp_path / "b.h5", GpuEngine(batch=3, host=True), **options)
    a, b = (open_dataset(tmp_path / name)[0] for name in ("a.h5", "b.h5"))
    assert np.array_equal(a.propensities, b.propensities)
    assert np.array_equal(a.inherent_positions, b.inherent_positions)
