"""The liquids are the right ones: energy, pressure and structure at state points with known values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.simulate import Leg, Microstate, load_preset, simulate_propensities
from propensity.simulate.arguments import make_settings
from propensity.simulate.physics import generator, maxwell_boltzmann, nearest_image
from tests.simulate.helpers import lammps_engine
from tests.simulate.liquid import EDGES, pair_distribution

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def engine():
    return lammps_engine()


def thermal(x, types, box, temperature, *key) -> Microstate:
    v = maxwell_boltzmann(np.ones(len(x)), temperature, 3, generator(0, *key))
    return Microstate(np.asarray(x, float), v, types.astype(int), np.asarray(box, float), np.ones(len(x)))


def test_state_point(engine):
    """Plain Kob–Andersen at T = 0.56, ρ = 1.2: U/N = −6.780 (LAMMPS, N = 4096), P = 4.60, and g_AA(r)."""
    model = load_preset("kob-andersen")
    potential, pressure, g = [], [], []
    file = np.load(DATA / "ka_T0.56_N512.npz")
    box = file["box"]
    for k, x in enumerate(file["positions"]):
        start = thermal(x, file["types"], box, 0.56, k)
        leg = Leg(
            start,
            model,
            "nvt",
            steps=2000,
            temperature=(0.56, 0.56),
            sample_every=10,
            frames=tuple(range(200, 2001, 200)),
        )
        (result,) = engine.run([leg])
        potential.append(result.potential[50:].mean())
        pressure.append(result.pressure[50:].mean())
        a = file["types"] == 0
        g += [pair_distribution(frame[a], box) for frame in result.frames]
    # Four structures of 512 over a tenth of τ_α scatter by about 0.02 and 0.1.
    assert np.mean(potential) == pytest.approx(-6.780, abs=0.03)
    assert np.mean(pressure) == pytest.approx(4.60, abs=0.2)
    expected = np.loadtxt(DATA / "g_AA_T0.56.txt")
    np.testing.assert_allclose(EDGES[:-1], expected[:, 0], atol=1e-9)
    np.testing.assert_allclose(
        np.mean(g, axis=0), expected[:, 1], atol=0.02 + 0.03 * expected[:, 1].max() / 3.8
    )
    peak = expected[:, 1].argmax()
    assert np.mean(g, axis=0)[peak] == pytest.approx(expected[peak, 1], rel=0.02)


@pytest.mark.slow
def test_force_shifted_liquid_of_4096(engine, shared):
    """T = 0.44, ρ = 1.2: U/N = −6.212 ± 0.003 and P = 3.92, from BOTAN's public structures and their
    descendants."""
    model = load_preset("kob-andersen-force-shifted")
    energy, pressure, stored = [], [], []
    for part in ("train", "valid"):
        file = np.load(shared / "data" / f"ka3d_fs_T0.44_{part}.npz")
        for k, x in enumerate(file["positions"]):
            microstate = thermal(x, file["types"], file["box"], 0.44, k)
            (result,) = engine.run([Leg(microstate, model, "nve", steps=0, sample_every=1)])
            energy.append(result.potential[0])
            pressure.append(result.pressure[0])
        stored += file["potential_energy"].tolist()
    np.testing.assert_allclose(energy, stored, atol=1e-3)  # positions of the files are rounded to 18 bits
    assert np.mean(energy) == pytest.approx(-6.212, abs=0.006)
    assert np.mean(pressure) == pytest.approx(3.92, abs=0.03)


@pytest.mark.slow
def test_plain_liquid_of_4096(engine, shared):
    """T = 0.44: U/N = −7.604, P = 2.90 at ρ = 1.2 without the shift; DeepMind's structure has ρ = 1.2032."""
    model = load_preset("kob-andersen")
    unshifted = replace(model, commands=model.commands.replace("shift yes", "shift no"))
    structure = open_dataset(shared / "bapst" / "test_large.pickle")[0].structure
    microstate = thermal(structure.positions, structure.types, np.diag(structure.cell), 0.44)
    plain, shifted = (
        engine.run([Leg(microstate, m, "nve", steps=0, sample_every=1)])[0] for m in (unshifted, model)
    )
    # One snapshot scatters by 0.01 and 0.1.
    assert plain.potential[0] == pytest.approx(-7.604, abs=0.03)
    assert plain.pressure[0] == pytest.approx(2.90, abs=0.3)
    assert plain.pressure[0] == shifted.pressure[0]
    assert plain.potential[0] - shifted.potential[0] == pytest.approx(-0.569, abs=0.003)


@pytest.mark.slow
def test_inherent_structures_of_4096(engine, shared):
    """FIRE reaches the minimum that another code's FIRE found, for every particle."""
    model = load_preset("kob-andersen-force-shifted")
    file = np.load(shared / "data" / "ka3d_fs_T0.44_valid.npz")
    x, box = file["positions"][0].astype(float), file["box"]
    (rest,) = engine.run([Leg(thermal(x, file["types"], box, 0.44), model, "minimise")])
    assert rest.potential[1] == pytest.approx(float(file["inherent_energy"][0]), abs=1e-5)
    moved = nearest_image(rest.microstate.positions, x, box) - file["inherent_positions"][0]
    assert np.abs(moved).max() < 1e-3


@pytest.mark.slow
def test_stored_propensities_of_bapst(engine, shared, tmp_path):
    """Running DeepMind's structure again gives its published propensities up to label noise at t = 0.132 and
    0.435."""
    source = shared / "bapst" / "test_large.pickle"
    settings, given = make_settings(
        load_preset("kob-andersen"),
        temperature=0.44,
        times="0.132,0.435",
        timestep=0.003,
        runs=30,
        start_from=source,
    )
    simulate_propensities(settings, tmp_path / "a.h5", engine, given=given, workers=1, quiet=True)
    ours, theirs = open_dataset(tmp_path / "a.h5")[0], given[0]
    for k in range(2):
        assert ours.times[k] == pytest.approx(theirs.times[k], rel=1e-6)
        for species, few in ((0, 1), (1, 4)):
            of = ours.structure.types == species
            a, b = ours.propensities[of, k], theirs.propensities[of, k]
            assert a.mean() == pytest.approx(b.mean(), rel=0.005 * few)
            half = np.corrcoef(ours.halves[:, of, k])[0, 1]
            # Both labels are means of 30 runs, so they correlate as two such means do: 2r/(1+r).
            assert np.corrcoef(a, b)[0, 1] == pytest.approx(2 * half / (1 + half), abs=0.015 * few)
            # And they differ by the scatter of two such means, no more.
            noise = (ours.halves[0, of, k] - ours.halves[1, of, k]).std() / np.sqrt(2)
            assert (a - b).std() == pytest.approx(noise, rel=0.06 * few)
    np.testing.assert_allclose(ours.fs, [0.9, 0.8], atol=0.01)
