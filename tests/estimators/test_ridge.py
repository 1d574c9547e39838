from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from propensity.errors import DataError, InputError
from propensity.estimators.ridge import RidgeEstimator, choose_penalty, linear_map
from propensity.estimators.storage import load_model, save_model
from propensity.evaluation import evaluate

FEW = {"l_max": 2, "generations": 1, "alphas": (0.1, 1.0, 100.0), "folds": 2}


def test_linear_map_is_ridge_on_standardised_features():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 5)) * [1, 10, 0.1, 1, 0] + 3, rng.normal(size=(200, 2))
    weights, intercept = linear_map(x, y, np.array([1.0, 50.0]))
    scale = np.where(x.std(0) > 0, x.std(0), 1)
    for t, alpha in enumerate((1.0, 50.0)):
        model = Ridge(alpha=alpha).fit((x - x.mean(0)) / scale, y[:, t])
        np.testing.assert_allclose(
            x @ weights[:, t] + intercept[t], model.predict((x - x.mean(0)) / scale), rtol=1e-8, atol=1e-10
        )


def test_penalty_is_chosen_on_left_out_structures():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(6), 20)
    x = rng.normal(size=(120, 60))
    signal = x[:, :1] * 3 + 0.01 * rng.normal(size=(120, 1))
    noise = rng.normal(size=(120, 1))
    alphas = choose_penalty(x, np.concatenate([signal, noise], 1), group, (0.01, 1e5), 3)
    assert alphas.tolist() == [0.01, 1e5]


@pytest.mark.parametrize("input_positions", ["thermal", "inherent"])
def test_fit_predicts_held_out_structures_and_survives_the_disk(samples, tmp_path, input_positions):
    model = RidgeEstimator.fit(samples[:3], input_positions=input_positions, **FEW)
    scores = evaluate(model, samples[3:])
    assert scores.species == ("A", "B") and (scores.pooled[0] > 0.6).all()
    again = load_model(save_model(tmp_path / "ridge", model))
    structure = samples[3].structure
    np.testing.assert_array_equal(again.predict(structure), model.predict(structure))
    assert again.card.input_positions == input_positions and len(again.feature_names) == len(model.weights[0])


def test_fewer_particles(samples):
    all_of_them = RidgeEstimator.fit(samples[:3], **FEW)
    some = RidgeEstimator.fit(samples[:3], max_particles=60, **FEW)
    assert not np.allclose(some.weights, all_of_them.weights)


def test_no_structures():
    with pytest.raises(DataError, match="no training structures"):
        RidgeEstimator.fit([])


def test_unknown_option(samples):
    with pytest.raises(InputError, match="the nearest is 'alphas'"):
        RidgeEstimator.fit(samples, alpha=3)
