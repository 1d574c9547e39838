import json
import pickle
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from propensity import Predictor, load_model, save_model
from propensity.errors import DataError, InputError, PropensityWarning
from propensity.estimators.card import Card
from propensity.estimators.migrations import FORMAT_VERSION
from propensity.structure import Structure
from tests.conftest import make_liquid, make_tiny_model


@pytest.fixture
def copy(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "copy")


def edit_card(folder, **values):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_round_trip_predicts_the_same(tiny_model, tmp_path, liquid):
    first = load_model(tiny_model)
    second = load_model(save_model(tmp_path / "again", first))
    assert second.card == first.card
    np.testing.assert_array_equal(second.predict(liquid), first.predict(liquid))


@pytest.mark.parametrize("name", ["", "model.safetensors", "model.json"])
def test_model_may_be_named_by_folder_or_file(tiny_model, name):
    assert load_model(tiny_model / name).card.name == "tiny"


def test_unknown_name_lists_what_is_shipped():
    with pytest.raises(DataError, match=r"neither a folder.*nor a shipped model"):
        load_model("no-such-model")


def test_newer_version_is_refused(copy):
    edit_card(copy, format_version=FORMAT_VERSION + 1)
    reads = rf"this release reads 1\.\.{FORMAT_VERSION}: update propensity"
    with pytest.raises(DataError, match=f"format version {FORMAT_VERSION + 1} and {reads}"):
        load_model(copy)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"times": []}, "species and times must not be empty"),
        ({"default_time_index": 3}, "default_time_index 3"),
        ({"target_mean": [[0.0]]}, r"target_mean must have shape \(2, 3\)"),
        ({"trained_species": ["C"]}, "trained_species"),
        ({"kind": "se3gnm"}, "the nearest is 'se3gnn'"),
    ],
)
def test_bad_card_says_what_is_wrong(copy, values, message):
    edit_card(copy, **values)
    with pytest.raises(DataError, match=message):
        load_model(copy)


def test_weights_that_do_not_fit_the_card(copy):
    arrays = load_file(copy / "model.safetensors")
    arrays.pop("readout.bias")
    save_file(arrays, copy / "model.safetensors")
    with pytest.raises(DataError, match=r"doesn't fit its card.*readout.bias"):
        load_model(copy)


def test_a_pickle_is_never_opened(copy, tmp_path):
    class Exploit:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (copy / "model.safetensors").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(DataError, match="not a readable safetensors file"):
        load_model(copy)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", "\x00"])
def test_damaged_card(copy, content):
    (copy / "model.json").write_text(content)
    with pytest.raises(DataError, match="card"):
        load_model(copy)


@pytest.mark.parametrize("missing", ["model.safetensors", "model.json"])
def test_missing_half(copy, missing):
    (copy / missing).unlink()
    with pytest.raises(DataError, match=f"{missing} is missing"):
        load_model(copy)


def test_failed_save_keeps_the_old_model(copy, liquid):
    estimator = load_model(copy)
    before = estimator.predict(liquid)
    estimator.arrays = lambda: {"bad": np.array([object()])}
    with pytest.raises(Exception, match=r"."):
        save_model(copy, estimator)
    np.testing.assert_array_equal(load_model(copy).predict(liquid), before)
    assert sorted(path.name for path in copy.iterdir()) == ["model.json", "model.safetensors"]


def test_untrained_species_is_nan(copy, liquid):
    edit_card(copy, trained_species=["A"])
    prediction = Predictor(copy).predict(liquid)
    np.testing.assert_array_equal(np.isnan(prediction).all(axis=1), liquid.types == 1)
    np.testing.assert_array_equal(np.isnan(prediction).any(axis=1), liquid.types == 1)


def test_committee_is_the_mean(tiny_model, tmp_path, liquid):
    other = make_tiny_model(tmp_path / "other", seed=1)
    singles = [Predictor(path).predict(liquid) for path in (tiny_model, other)]
    committee = Predictor([tiny_model, other])
    np.testing.assert_array_equal(committee.predict(liquid), np.mean(singles, axis=0))
    assert np.abs(singles[0] - singles[1]).max() > 1e-3


def test_committee_must_agree(tiny_model, tmp_path):
    other = make_tiny_model(tmp_path / "other", times=(1.0, 10.0, 99.0))
    with pytest.raises(InputError, match="must share"):
        Predictor([tiny_model, other])


def test_length_scale(tiny_model, liquid):
    expected = Predictor(tiny_model).predict(liquid)
    scaled = Predictor(tiny_model, length_scale=2.5).predict(liquid.scaled(2.5))
    np.testing.assert_allclose(scaled, 2.5 * expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("structure", "word"),
    [
        (make_liquid().scaled(1.1), "length_scale"),
        (Structure(make_liquid().positions, np.zeros(120, int), make_liquid().cell), "species_map"),
    ],
)
def test_far_from_training_warns_once(tiny_model, structure, word):
    predictor = Predictor(tiny_model)
    with pytest.warns(PropensityWarning, match=word) as caught:
        predictor.predict(structure)
    assert len(caught) == 1
    predictor.predict(structure)  # A second warning would be an error.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device 'gpu' is unknown"),
        ({"dtype": "float16"}, "choose 'float32' or 'float64'"),
        ({"length_scale": 0}, "length_scale is 0"),
        ({"kernel": "trition"}, "kernel 'trition' is unknown"),
        ({"model": []}, "committee is empty"),
    ],
)
def test_bad_options(tiny_model, liquid, options, message):
    with pytest.raises(InputError, match=message):
        Predictor(**{"model": tiny_model, **options}).predict(liquid)


def test_type_outside_the_model(tiny_model, liquid):
    types = liquid.types.copy()
    types[3] = 2
    with pytest.raises(InputError, match="type 2"):
        Predictor(tiny_model).predict(Structure(liquid.positions, types, liquid.cell))


def test_card_is_documented():
    undocumented = [name for name, field in Card.model_fields.items() if not field.description]
    assert set(undocumented) <= {"format_version", "description", "license", "citation"}
