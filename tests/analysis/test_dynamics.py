"""F_s, overlap and χ₄ of motion whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from propensity import analysis
from propensity.errors import InputError
from tests.analysis.systems import CELLS


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    """Random walks with a step of 0.1 along each direction, shape (60, 3000, 3)."""
    return np.cumsum(0.1 * np.random.default_rng(0).standard_normal((60, 3000, 3)), axis=0)


@pytest.mark.parametrize("dimension", [2, 3])
def test_random_walk_relaxes_as_a_gaussian(walk, dimension):
    found = analysis.relaxation(walk[:, :, :dimension], np.arange(60.0), q=3.0, a=0.3)
    variance = 0.01 * found.times  # along each direction
    assert found.msd == pytest.approx(dimension * variance, rel=0.05)
    assert found.fs == pytest.approx(np.exp(-9 * variance / 2), abs=0.02)
    within = 1 - np.exp(-(0.3**2) / (2 * variance)) if dimension == 2 else _maxwell(0.3, variance)
    assert found.overlap == pytest.approx(within, abs=0.02)


def _maxwell(a: float, variance: np.ndarray) -> np.ndarray:
    from scipy.stats import maxwell

    return maxwell.cdf(a, scale=np.sqrt(variance))


def test_uneven_frames_start_from_the_first(walk):
    times = np.array([0.0, 1, 2, 4, 8, 16, 32])
    found = analysis.relaxation(walk[times.astype(int)], times)
    assert found.n_origins.tolist() == [1] * 6 and np.isnan(found.chi4).all()
    assert found.times.tolist() == times[1:].tolist()


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_unwrapping_brings_back_the_walk(walk, cell):
    d = len(cell)
    straight = walk[:, :200, :d]
    fractions = straight @ np.linalg.inv(cell)
    wrapped = (fractions - np.floor(fractions)) @ cell
    found = analysis.unwrap(wrapped, cell)
    np.testing.assert_allclose(found - found[0], straight - straight[0], atol=1e-10)
    np.testing.assert_array_equal(analysis.unwrap(straight, cell, False).round(9), straight.round(9))


def test_susceptibility_of_runs_that_differ():
    # Independent particles: N var Q is the variance of one particle's overlap.
    runs = np.random.default_rng(0).random((2000, 500)) < 0.3
    assert analysis.four_point_susceptibility(runs.mean(axis=1), 500) == pytest.approx(0.21, rel=0.1)
    assert analysis.four_point_susceptibility([0.4, 0.6], 1000) == pytest.approx(1000 * 0.02)
    assert np.isnan(analysis.four_point_susceptibility([0.4], 1000))


def test_fs_agrees_with_the_wave_vectors_of_a_sphere(walk):
    distance = np.linalg.norm(walk[30] - walk[0], axis=1)
    directions = np.random.default_rng(2).standard_normal((400, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    by_vectors = np.cos(2.0 * (walk[30] - walk[0]) @ directions.T).mean()
    assert analysis.self_intermediate_scattering(distance, 2.0, 3) == pytest.approx(by_vectors, abs=5e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: analysis.relaxation(np.zeros((3, 5, 3)), [0, 1]), "2 times for 3 frames"),
        (lambda: analysis.relaxation(np.zeros((3, 5, 3)), [0, 2, 1]), "increasing"),
        (lambda: analysis.relaxation(np.full((2, 5, 3), np.nan), [0, 1]), "NaN"),
        (lambda: analysis.self_intermediate_scattering(np.ones(3), 0, 3), "q is 0"),
        (lambda: analysis.self_intermediate_scattering(np.ones(3), 1, 4), "dimension is 4"),
        (lambda: analysis.overlap(np.ones(3), -0.3), "radius of the overlap"),
        (lambda: analysis.unwrap(np.zeros((3, 5, 3)), np.eye(2)), "cells have shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
