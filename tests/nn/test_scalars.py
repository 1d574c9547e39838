from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from propensity.errors import DataError
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.storage import load_model, save_model
from propensity.nn.scalars import learn_scalar_recipe, scalars_of
from propensity.physics.kob_andersen import local_potential_energy

SMALL = {"epochs": 2, "l_max": 1, "n_layers": 2, "progress": False, "device": "cpu", "readout": "species"}


def test_standardised_for_each_species(samples):
    structures = [sample.structure for sample in samples]
    learned = learn_scalar_recipe(structures, 2, "lj/cut")
    values = np.concatenate([scalars_of(s, learned)[:, 0] for s in structures])
    types = np.concatenate([s.types for s in structures])
    for species in (0, 1):
        assert values[types == species].mean() == pytest.approx(0, abs=1e-10)
        assert values[types == species].std() == pytest.approx(1)
    energy = local_potential_energy(structures[0], "lj/cut")
    a = structures[0].types == 0
    assert np.corrcoef(energy[a], scalars_of(structures[0], learned)[a, 0])[0, 1] == pytest.approx(1)


def test_network_uses_it_and_survives_the_disk(samples, tmp_path):
    model = SE3Estimator.fit(samples[:2], potential_energy=True, trained_species=("A", "B"), **SMALL)
    structure = samples[3].structure
    predicted = model.predict(structure)
    assert model.network.n_extra == 1 and model.network.readout.out_features == 4
    again = load_model(save_model(tmp_path / "m", model))
    np.testing.assert_array_equal(again.predict(structure), predicted)
    model.card.scalar_recipe = {**model.card.scalar_recipe, "potential_energy": "lj/cut force-shifted"}
    assert not np.allclose(model.predict(structure), predicted)


def test_the_interaction_must_be_known(samples):
    unknown = [dataclasses.replace(sample, potential=None) for sample in samples]
    with pytest.raises(DataError, match="give potential="):
        SE3Estimator.fit(unknown[:2], potential_energy=True, **SMALL)
