"""The models in the box: small, complete, and as good as their cards say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from propensity.cli.models import command
from propensity.data import open_dataset
from propensity.estimators.storage import SHIPPED, load_card, load_model, shipped_models
from propensity.evaluation import evaluate
from propensity.runs.flags import parse_options, read_yaml

MEMBERS = ("ka-default", "ka-member-2", "ka-member-3")


@pytest.mark.parametrize("name", shipped_models())
def test_model_is_small_and_names_no_private_path(name):
    assert (SHIPPED / name / "model.safetensors").stat().st_size < 2e6
    text = (SHIPPED / name / "model.json").read_text()
    assert "/tmp" not in text and "/home" not in text and '"/' not in text
    assert load_card(SHIPPED / name / "model.json").name == name


@pytest.mark.parametrize("name", [*MEMBERS, "ka-inherent", "ka-both"])
def test_card_is_complete(name):
    card = load_card(SHIPPED / name / "model.json")
    assert card.temperature == 0.44 and card.trained_species == ("A", "B")
    assert card.input_positions == {"ka-inherent": "inherent", "ka-both": "both"}.get(name, "thermal")
    assert card.times[card.default_time_index] == 4120 and card.training["n_structures"] == 132
    valid = card.metrics["valid"]
    assert valid["n_structures"] == 10 and valid["species"]["A"]["noise_ceiling_pooled"][-1] > 0.85


@pytest.mark.parametrize(
    ("name", "of_a", "of_b"),
    [
        (
            "ka-default",
            [0.875, 0.578, 0.572, 0.584, 0.569, 0.607, 0.577],
            [0.838, 0.629, 0.614, 0.625, 0.640, 0.645, 0.603],
        ),
        (
            "ka-both",
            [0.832, 0.711, 0.741, 0.682, 0.677, 0.702, 0.663],
            [0.801, 0.725, 0.741, 0.699, 0.724, 0.746, 0.673],
        ),
    ],
)
def test_scores_on_a_held_out_structure(name, of_a, of_b):
    """Structure 1 of the validation set, one of the harder ones; the cards' scores are over all ten."""
    data = open_dataset(Path(__file__).parents[1] / "fixtures/ka3d_one_valid.npz")
    score = evaluate(load_model(name), data, n_resamples=1)
    assert score.per_structure[0] == pytest.approx(of_a, abs=5e-3)
    assert score.per_structure[1] == pytest.approx(of_b, abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ka-default", "ka-inherent", "ka-both"])
def test_model_scores_what_its_card_says(name, shared):
    estimator = load_model(name)
    score = evaluate(estimator, open_dataset(shared / "data/ka3d_fs_T0.44_valid.npz"))
    ours, card = json.loads(json.dumps(score.to_dict())), estimator.card.metrics["valid"]
    for species in ("A", "B"):
        assert ours["species"][species]["pearson_pooled"] == pytest.approx(
            card["species"][species]["pearson_pooled"], abs=1e-3
        )


@pytest.mark.parametrize("name", ["ka-default", "ka-inherent", "ka-both"])
def test_recipe_is_that_of_the_card(name):
    recipe = read_yaml(SHIPPED / name / "recipe.yaml")
    _, fit = parse_options(recipe)
    done = load_card(SHIPPED / name / "model.json").training["options"]
    ours = fit.model_dump(mode="json") | {"init": done["init"]}  # given on the command line
    assert {key: ours[key] for key in done} == done


def test_models_are_listed():
    output = CliRunner().invoke(command, []).output
    assert all(name in output for name in (*MEMBERS, "ka-inherent", "ka-both"))
    for name, positions in (("ka-default", "thermal"), ("ka-inherent", "inherent"), ("ka-both", "both")):
        assert next(line for line in output.splitlines() if name in line).split()[2] == positions
