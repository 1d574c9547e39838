"""The network as an estimator: units, species that were not trained, and use before and after a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propensity.errors import InputError
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.storage import load_model, save_model
from propensity.graph import build_graph
from propensity.structure import Structure
from tests.conftest import make_liquid, make_tiny_model
from tests.training.conftest import SMALL, make_sample


def test_outputs_are_scaled_by_the_card(tiny_model, liquid):
    estimator = load_model(tiny_model)
    raw = estimator.network(build_graph(liquid, 2.0)).detach().numpy()
    mean, std = np.array(estimator.card.target_mean), np.array(estimator.card.target_std)
    np.testing.assert_allclose(
        estimator.predict(liquid), raw * std[liquid.types] + mean[liquid.types], rtol=1e-6
    )


def test_untrained_species_are_nan(tmp_path, liquid):
    estimator = load_model(make_tiny_model(tmp_path / "m", trained_species=("A",)))
    known = np.isfinite(estimator.predict(liquid)).all(axis=1)
    assert np.array_equal(known, liquid.types == 0)


def test_unknown_type_is_refused(tiny_model, liquid):
    three = Structure(liquid.positions, np.arange(120) % 3, liquid.cell)
    with pytest.raises(InputError, match=r"type 2, but the model knows species \['A', 'B'\]"):
        load_model(tiny_model).predict(three)


def test_fit_predict_save_load(tmp_path):
    train = [make_sample(seed) for seed in range(3)]
    estimator = SE3Estimator.fit(train, **{**SMALL, "epochs": 1})
    before = estimator.predict(make_liquid())
    save_model(tmp_path, estimator)
    assert np.array_equal(
        load_model(tmp_path).to(kernel="reference").predict(make_liquid()), before, equal_nan=True
    )


def test_prediction_does_not_spoil_a_later_training():
    """Kernels cache tensors at first use, and those must not be inference tensors."""
    from propensity.nn.kernels import reference

    reference._tensor_product.cache_clear()
    reference._harmonics.cache_clear()
    train = [make_sample(seed) for seed in range(2)]
    options = {**SMALL, "epochs": 1, "channels": 3}
    estimator = SE3Estimator.fit(train, **options)
    reference._tensor_product.cache_clear()
    reference._harmonics.cache_clear()
    estimator.predict(make_liquid())
    SE3Estimator.fit(train, **options)
    assert not torch.is_inference_mode_enabled()
