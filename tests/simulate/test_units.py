"""Liquids in other units, and what an interaction is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from propensity.errors import DataError, InputError
from propensity.sample import Sample
from propensity.simulate import Leg, load_input, load_preset
from propensity.simulate.arguments import make_settings
from propensity.simulate.given import given_microstate
from propensity.simulate.model import preset_text
from propensity.simulate.physics import (
    first_peak,
    generator,
    lattice,
    maxwell_boltzmann,
    species_temperatures,
)
from propensity.simulate.units import UNITS
from propensity.structure import Structure
from tests.simulate.helpers import lammps_engine, random_microstate, small_settings

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.mark.parametrize("units", UNITS.values(), ids=list(UNITS))
def test_velocities_have_the_temperature_in_any_units(units):
    masses = np.tile([63.5, 91.2], 20_000)
    types = np.tile([0, 1], 20_000)
    v = maxwell_boltzmann(masses, 1000.0, 3, generator(1), units)
    assert species_temperatures(v, masses, types, 3, 2, units) == pytest.approx([1000, 1000], rel=0.02)


def test_thermal_speed_of_copper():
    """√(k_B T/m) of copper at 1000 K is 3.617 Å/ps."""
    masses = np.full(50_000, 63.546)
    for name, speed in (("metal", 3.617), ("real", 3.617e-3)):
        v = maxwell_boltzmann(masses, 1000.0, 3, generator(2), UNITS[name])
        assert v.std() == pytest.approx(speed, rel=0.01)


def write(tmp_path, text, name="my.in"):
    (tmp_path / name).write_text(text)
    return load_input(tmp_path / name)


EAM = """# A metal
# propensity: species Cu:0.5 Zr:0.5
# propensity: density 0.06
{}
pair_style eam/fs
pair_coeff * * ${{potentials}}/CuZr_mm.eam.fs Cu Zr
"""


@pytest.mark.parametrize("line", ["units metal", "# propensity: units metal", "units   metal  # eV"])
def test_units_are_read_and_defaults_fit_them(tmp_path, line):
    model = write(tmp_path, EAM.format(line))
    assert (model.units, model.timestep, model.damping, model.melt) == ("metal", 0.002, 0.2, 2000.0)
    settings, _ = make_settings(model, temperature=1000.0, times="0.1:4:3", n_particles=500)
    assert (settings.melt_time, settings.cool_time, settings.max_equilibration) == (20.0, 40.0, 4000.0)
    assert settings.wavenumber is None


def test_lj_defaults_are_as_they_were():
    settings = small_settings(model=load_preset("kob-andersen"))
    assert (settings.timestep, settings.model.damping, settings.wavenumber) == (0.005, 0.5, 7.25)
    plain, _ = make_settings(load_preset("kob-andersen"), temperature=0.5, times="1")
    assert (plain.melt_time, plain.cool_time, plain.max_equilibration) == (50.0, 100.0, 1e4)


# --- what an interaction is called ------------------------------------------------------------------------


def test_a_template_as_it_is_has_the_name_of_its_preset(tmp_path):
    text = preset_text("kob-andersen")
    assert write(tmp_path, text).potential == "lj/cut"
    # Layout, order of lines and the way numbers are written don't matter, nor do comments and masses.
    lines = text.replace("1.5 0.8", "1.50   8e-1").splitlines()
    comments = [line for line in lines if line.startswith("#") and "potential" not in line]
    commands = [line for line in lines if not line.startswith("#")]
    style = [line for line in commands if line.startswith("pair_style")]
    rest = [line for line in commands if not line.startswith("pair_style")][::-1]
    assert write(tmp_path, "\n".join([*comments, *style, *rest]) + "\n").potential == "lj/cut"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.5 0.8", "1.5 0.85"),
        ("pair_style  lj/cut 2.5", "pair_style  lj/cut 2.6"),
        ("shift yes", "shift no"),
    ],
)
def test_a_name_left_over_in_a_template_is_not_believed(tmp_path, old, new):
    changed = preset_text("kob-andersen").replace(old, new)
    assert changed != preset_text("kob-andersen")
    assert write(tmp_path, changed).potential.startswith("lj/cut #")


def test_own_names_carry_the_coefficients(tmp_path):
    text = "# propensity: species small:1 large:1\n# propensity: potential my wca\nmass * 1\n" + (
        "pair_style lj/cut 1.12246\npair_coeff * * 1 {}\n"
    )
    first, second = (write(tmp_path, text.format(s)).potential for s in ("1.0", "1.1"))
    assert first.startswith("my wca #") and second.startswith("my wca #") and first != second


def test_files_beside_the_input_count_by_their_contents(tmp_path):
    text = "# propensity: species A:1\nmass * 1\npair_style table linear 99\npair_coeff * * ${here}/t X\n"
    (tmp_path / "t").write_text("one")
    first = write(tmp_path, text).potential
    (tmp_path / "t").write_text("two")
    assert write(tmp_path, text).potential != first


# --- S(k) -------------------------------------------------------------------------------------------------


def test_first_peak_of_a_square_lattice():
    edge = np.array([20.0, 20.0, 1.0])
    positions, _ = lattice(np.array([400]), edge, 2, generator(0))
    positions[:, :2] += 0.1 * generator(1).standard_normal((400, 2))
    assert first_peak([positions], edge, 2) == pytest.approx(2 * np.pi, rel=0.03)


def test_first_peak_of_the_kob_andersen_liquid():
    """Near 7.25, where the literature measures F_s."""
    from propensity.data import open_dataset

    structure = open_dataset(FIXTURES / "ka3d_one_valid.npz")[0].structure
    assert first_peak([structure.positions], np.diag(structure.cell), 3) == pytest.approx(7.2, abs=0.25)


def test_given_structures_go_back_to_the_units_of_the_model():
    rng = np.random.default_rng(0)
    structure = Structure(rng.uniform(0, 20, (50, 3)), np.zeros(50, int), 20.0)
    sample = Sample(structure, np.array([1.0]), np.ones((50, 1)), "metal").in_units_of(2.7)
    microstate = given_microstate(sample, 3)
    assert np.allclose(microstate.positions, structure.positions) and np.allclose(microstate.box, 20.0)


# --- LAMMPS -----------------------------------------------------------------------------------------------


def test_energy_of_a_metal_is_conserved():
    """Velocities, kinetic energy and step fit the units: the total energy stays while its parts change."""
    engine = lammps_engine()
    model = load_preset("copper-zirconium")
    microstate = random_microstate(model, 108)
    (rest,) = engine.run([Leg(microstate, model, "minimise", iterations=50)])
    masses = rest.microstate.masses
    assert np.unique(masses).round(1).tolist() == [63.5, 91.2]
    v = maxwell_boltzmann(masses, 1200.0, 3, generator(3), model.constants)
    (leg,) = engine.run(
        [Leg(replace(rest.microstate, velocities=v), model, "nve", 100, model.timestep, sample_every=10)]
    )
    total = leg.potential + leg.kinetic
    assert np.ptp(leg.kinetic) > 0.02 and np.ptp(total) < 1e-3
    assert leg.kinetic[0] == pytest.approx(1.5 * model.constants.boltzmann * 1200.0, rel=0.25)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")  # small and hot
def test_copper_zirconium_end_to_end(tmp_path, monkeypatch):
    """LAMMPS's own Cu-Zr potential at N = 500, hot: simulate, info, train, evaluate, annotate, view, in Å."""
    import ase
    import ase.io
    from click.testing import CliRunner

    from propensity import Predictor
    from propensity.cli.main import main
    from propensity.data import open_dataset
    from propensity.simulate import simulate_propensities

    settings, _ = make_settings(
        load_preset("copper-zirconium"),
        temperature=1800.0,
        times="0.1:0.5:2",
        n_particles=500,
        structures=3,
        chains=1,
        runs=2,
    )
    settings = replace(settings, melt_time=1.0, cool_time=1.0)
    report = simulate_propensities(settings, tmp_path / "cuzr.h5", lammps_engine(), workers=1, quiet=True)
    assert 2.3 < report["wavenumber"] < 3.2
    assert report["runs"]["kinetic_temperatures"] == pytest.approx([1800, 1800], rel=0.2)
    dataset = open_dataset(tmp_path / "cuzr.h5")
    sample = dataset[0]
    assert sample.length_scale == 2.7 and sample.species == ("Cu", "Zr") and sample.temperature == 1800
    assert sample.structure.density == pytest.approx(0.0595 * 2.7**3, rel=1e-3)

    monkeypatch.chdir(tmp_path)
    frames = []
    for each in dataset:
        s = each.structure.scaled(2.7)
        names = [each.species[t] for t in s.types]
        frames.append(ase.Atoms(names, s.positions, cell=s.cell, pbc=True))
    ase.io.write("cuzr.extxyz", frames)

    def run(line):
        done = CliRunner().invoke(main, line.split(), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        print(done.output)
        return done.output

    assert "length scale" in run("info cuzr.h5").lower() or "Å" in run("info cuzr.h5")
    split = "--split structure --fractions 0.67,0,0.33 --seed 1"
    run(f"train cuzr.h5 --model ridge --l-max 4 --generations 1 --folds 2 {split} -o run")
    shown = run("evaluate run cuzr.h5 --split test")
    assert "1 structure(s)" in shown
    run("annotate cuzr.extxyz -o annotated.extxyz -m run")
    run("view annotated.extxyz -o cuzr.png --renderer matplotlib")
    assert (tmp_path / "cuzr.png").stat().st_size > 10_000
    predicted = Predictor("run").predict(sample.structure.scaled(2.7))
    assert predicted.mean() == pytest.approx(2.7 * sample.propensities.mean(), rel=0.15)
    columns = ase.io.read("annotated.extxyz", index=0).arrays["propensities"]
    np.testing.assert_allclose(columns, predicted, rtol=1e-4)


@pytest.mark.parametrize("name", ["kob-andersen", "kob-andersen-force-shifted"])
def test_energies_and_minima_by_lammps_are_those_of_the_mixture(name):
    from propensity.physics.kob_andersen import local_potential_energy
    from propensity.physics.quench import inherent_structure

    lammps_engine()
    model = load_preset(name)
    microstate = random_microstate(model, 200)
    structure = Structure(microstate.positions % microstate.box, microstate.types, microstate.box)
    ours, theirs = (local_potential_energy(structure, p) for p in (model.potential, f"lammps:{name}"))
    np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-9)
    found = inherent_structure(structure, f"lammps:{name}")
    energy = local_potential_energy(found, model.potential).mean()
    assert energy < ours.mean() - 0.5
    # The same in other units of length.
    scaled = inherent_structure(structure.scaled(1 / 2.7), f"lammps:{name}", length_scale=2.7)
    np.testing.assert_allclose(scaled.positions * 2.7, found.positions, atol=1e-6)


@pytest.mark.parametrize("handed", [1, -1])
def test_energies_and_minima_of_triclinic_cells(handed):
    """Tilted, turned in space, of either hand, and with particles outside the cell."""
    from scipy.spatial.transform import Rotation

    from propensity.physics.kob_andersen import local_potential_energy
    from propensity.physics.quench import inherent_structure

    lammps_engine()
    microstate = random_microstate(load_preset("kob-andersen-force-shifted"), 200)
    cell = np.diag(microstate.box) + [[0, 0, 0], [1.9, 0, 0], [-1.1, 0.7, 0]]
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix() * handed
    rng = np.random.default_rng(4)
    positions = microstate.positions / microstate.box @ cell + rng.integers(-2, 3, (200, 3)) @ cell
    structure = Structure(positions @ turn, microstate.types, cell @ turn)
    own, by_lammps = "lj/cut force-shifted", "lammps:kob-andersen-force-shifted"
    ours, theirs = (local_potential_energy(structure, p) for p in (own, by_lammps))
    np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-9)
    found = inherent_structure(structure, by_lammps)
    # At rest here too: the minimum is that of the structure and of no other cell.
    again = inherent_structure(found, own)
    assert np.linalg.norm(again.positions - found.positions, axis=1).max() < 1e-4
    assert local_potential_energy(found, own).mean() < ours.mean() - 0.5


def test_a_minimum_in_a_sheared_plane():
    from propensity.physics.kob_andersen import local_potential_energy
    from propensity.physics.quench import inherent_structure

    lammps_engine()
    microstate = random_microstate(load_preset("kob-andersen-2d"), 120)
    cell = np.diag(microstate.box)
    cell[1, 0] = 2.5
    structure = Structure(microstate.positions / microstate.box @ cell, microstate.types, cell)
    found = inherent_structure(structure, "lammps:kob-andersen-2d")
    assert found.dimension == 2
    before, after = (local_potential_energy(s, "lammps:kob-andersen-2d").mean() for s in (structure, found))
    np.testing.assert_allclose(before, local_potential_energy(structure, "lj/cut").mean(), atol=1e-9)
    assert after < before - 0.1


WCA = """# Binary WCA mixture
# propensity: species small:0.5 large:0.5
# propensity: density 0.8
mass        * 1.0
pair_style  lj/cut 1.122462048309373
pair_coeff  1 1 1.0 1.0 1.122462048309373
pair_coeff  1 2 1.0 1.1 1.234708253140310
pair_coeff  2 2 1.0 1.2 1.346954457971248
pair_modify shift yes
"""


def test_minima_of_a_data_set_by_its_own_input(tmp_path):
    from click.testing import CliRunner

    from propensity.cli.main import main
    from propensity.data import open_dataset
    from propensity.physics.kob_andersen import local_potential_energy

    lammps_engine()
    model = write(tmp_path, WCA, "wca.in")
    microstate = random_microstate(model, 64)
    names, times = np.array(["small", "large"]), np.array([1.0])
    arrays = {
        "types": microstate.types,
        "species": names,
        "times": times,
        "propensity": np.full((1, 1, 64), 0.1),
    }
    inside = microstate.positions % microstate.box
    np.savez(tmp_path / "own.npz", positions=inside[None], box=microstate.box, **arrays)
    source = f"lammps:{tmp_path / 'wca.in'}"

    def converted(*options):
        words = ["convert", str(tmp_path / "own.npz"), str(tmp_path / "own.h5"), "--workers", "1", *options]
        return CliRunner().invoke(main, words)

    done = converted("--quench", "--potential", source)
    assert done.exit_code == 0, done.output
    (sample,) = open_dataset(tmp_path / "own.h5")
    assert sample.potential == model.potential and sample.species == model.species
    before, after = (
        local_potential_energy(s, source).mean()
        for s in (sample.structure, sample.structure.with_positions(sample.inherent_positions))
    )
    assert after < before - 1e-4
    (tmp_path / "own.h5").unlink()
    assert converted("--potential", source).exit_code != 0
    missing = converted("--quench", "--potential", "lammps:none.in")
    assert "neither a file nor a preset" in str(missing.exception)
    # Another interaction than that of the data, or other species, is refused.
    for more, message in (({"potential": "lj/cut #other"}, "ran in"), ({"species": names[::-1]}, "species")):
        np.savez(tmp_path / "own.npz", positions=inside[None], box=microstate.box, **{**arrays, **more})
        refused = converted("--quench", "--potential", source)
        assert message in str(refused.exception), refused.exception
        assert not (tmp_path / "own.h5").exists()


def test_what_lammps_can_not_minimise_is_refused(tmp_path):
    from propensity.physics.quench import inherent_structure

    lammps_engine()
    model = load_preset("kob-andersen")
    microstate = random_microstate(model, 100)
    with pytest.raises(InputError, match="periodic in every direction"):
        inherent_structure(
            Structure(microstate.positions, microstate.types, microstate.box, [True, True, False]),
            "lammps:kob-andersen",
        )
    with pytest.raises(DataError, match="neither a file nor a preset"):
        inherent_structure(
            Structure(microstate.positions, microstate.types, microstate.box), "lammps:nothing.in"
        )
    with pytest.raises(InputError, match="type 2"):
        inherent_structure(
            Structure(microstate.positions, microstate.types + 1, microstate.box), "lammps:kob-andersen"
        )
    with pytest.raises(InputError, match="3 dimensions and kob-andersen-2d 2"):
        inherent_structure(
            Structure(microstate.positions, microstate.types, microstate.box), "lammps:kob-andersen-2d"
        )
