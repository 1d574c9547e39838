"""Models, runs and checkpoints from before a renaming go on working (see fixtures/README.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from propensity.data import open_dataset
from propensity.errors import InputError
from propensity.estimators.card import Card
from propensity.estimators.inputs import input_structure
from propensity.estimators.migrations import FORMAT_VERSION, MIGRATIONS
from propensity.estimators.options import read_options
from propensity.estimators.storage import load_card, load_model, save_model
from propensity.estimators.training_config import TrainingConfig
from propensity.runs.flags import parse_options
from propensity.runs.run import set_up
from tests.training.test_resume import rows

FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_a_model_of_version_one_predicts_as_it_did(tmp_path):
    """It sees both positions and the local potential energy: every field whose name has changed."""
    model = load_model(FIXTURES / "model_v1")
    sample = open_dataset(FIXTURES / "ka3d_few_train.npz")[0]
    found = model.predict(input_structure(sample, model.card.input_positions))
    np.testing.assert_allclose(found, np.load(FIXTURES / "model_v1/predicted.npy"), rtol=1e-5)
    card = model.card
    assert card.format_version == FORMAT_VERSION and card.input_positions == "both"
    assert card.scalar_recipe["potential_energy"] and model.network.n_extra == 1
    assert model.network.offset_scale == pytest.approx(0.069, abs=1e-3)
    assert card.training["options"]["input_positions"] == "both"
    again = save_model(tmp_path, model)
    assert json.loads((again / "model.json").read_text())["format_version"] == FORMAT_VERSION
    assert load_model(again).card == card


def test_a_card_of_version_two_has_its_state_points():
    stored = json.loads((FIXTURES / "card_v2.json").read_text())
    card = load_card(FIXTURES / "card_v2.json")
    assert stored["format_version"] == 2 and card.format_version == FORMAT_VERSION
    temperatures = [point["temperature"] for point in stored["conditions"]["states"]]
    assert [point.temperature for point in card.conditions.state_points] == temperatures
    assert Card.model_validate(json.loads(card.model_dump_json())) == card


def test_a_run_of_version_one_goes_on(tmp_path):
    folder = shutil.copytree(FIXTURES / "run_v1", tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["positions"] == "thermal"
    config["data"] = [str(FIXTURES / "ka3d_few_train.npz")]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run = set_up({"epochs": 3}, resume=folder)
    run.quiet = True
    model = run.train()
    assert model.card.input_positions == "thermal" and model.card.training["epochs"] == 3
    assert len(rows(folder)) == 4 and rows(folder)[:3] == rows(FIXTURES / "run_v1")


@pytest.mark.parametrize(
    ("old", "learn"),
    [
        ({"norms": "kept"}, "adjust"),
        ({"norms": "kept", "learn": "all"}, "adjust"),
        ({"norms": "batch", "learn": "all"}, "all"),
        ({"norms": "kept", "learn": "readout", "condition": "temperature"}, "readout"),
    ],
)
def test_kept_norms_of_old_files_are_adjusting(old, learn):
    assert read_options(TrainingConfig, {"init": "ka-both", **old}).learn == learn
    assert parse_options({"init": "ka-both", **old})[1].learn == learn
    card = {"format_version": 2, "training": {"options": old}, "conditions": None}
    assert MIGRATIONS[2](card)["training"]["options"]["learn"] == learn


def test_old_names_of_options_are_read_but_not_beside_the_new():
    assert read_options(TrainingConfig, {"positions": "both"}).input_positions == "both"
    assert parse_options({"model": "ridge", "positions": "inherent"})[1].input_positions == "inherent"
    with pytest.raises(InputError, match="'positions' and 'input_positions' are the same"):
        parse_options({"positions": "both", "input_positions": "both"})
