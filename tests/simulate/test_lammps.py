"""LAMMPS as an engine: energies of every preset, conservation, equipartition, exactness, failures."""

import itertools
import os
import stat
from dataclasses import replace

import numpy as np
import pytest

from propensity.errors import InputError, MissingDependencyError, PropensityError
from propensity.simulate import Leg, load_input, load_preset, presets
from propensity.simulate.lammps_engine import LammpsEngine
from propensity.simulate.physics import energy_drift, maxwell_boltzmann, species_temperatures
from tests.simulate.helpers import lammps_engine, random_microstate

#: ε, σ of AA, AB, BB.
KA = ((1, 1), (1.5, 0.8), (0.5, 0.88))


def lennard_jones(r, epsilon, sigma):
    x = (sigma / r) ** 6
    return 4 * epsilon * (x * x - x), -24 * epsilon * (2 * x * x - x) / r


def pair_energy(name, a, b, r):
    """Energy of a pair of species a ≤ b as the papers write it."""
    pair = a + b
    if name == "soft-spheres":
        return (np.array([1.0, 1.1, 1.2])[pair] / r) ** 12 * (r < 3.0)
    epsilon, sigma = ((1, 1), (1, 11 / 12), (1, 5 / 6))[pair] if name == "wahnstrom" else KA[pair]
    cutoff = 2.5 * sigma
    energy = lennard_jones(r, epsilon, sigma)[0]
    at, slope = lennard_jones(cutoff, epsilon, sigma)
    energy = energy - at
    if name == "kob-andersen-force-shifted":
        energy = energy - (r - cutoff) * slope
    return np.where(r < cutoff, energy, 0.0)


def total_energy(name, microstate, dimension):
    """Direct sum over pairs and periodic images, per particle."""
    x, types, box = microstate.positions, microstate.types, microstate.box
    energy = 0.0
    images = list(itertools.product((-1, 0, 1), repeat=dimension))
    for shift in images:
        offset = np.array([*shift, *[0] * (3 - dimension)]) * box
        r = np.linalg.norm(x[:, None] - x[None] - offset, axis=2)
        for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
            block = r[np.ix_(types == a, types == b)]
            block = block[block > 1e-6]
            energy += 0.5 * pair_energy(name, a, b, block).sum()
    return energy / len(x)


#: Presets of pairs of species in LJ units.
PAIRS = [name for name in presets() if name not in ("copper-zirconium", "polydisperse")]


@pytest.fixture(scope="module")
def engine():
    return lammps_engine()


def run(engine, *legs):
    return engine.run(legs)


def relaxed(engine, model, n, temperature):
    """A microstate without overlaps, with Maxwell–Boltzmann velocities."""
    microstate = run(engine, Leg(random_microstate(model, n), model, "minimise", iterations=100))[
        0
    ].microstate
    v = maxwell_boltzmann(microstate.masses, temperature, model.dimension, np.random.default_rng(0))
    return replace(microstate, velocities=v)


@pytest.mark.parametrize("name", PAIRS)
def test_energy_of_every_preset(engine, name):
    model = load_preset(name)
    microstate = random_microstate(model, 256)
    (result,) = run(engine, Leg(microstate, model, "nve", steps=1, timestep=1e-6, sample_every=1))
    expected = total_energy(name, microstate, model.dimension)
    # The taper of the soft spheres between 2.8 and 3 changes the fifth digit.
    assert result.potential[0] == pytest.approx(expected, rel=2e-4 if name == "soft-spheres" else 1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_nve_conserves_energy_and_momentum(engine, name):
    model = load_preset(name)
    start = relaxed(engine, model, 256, 1.0)
    v = start.velocities
    leg = Leg(start, model, "nve", steps=1000, sample_every=5, frames=(10, 1000))
    (result,) = run(engine, leg)
    total = result.potential + result.kinetic
    assert abs(energy_drift(total[20:])) < 3e-3
    np.testing.assert_allclose(result.microstate.masses @ result.microstate.velocities, 0, atol=1e-9)
    assert result.kinetic[0] == pytest.approx(0.5 * (start.masses * (v**2).sum(1)).sum() / 256, rel=1e-12)
    np.testing.assert_array_equal(result.frames[-1], result.microstate.positions)
    # Unwrapped: no particle jumps across the box.
    assert np.abs(result.frames[0] - start.positions).max() < 1.0
    if model.dimension == 2:
        assert (result.frames[..., 2] == 0).all()


def test_equipartition_between_species_of_unequal_mass(engine):
    """Wahnström's mixture, masses 2 and 1: thermostat and species agree on the temperature."""
    model = load_preset("wahnstrom")
    leg = Leg(
        relaxed(engine, model, 256, 2.0), model, "nvt", steps=3000, temperature=(2.0, 2.0), sample_every=10
    )
    (result,) = run(engine, leg)
    assert result.kinetic[150:].mean() * 2 / 3 * 256 / 255 == pytest.approx(2.0, rel=0.02)
    microstate, temperatures = result.microstate, []
    for _ in range(20):
        (result,) = run(engine, Leg(microstate, model, "nve", steps=100))
        microstate = result.microstate
        temperatures.append(
            species_temperatures(microstate.velocities, microstate.masses, microstate.types, 3, 2)
        )
    a, b = np.mean(temperatures, axis=0)
    assert a / b == pytest.approx(1.0, abs=4 * np.sqrt(2 * 2 / (3 * 128 * 20)))


def test_two_ways_of_running_give_the_same_bits(engine):
    model = load_preset("kob-andersen")
    leg = Leg(
        random_microstate(model, 64), model, "nvt", steps=300, frames=(1, 7, 300), temperature=(1.0, 0.5)
    )
    a, b = run(engine, leg, leg)
    (c,) = LammpsEngine(exe="lmp", suffix="opt").run([leg])
    for other in (b, c):
        np.testing.assert_array_equal(a.frames, other.frames)
        np.testing.assert_array_equal(a.potential, other.potential)
        np.testing.assert_array_equal(a.microstate.velocities, other.microstate.velocities)


def test_two_ranks_agree(engine):
    model = load_preset("kob-andersen")
    leg = Leg(relaxed(engine, model, 256, 1.0), model, "nve", steps=40, frames=(40,))
    (one,) = engine.run([leg])
    (two,) = LammpsEngine(ranks=2).run([leg])
    np.testing.assert_allclose(two.frames, one.frames, atol=1e-9)


def test_state_survives_the_round_trip(engine):
    """A piece begins where the one before ended: cutting a trajectory changes only rounding."""
    model = load_preset("kob-andersen")
    microstate = run(engine, Leg(random_microstate(model, 108), model, "nvt", steps=500, temperature=(1, 1)))[
        0
    ].microstate
    (whole,) = run(engine, Leg(microstate, model, "nve", steps=200, frames=(200,)))
    (first,) = run(engine, Leg(microstate, model, "nve", steps=80))
    (second,) = run(engine, Leg(first.microstate, model, "nve", steps=120, frames=(120,)))
    np.testing.assert_allclose(second.frames, whole.frames, atol=1e-8)


def test_fire_finds_a_minimum(engine):
    model = load_preset("kob-andersen-force-shifted")
    microstate = run(engine, Leg(random_microstate(model, 108), model, "nvt", steps=500, temperature=(1, 1)))[
        0
    ].microstate
    (rest,) = run(engine, Leg(microstate, model, "minimise"))
    assert rest.residual_force < 1e-5 and rest.potential[1] < rest.potential[0] - 0.5
    rng = np.random.default_rng(0)
    for _ in range(3):
        moved = replace(
            rest.microstate, positions=rest.microstate.positions + 1e-3 * rng.standard_normal((108, 3))
        )
        (back,) = run(engine, Leg(moved, model, "minimise"))
        assert back.potential[0] > rest.potential[1]
        assert back.potential[1] == pytest.approx(rest.potential[1], abs=1e-9)


TERNARY = """# Ternary Yukawa mixture
# propensity: species A:2 B:1 C:1
# propensity: density 0.5
variable kappa equal 2.0
mass * 1.0
pair_style yukawa ${kappa} 3.0
pair_modify shift yes
pair_coeff * * 100.0
pair_coeff 3 3 50.0
"""


def test_a_users_model(engine, tmp_path):
    path = tmp_path / "yukawa.in"
    path.write_text(TERNARY)
    model = load_input(path)
    microstate = relaxed(engine, model, 100, 1.0)
    (result,) = run(engine, Leg(microstate, model, "nve", steps=400, sample_every=4))
    assert np.bincount(microstate.types).tolist() == [50, 25, 25]
    assert abs(energy_drift(result.potential + result.kinetic)) < 0.02


def test_files_beside_a_users_model(engine, tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    r = np.linspace(0.5, 2.0, 400)
    table = "\n".join(f"{i + 1} {x:.10g} {x**-12:.12g} {12 * x**-13:.12g}" for i, x in enumerate(r))
    (folder / "soft.table").write_text(f"SOFT\nN 400 R 0.5 2.0\n\n{table}\n")
    (folder / "my.in").write_text(
        "# propensity: species A:1\n# propensity: density 0.8\nmass * 1\npair_style table linear 4000\n"
        'pair_coeff * * "${here}/soft.table" SOFT 2.0\n'
    )
    model = load_input(folder / "my.in")
    microstate = random_microstate(model, 216)
    (result,) = run(engine, Leg(microstate, model, "nve", steps=1, sample_every=1))
    offsets = microstate.positions[:, None] - microstate.positions[None]
    d = np.linalg.norm(offsets - microstate.box * np.rint(offsets / microstate.box), axis=2)
    d = d[(d > 0) & (d < 2)]
    assert result.potential[0] == pytest.approx(0.5 * (d**-12.0).sum() / 216, rel=1e-3)


def test_charges_in_a_users_model(engine, tmp_path):
    (tmp_path / "ions.in").write_text(
        "# propensity: species Na:1 Cl:1\n# propensity: density 0.4\n# propensity: atom_style charge\nmass *"
        " 1\nset type 1 charge 1\nset type 2 charge -1\npair_style born/coul/dsf 0.2 3.0\npair_coeff * * 100"
        " 0.1 0 0 0\n"
    )
    model = load_input(tmp_path / "ions.in")
    (result,) = run(engine, Leg(random_microstate(model, 64), model, "nve", steps=20))
    assert np.isfinite(result.potential).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("pair_coeff 3 3 50.0", "pair_coeff 9 9 50.0"),
        ("pair_coeff * * 100.0", "pair_coeff 1 1 100.0"),
        ("pair_style yukawa ${kappa} 3.0", "pair_style yukawwa 3.0"),
        ("mass * 1.0", "mass 1 1.0"),
        ("${kappa}", "${lambda}"),
    ],
)
def test_models_that_lammps_refuses(engine, tmp_path, change, match):
    path = tmp_path / "bad.in"
    path.write_text(TERNARY.replace(change, match))
    microstate = random_microstate(load_preset("kob-andersen"), 64)
    microstate = replace(microstate, types=np.arange(64) % 3)
    with pytest.raises(PropensityError, match=r"^LAMMPS stopped: [^\n]+\.$"):
        run(engine, Leg(microstate, load_input(path), "nve", steps=10))


def test_a_model_may_not_change_types(engine, tmp_path):
    path = tmp_path / "bad.in"
    path.write_text(TERNARY + "set type 1 type 2\n")
    microstate = replace(random_microstate(load_preset("kob-andersen"), 64), types=np.arange(64) % 3)
    with pytest.raises(PropensityError, match="other atom types"):
        run(engine, Leg(microstate, load_input(path), "nve", steps=10))


def test_blow_up_is_an_error(engine):
    model = load_preset("kob-andersen")
    microstate = random_microstate(model, 64)
    hot = replace(microstate, velocities=1e4 * microstate.velocities)
    too_long = r"^particles flew apart in steps of 0\.1 \(.*\): give a smaller --timestep; .* is 0\.005\.$"
    with pytest.raises(PropensityError, match=too_long):
        run(engine, Leg(hot, model, "nve", steps=200, timestep=0.1))


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("exit 3", "failed .code 3, no output.: check that it is a LAMMPS binary"),
        ("exit 0", "failed .no log"),
        ("echo libfoo.so not found >&2; exit 127", "libfoo.so not found"),
        (
            "echo 'ERROR: Unknown pair style (src/force.cpp:275)'; exit 1",
            "^LAMMPS stopped: Unknown pair style.$",
        ),
        ("kill -9 $$", "code -9"),
    ],
)
def test_programs_that_fail(tmp_path, text, match):
    engine = LammpsEngine(exe=script(tmp_path / "lmp", text))
    model = load_preset("kob-andersen")
    with pytest.raises(PropensityError, match=match) as error:
        engine.run([Leg(random_microstate(model, 64), model, "nve", steps=1)])
    assert "\n" not in str(error.value)


def test_programs_that_are_absent():
    with pytest.raises(MissingDependencyError, match="'nolmp' is not a program"):
        LammpsEngine(exe="nolmp -x").describe()
    with pytest.raises(InputError, match="--lammps-exe is empty"):
        LammpsEngine(exe=" ").describe()


@pytest.mark.parametrize(
    ("options", "match"), [({"ranks": 0}, "--ranks"), ({"suffix": "kk"}, "KOKKOS needs flags")]
)
def test_bad_engine_options(options, match):
    with pytest.raises(InputError, match=match):
        LammpsEngine(**options)


def test_the_users_program_gets_the_users_flags(tmp_path, monkeypatch):
    """mpiexec in front, flags behind, and no suffix of ours."""
    exe = script(tmp_path / "lmp", 'echo "$@" > "$OLDPWD/x"; exit 1') + " -k on g 1 -sf kk"
    engine = LammpsEngine(exe=exe)
    assert engine.command()[1:] == ["-k", "on", "g", "1", "-sf", "kk"] and engine.suffix == "none"
    script(tmp_path / "mpiexec", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert os.path.basename(LammpsEngine(exe=exe, ranks=3).command()[0]) == "mpiexec"


def test_what_lammps_says_of_particles_that_fly_apart_is_its_sentence_alone():
    from propensity.simulate.lammps_engine import _FLEW_APART

    text = "ERROR: Non-numeric pressure - simulation unstable (src/fix_nh.cpp:1042)\nLast input line: run 5"
    assert _FLEW_APART.search(text)[0] == "Non-numeric pressure - simulation unstable "
    assert _FLEW_APART.search("Lost atoms: original 50 current 49\nLast line")[0].endswith("current 49")
