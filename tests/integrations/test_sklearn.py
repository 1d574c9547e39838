"""scikit-learn clones, pickles, searches and cross-validates the package's models."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from propensity import InputError, PropensityRegressor, evaluate, load_model, save_model
from propensity.estimators.kinds import ESTIMATORS, estimator_class
from tests.estimators.conftest import make_sample

NETWORK = {
    "l_max": 1,
    "channels": 2,
    "n_layers": 1,
    "n_basis": 4,
    "radial_hidden": 4,
    "epochs": 1,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def samples():
    return [make_sample(seed, n=64) for seed in range(4)]


@pytest.mark.parametrize("kind", sorted(ESTIMATORS))
def test_every_kind_can_be_cloned_with_its_parameters(kind):
    model = PropensityRegressor(kind, input_positions="inherent")
    copy = clone(model)
    assert copy is not model and copy.get_params() == {"kind": kind, "input_positions": "inherent"}
    assert "input_positions='inherent'" in repr(copy)


def test_cross_validation_scores_what_evaluate_scores(samples):
    model = PropensityRegressor("density")
    scores = cross_val_score(model, samples, cv=KFold(2))
    by_hand = estimator_class("density").fit(samples[2:])
    assert scores[0] == pytest.approx(np.nanmean(evaluate(by_hand, samples[:2]).pooled))
    assert not hasattr(model, "model_")
    predicted = cross_val_predict(model, samples, cv=KFold(2))
    np.testing.assert_allclose(predicted[0], by_hand.predict(samples[0].structure))


def test_a_search_varies_options_and_kinds(samples):
    grid = [{"kind": ["density"], "input_positions": ["thermal", "inherent"]}, {"kind": ["energy"]}]
    search = GridSearchCV(PropensityRegressor(), grid, cv=2).fit(samples)
    assert len(search.cv_results_["params"]) == 3
    assert search.best_estimator_.get_params() == search.best_params_


def test_the_network_is_an_estimator_too(samples):
    scores = cross_val_score(PropensityRegressor("se3gnn", **NETWORK), samples, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()


def test_pipelines_of_structures(samples):
    first = FunctionTransformer(lambda given: [one for one in given if one.temperature])
    pipeline = make_pipeline(first, PropensityRegressor("density")).fit(samples)
    assert pipeline.score(samples) == pytest.approx(
        PropensityRegressor("density").fit(samples).score(samples)
    )


def test_what_was_fitted_is_a_model_of_the_package(samples, tmp_path):
    model = PropensityRegressor("density").fit(samples)
    save_model(tmp_path / "model", model.model_)
    wanted = model.predict(samples[:1])[0]
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(samples[0].structure), wanted)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(model)).predict([samples[0].structure])[0], wanted
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: PropensityRegressor("rigde").fit(s), "choose from"),
        (lambda s: PropensityRegressor("density", epochs=3).fit(s), "option 'epochs' is unknown"),
        (lambda s: PropensityRegressor("density").set_params(foldz=3), "option 'foldz' is unknown"),
        (lambda s: PropensityRegressor("density").fit(s, [one.propensities for one in s]), "y is given"),
        (lambda s: PropensityRegressor("density").fit(s).score(s, [1]), "y is given"),
        (lambda s: PropensityRegressor("density").fit(s[0]), "X is one Sample: give a list"),
        (lambda s: PropensityRegressor("density").fit([one.structure for one in s]), "give Samples"),
        (lambda s: PropensityRegressor("density").fit(s).predict(s[0].structure), "X is one Structure"),
    ],
)
def test_bad_input_is_one_sentence(make, message, samples):
    with pytest.raises(InputError, match=message):
        make(samples)


def test_unfitted_says_so(samples):
    with pytest.raises(NotFittedError):
        PropensityRegressor("density").predict(samples)
