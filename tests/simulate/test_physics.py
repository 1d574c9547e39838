"""Pure functions: velocities, lattice, F_s, τ_α, periodic images."""

import numpy as np
import pytest

from propensity.simulate import physics


@pytest.mark.parametrize("dimension", [2, 3])
def test_maxwell_boltzmann(dimension):
    rng = np.random.default_rng(0)
    masses = np.where(np.arange(20000) % 3 == 0, 2.0, 0.5)
    v = physics.maxwell_boltzmann(masses, 0.7, dimension, rng)
    np.testing.assert_allclose(masses @ v, 0, atol=1e-9)
    assert (v[:, dimension:] == 0).all()
    for mass in (2.0, 0.5):
        one = v[masses == mass][:, :dimension]
        error = 0.7 / mass * np.sqrt(2 / one.size)
        assert abs((one**2).mean() - 0.7 / mass) < 4 * error
        # Gaussian, not uniform: the kurtosis is 3.
        assert abs((one**4).mean() / (one**2).mean() ** 2 - 3) < 4 * np.sqrt(96 / one.size)


def test_velocities_of_small_systems_are_canonical():
    """With zero momentum, ⟨m v²⟩ = d T (1 − m/M), which the kinetic temperature takes into account."""
    masses = np.array([1.0, 1.0, 4.0, 4.0])
    types = np.array([0, 0, 1, 1])
    t = [
        physics.species_temperatures(
            physics.maxwell_boltzmann(masses, 1.3, 3, physics.generator(0, k)), masses, types, 3, 2
        )
        for k in range(4000)
    ]
    np.testing.assert_allclose(np.mean(t, axis=0), 1.3, atol=4 * 1.3 * np.sqrt(2 / (4000 * 3)))


def test_random_numbers_depend_on_the_key_alone():
    a = physics.generator(1, 3, 0, 7).random(4)
    physics.generator(1, 3, 0, 8).random(100)
    np.testing.assert_array_equal(a, physics.generator(1, 3, 0, 7).random(4))
    for other in ((1, 3, 7, 0), (2, 3, 0, 7), (1, 2, 0, 7)):
        assert not np.array_equal(a, physics.generator(*other).random(4))


@pytest.mark.parametrize(("dimension", "n"), [(2, 100), (2, 90), (3, 64), (3, 65), (3, 120)])
def test_lattice(dimension, n):
    counts = np.array([n - n // 5, n // 5])
    box = np.array([5.0, 5.0, 5.0 if dimension == 3 else 1.0])
    x, types = physics.lattice(counts, box, dimension, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(types), counts)
    assert ((x >= 0) & (x < box)).all() and len(np.unique(x.round(9), axis=0)) == n
    if dimension == 2:
        assert (x[:, 2] == 0).all()


@pytest.mark.parametrize("dimension", [2, 3])
def test_scattering_is_the_mean_over_directions(dimension):
    rng = np.random.default_rng(1)
    d = rng.gamma(2.0, 0.1, 50)
    directions = rng.standard_normal((200000, dimension))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    expected = np.mean([np.cos(7.25 * r * directions[:, 0]).mean() for r in d])
    assert physics.scattering(d, 7.25, dimension) == pytest.approx(expected, abs=2e-3)


def test_relaxation_time():
    t = np.geomspace(0.1, 100, 60)
    assert physics.relaxation_time(t, np.exp(-t / 7)) == pytest.approx(7, rel=5e-3)
    assert physics.relaxation_time(t, np.full(60, 0.5)) is None


def test_energy_drift():
    t = np.linspace(0, 1, 200)
    noise = np.random.default_rng(0).normal(0, 1e-4, 200)
    assert physics.energy_drift(0.02 * t + noise) == pytest.approx(0.018, abs=2e-4)
    assert abs(physics.energy_drift(noise)) < 2e-4


def test_images():
    box = np.array([2.0, 3.0, 4.0])
    x = np.random.default_rng(0).uniform(-20, 20, (100, 3))
    inside = physics.wrap(x, box)
    assert ((inside >= 0) & (inside < box)).all()
    np.testing.assert_allclose(np.rint((x - inside) / box), (x - inside) / box, atol=1e-12)
    assert (physics.wrap(np.full((1, 3), -1e-18), box) < box).all()
    moved = physics.nearest_image(x, inside, box)
    np.testing.assert_allclose(moved, inside, atol=1e-12)
