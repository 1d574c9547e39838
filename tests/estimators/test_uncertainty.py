"""Standard errors: recovered from labels with noise, and calibrated in the models that say so."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.estimators.uncertainty import displacement_spread, fit_error, standard_error


def test_errors_are_found_beneath_the_noise_of_labels():
    random = np.random.default_rng(0)
    truth, spread = random.gamma(9, 0.05, 200_000), random.gamma(4, 0.01, 200_000)
    error = np.sqrt(0.02**2 + 0.1**2 * truth**2 + 4 * spread**2)
    noise = 0.2 * truth
    labels = truth + error * random.normal(size=truth.shape) + noise * random.normal(size=truth.shape)
    found = fit_error(truth, labels, noise**2, spread)
    fitted = standard_error(
        {"error": found[None, None]}, np.zeros(len(truth), int), truth[:, None], spread[:, None]
    )
    np.testing.assert_allclose(fitted[:, 0].mean(), error.mean(), rtol=0.03)
    assert np.corrcoef(fitted[:, 0], error)[0, 1] > 0.98


def test_one_model_has_no_spread_and_species_have_their_own():
    calibration = {"error": [[[1.0, 0.0, 5.0]], [[0.0, 4.0, 5.0]]], "displacement": [[0.0, 1.0], [0.5, 0.0]]}
    mean = np.array([[2.0], [2.0]])
    np.testing.assert_allclose(standard_error(calibration, np.array([0, 1]), mean, None), [[1.0], [4.0]])
    np.testing.assert_allclose(displacement_spread(calibration, np.array([0, 1]), mean[:, 0]), [2.0, 1.0])


def test_one_model_is_fitted_without_a_spread():
    random = np.random.default_rng(0)
    truth = random.gamma(9, 0.05, 50_000)
    labels = truth + np.sqrt(0.02**2 + 0.1**2 * truth**2) * random.normal(size=truth.shape)
    a, b, c = fit_error(truth, labels, np.zeros_like(truth), np.zeros_like(truth))
    assert (np.sqrt(a), np.sqrt(b), c) == (pytest.approx(0.02, rel=0.1), pytest.approx(0.1, rel=0.05), 0)
