"""Mean displacement between temperatures: exact where it was measured, and never backwards."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.estimators.clock import Clock, Measured, between
from propensity.estimators.conditions import Conditions, StatePoint

#: Displacements obeying time–temperature superposition: vibrations ∝ √T, and motion with ln τ ∝ 1/T.
TEMPERATURES = (0.44, 0.47, 0.5, 0.56)


def tau(temperature):
    return np.exp(12 * (1 / temperature - 1 / 0.56) + 3)


def displacement(temperature, times):
    times = np.asarray(times)
    return np.sqrt(temperature) * (0.24 * times / (times + 0.1) + 0.4 * (times / tau(temperature)) ** 0.7)


def grid(temperature):
    return np.geomspace(0.1, 3 * tau(temperature), 8)


def measured(temperature):
    mean = displacement(temperature, grid(temperature))
    return Measured(temperature, grid(temperature), mean, 0.3 * mean)


@pytest.fixture
def clock():
    return Clock([measured(temperature) for temperature in TEMPERATURES])


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_measured_points_are_met(clock, temperature):
    one = measured(temperature)
    assert np.allclose(clock.mean(temperature, one.times), one.mean, rtol=3e-3)
    assert np.allclose(clock.std(temperature, one.times), one.std, rtol=3e-3)


@pytest.mark.parametrize("temperature", [0.43, 0.455, 0.485, 0.53, 0.57])
def test_between_them_it_follows_superposition(clock, temperature):
    """Most of the 7 % lies between the times of the first two points, which are a factor of 3 to 6 apart."""
    times = np.geomspace(0.1, 2 * tau(temperature), 30)
    assert np.allclose(clock.mean(temperature, times), displacement(temperature, times), rtol=0.07)
    assert (np.diff(clock.mean(temperature, times)) > 0).all()


def test_labels_that_stand_still_or_dip_are_borne():
    mean = np.array([0.1, 0.1, 0.0999, 0.2])
    times = np.array([1.0, 2.0, 3.0, 4.0])
    clock = Clock([Measured(0.5, times, mean, mean), Measured(0.6, times, 1.2 * mean, mean)])
    curve = clock.mean(0.55, np.linspace(1, 4, 40))
    assert np.isfinite(curve).all()
    assert (np.diff(curve) >= 0).all()


def test_two_points_make_a_line():
    assert between(np.array([2.0, 1.0]), np.array([4.0, 2.0]), 1.5) == pytest.approx(3)
    assert between(np.array([2.0, 1.0]), np.array([4.0, 2.0]), 3.0) == pytest.approx(6)
    assert between(np.array([2.0, 1.0]), np.array([4.0, 2.0]), 0.0) == pytest.approx(0)


def conditions(**changes):
    points = [
        StatePoint(
            temperature=t,
            times=tuple(grid(t)),
            tau_alpha=tau(t),
            mean=(tuple(measured(t).mean), (0.0,) * 8),
            std=(tuple(measured(t).std), (1.0,) * 8),
        )
        for t in TEMPERATURES
    ]
    return Conditions(**{"state_points": tuple(points), "composition": (1.0, 0.0), **changes})


def test_the_basis_is_smooth_and_complete():
    c = conditions()
    first, last = c.time_range(0.485)
    times = np.geomspace(first, last, 200)
    basis = c.basis(0.485, times)
    assert basis.shape == (c.n_modes, 200) == (14, 200)
    assert np.allclose(basis[:7].sum(axis=0), 1)
    assert np.abs(np.diff(basis, axis=1)).max() < 0.08
    assert np.abs(c.basis(0.485, times) - c.basis(0.4851, times)).max() < 0.02


def test_errors_are_those_of_the_trained_points_and_lie_between():
    c = conditions()
    assert c.error(0.48, [1.0]) is None
    points = []
    for k, point in enumerate(c.state_points):
        error = [[(0.1 * (k + 1) * s**2, 0.01, 2.0) for s in row] for row in point.std]
        points.append(point.model_copy(update={"error": tuple(map(tuple, error))}))
    known = c.model_copy(update={"state_points": tuple(points)})
    for point in points:
        np.testing.assert_allclose(known.error(point.temperature, point.times), point.error, rtol=5e-3)
    low, high = TEMPERATURES[:2]
    middle, at = 0.5 * (low + high), [known.time_range(0.5 * (low + high))[0] * 3]
    share = known.error(middle, at)[0, 0, 0] / known.std(middle, at)[0, 0] ** 2
    assert 0.1 < share < 0.2
    with pytest.raises(ValueError, match="error of a state point must have three numbers"):
        StatePoint(**{**points[0].model_dump(), "error": (((1.0, 1.0, 1.0),),)})


def test_a_species_without_particles_has_no_clock():
    c = conditions()
    assert c.mean(0.5, [1.0])[1, 0] == 0
    assert c.std(0.5, [1.0])[1, 0] == 1


def test_times_where_none_are_asked_for():
    c = conditions()
    assert np.allclose(c.times_at(0.47), grid(0.47))
    spaced = c.times_at(0.485)
    assert len(spaced) == 8
    assert (np.diff(np.log(spaced)) > 0).all()
    assert grid(0.5)[-1] < spaced[-1] < grid(0.47)[-1]
    common = c.times_at(None)
    assert common[-1] == pytest.approx(grid(0.56)[-1])
    assert c.tau_alpha(0.485) == pytest.approx(tau(0.485), rel=0.02)
