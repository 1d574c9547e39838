"""What every kind of model must do alike."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from propensity.errors import DataError, InputError
from propensity.estimators.kinds import ESTIMATORS, estimator_class
from propensity.estimators.migrations import FORMAT_VERSION
from propensity.estimators.storage import load_model, save_model
from propensity.structure import Structure

FAST = {
    "se3gnn": {"l_max": 1, "channels": 1, "n_layers": 1, "epochs": 1, "device": "cpu", "progress": False},
    "bapst": {"width": 4, "n_recurrences": 1, "epochs": 1, "device": "cpu"},
    "gated": {"inputs": "thermal", "n_layers": 3, "epochs": 1, "device": "cpu"},
    "ridge": {"l_max": 1, "generations": 0, "alphas": (1.0,)},
}


@pytest.fixture(scope="module", params=list(ESTIMATORS))
def model(request, samples):
    return estimator_class(request.param).fit(samples[:2], **FAST.get(request.param, {}))


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_labels_that_are_all_alike_are_refused(kind, samples):
    alike = [replace(x, propensities=x.propensities * [1, 0] + [0, 0.25]) for x in samples[:2]]
    with pytest.raises(DataError, match=r"species 'A' at time 10 are 0.25 in the 2 .* leave that time out"):
        estimator_class(kind).fit(alike, **FAST.get(kind, {}))


def test_card_says_what_it_is(model, samples):
    card = model.card
    assert card.kind == model.kind and card.format_version == FORMAT_VERSION
    assert card.species == ("A", "B") and card.times == tuple(samples[0].times)
    assert card.density == pytest.approx(1.2) and card.temperature == 0.5
    assert card.training["n_structures"] == 2 and card.default_time_index == 1
    assert {"input_positions", "inputs"} & set(card.training["options"])


def test_predictions_have_the_shape_and_units(model, samples):
    predicted = model.predict(samples[2].structure)
    a = samples[2].structure.types == 0
    assert predicted.shape == (len(a), 2) and predicted.dtype == np.float64
    assert np.isfinite(predicted[a]).all()
    # Not standardised: on average near the labels.
    assert np.abs(predicted[a].mean(0) - samples[2].propensities[a].mean(0)).max() < 0.2


def test_order_of_particles_does_not_matter(model, samples):
    structure = samples[2].structure
    order = np.random.default_rng(0).permutation(len(structure))
    shuffled = Structure(structure.positions[order], structure.types[order], structure.cell)
    np.testing.assert_allclose(
        model.predict(shuffled), model.predict(structure)[order], rtol=1e-4, equal_nan=True
    )


def test_unknown_species_are_refused(model, samples):
    structure = samples[2].structure
    with pytest.raises(InputError, match="type 2"):
        model.predict(Structure(structure.positions, structure.types * 2, structure.cell))


def test_disk_and_damage(model, samples, tmp_path):
    folder = save_model(tmp_path / "m", model)
    structure = samples[2].structure
    np.testing.assert_array_equal(load_model(folder).predict(structure), model.predict(structure))
    arrays = load_file(folder / "model.safetensors")
    name = max(arrays, key=lambda key: arrays[key].ndim)
    save_file({**arrays, name: np.ascontiguousarray(arrays[name][..., :0])}, folder / "model.safetensors")
    with pytest.raises(DataError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    save_file(arrays, folder / "model.safetensors")
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "format_version": 99}))
    with pytest.raises(DataError, match="format version 99"):
        load_model(folder)


def test_options_are_documented(model):
    assert all(field.description for field in type(model).options.model_fields.values())
    assert "valid" in inspect.signature(model.fit).parameters


def test_a_species_that_is_absent_from_training(samples):
    only_a = [
        type(s)(
            Structure(s.structure.positions, np.zeros(len(s), int), s.structure.cell),
            s.times,
            s.propensities,
            s.name,
            potential="lj/cut",
        )
        for s in samples[:2]
    ]
    for kind in ("ridge", "softness", "energy", "density"):
        model = estimator_class(kind).fit(only_a, **FAST.get(kind, {}))
        assert np.isfinite(model.predict(only_a[0].structure)).all()
