"""Polydisperse soft spheres: sizes, forces, dynamics, minima and swaps against what is known of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from propensity.errors import InputError
from propensity.simulate import Leg, load_preset, simulate_propensities, soft_spheres
from propensity.simulate.arguments import make_settings
from propensity.simulate.engines import choose_engine
from propensity.simulate.lammps_engine import LammpsEngine
from propensity.simulate.physics import generator, maxwell_boltzmann
from propensity.simulate.starts import first_lattice
from propensity.simulate.swap_engine import SwapEngine

MODEL = load_preset("polydisperse")
N = 200


def settings(**changes):
    options = {"temperature": 0.3, "times": "0.5:5:3", "n_particles": N, "structures": 2, "runs": 4}
    made, _ = make_settings(MODEL, **{**options, **changes})
    return replace(made, melt_time=4.0, cool_time=4.0)


@pytest.fixture(scope="module")
def liquid():
    """A warm liquid, equilibrated with swaps."""
    engine = SwapEngine()
    (rest,) = engine.run([Leg(first_lattice(settings(), 0), MODEL, "minimise", iterations=300)])
    v = maxwell_boltzmann(np.ones(N), 0.3, 3, generator(1))
    warm = replace(rest.microstate, velocities=v)
    (result,) = engine.run([Leg(warm, MODEL, "nvt", 3000, MODEL.timestep, temperature=(0.3, 0.3))])
    return result.microstate


def pair_energy(x, box, sizes):
    d = x[:, None] - x
    r = np.linalg.norm(d - box * np.rint(d / box), axis=2)[np.triu_indices(len(x), 1)]
    a, b = (sizes[index] for index in np.triu_indices(len(x), 1))
    u = r / ((a + b) / 2 * (1 - 0.2 * abs(a - b)))
    v = u**-12.0 - 28 / 1.25**12 + 48 / 1.25**14 * u**2 - 21 / 1.25**16 * u**4
    return float(np.where(u < 1.25, v, 0).sum())


def test_sizes_follow_the_distribution():
    sizes = soft_spheres.sizes(20_000, 0.23)
    assert sizes.mean() == pytest.approx(1, abs=1e-3) and sizes.std() == pytest.approx(0.23, abs=1e-3)
    assert sizes.max() / sizes.min() == pytest.approx(2.22, abs=0.01)
    counts, edges = np.histogram(sizes, 20)
    middle = (edges[1:] + edges[:-1]) / 2
    assert np.polyfit(np.log(middle), np.log(counts), 1)[0] == pytest.approx(-3, abs=0.1)


def test_energy_is_the_sum_over_pairs_and_forces_its_slope(liquid):
    x, box, sizes = liquid.positions.copy(), liquid.box, liquid.diameters
    counts, listed = np.zeros(N, np.int64), np.zeros((N, 160), np.int64)
    f = np.zeros((N, 3))

    def energy(x):
        assert soft_spheres.list_neighbours(x, box, 1.25 * sizes.max(), counts, listed)
        return soft_spheres.forces(x, box, sizes, counts, listed, f)[0]

    assert energy(x) == pytest.approx(pair_energy(x, box, sizes), rel=1e-10)
    slope = f[7].copy()
    for k in range(3):
        up, down = x.copy(), x.copy()
        up[7, k] += 1e-6
        down[7, k] -= 1e-6
        assert (energy(down) - energy(up)) / 2e-6 == pytest.approx(slope[k], rel=1e-4, abs=1e-5)


def test_runs_conserve_energy_and_sizes(liquid):
    (run,) = SwapEngine().run(
        [Leg(liquid, MODEL, "nve", 500, MODEL.timestep, frames=(1, 100, 500), sample_every=10)]
    )
    total = run.potential + run.kinetic
    assert abs(total[-1] - total[0]) < 0.02 * 0.3 and np.ptp(run.kinetic) > 1e-3
    assert np.array_equal(run.microstate.diameters, liquid.diameters) and run.frames.shape == (3, N, 3)
    assert np.abs(run.microstate.velocities.sum(axis=0)).max() < 1e-8
    (again,) = SwapEngine().run(
        [Leg(liquid, MODEL, "nve", 500, MODEL.timestep, frames=(1, 100, 500), sample_every=10)]
    )
    assert np.array_equal(again.microstate.positions, run.microstate.positions)


def test_swaps_exchange_sizes_and_keep_the_temperature(liquid):
    (run,) = SwapEngine().run(
        [Leg(liquid, MODEL, "nvt", 4000, MODEL.timestep, temperature=(0.3, 0.3), sample_every=10)]
    )
    assert np.array_equal(np.sort(run.microstate.diameters), np.sort(liquid.diameters))
    assert (run.microstate.diameters != liquid.diameters).mean() > 0.5
    degrees = 3 * (N - 1)
    assert run.kinetic.mean() * N == pytest.approx(degrees / 2 * 0.3, rel=0.02)
    # Canonical: the kinetic energy fluctuates as that of its degrees of freedom.
    assert run.kinetic.std() * N == pytest.approx(np.sqrt(degrees / 2) * 0.3, rel=0.35)


def test_swaps_sample_the_boltzmann_distribution():
    """Two pairs of fixed particles: orders of the sizes have their exact probabilities."""
    x = np.array([[0, 0, 0], [1.1, 0, 0], [10, 0, 0], [11.2, 0, 0]], dtype=float)
    box, sizes = np.full(3, 40.0), np.array([0.8, 1.0, 1.4, 1.0])
    counts, listed = np.zeros(4, np.int64), np.zeros((4, 8), np.int64)
    assert soft_spheres.list_neighbours(x, box, 2.0, counts, listed)
    other = sizes[[2, 1, 0, 3]]
    temperature = 2.0
    rng = np.random.default_rng(1)
    seen = 0
    rounds = 20_000
    for _ in range(rounds):
        soft_spheres.swaps(1, temperature, x, box, sizes, counts, listed, rng)
        seen += int(sizes[0] == 1.4 and sizes[2] == 0.8)
    # Of all orders of the four sizes (two of them equal).
    from itertools import permutations

    orders = set(permutations((0.8, 1.0, 1.4, 1.0)))
    weights = {o: np.exp(-pair_energy(x, box, np.array(o)) / temperature) for o in orders}
    total = sum(weights.values())
    expected = sum(w for o, w in weights.items() if o[0] == 1.4 and o[2] == 0.8) / total
    assert tuple(other) in orders
    assert seen / rounds == pytest.approx(expected, abs=0.02)


def test_minima(liquid):
    (found,) = SwapEngine().run([Leg(liquid, MODEL, "minimise")])
    assert found.residual_force <= 1e-5 and found.potential[1] < found.potential[0]
    energy = pair_energy(found.microstate.positions, liquid.box, liquid.diameters) / N
    assert found.potential[1] == pytest.approx(energy, rel=1e-9)


def test_engines_and_models_fit():
    assert isinstance(choose_engine("auto", MODEL), SwapEngine)
    microstate = first_lattice(settings(), 0)
    with pytest.raises(InputError, match="--engine swap"):
        LammpsEngine().run([Leg(microstate, MODEL, "minimise")])
    with pytest.raises(InputError, match="no continuous sizes"):
        SwapEngine().run([Leg(microstate, load_preset("kob-andersen"), "minimise")])


def test_the_whole_way(tmp_path):
    """Simulate, train, evaluate and annotate a small polydisperse liquid, with its sizes."""
    from propensity import Predictor
    from propensity.data import open_dataset
    from propensity.estimators.ridge import RidgeEstimator
    from propensity.estimators.storage import save_model
    from propensity.evaluation import evaluate

    path = tmp_path / "poly.h5"
    report = simulate_propensities(settings(chains=2), path, SwapEngine(), workers=1, quiet=True)
    assert report["wavenumber"] == 7.0 and abs(report["runs"]["max_energy_drift"]) < 0.006
    dataset = open_dataset(path)
    sample = dataset[0]
    assert sample.species == ("A",) and sample.potential == "polydisperse soft spheres r^-12"
    sizes = sample.structure.diameters
    assert sizes.std() == pytest.approx(0.23, abs=0.01)
    # Small particles move farther.
    assert np.corrcoef(sizes, sample.propensities[:, -1])[0, 1] < -0.3
    model = RidgeEstimator.fit(list(dataset), l_max=2, generations=1, folds=2)
    save_model(tmp_path / "model", model)
    assert evaluate(model, dataset).pooled[0, -1] > 0.3
    assert np.isfinite(Predictor(tmp_path / "model").predict(sample.structure)).all()
