"""The models in the box: small, complete, and as good as their cards say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from propensity.cli.info import command as info
from propensity.cli.models import command
from propensity.data import open_dataset
from propensity.estimators.storage import SHIPPED, load_card, load_model, shipped_models
from propensity.evaluation import evaluate
from propensity.runs.flags import parse_options, read_option_file

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
    assert card.times[card.default_time_index] == 4120
    assert card.training["n_structures"] == {"ka-default": 244}.get(name, 132)
    valid = card.metrics["valid"]
    assert valid["n_structures"] == 10 and valid["species"]["A"]["noise_ceiling_pooled"][-1] > 0.85


@pytest.mark.parametrize("name", [n for n in shipped_models() if n.startswith(("ka-cage", "ka-thermal"))])
def test_cards_of_cage_models_tell_every_time(name):
    card = load_card(SHIPPED / name / "model.json")
    valid = card.metrics["valid"]
    assert valid["n_structures"] == 10 and valid["times"] == list(card.times)
    for scores in valid["species"].values():
        keys = ("pearson_pooled", "pearson_per_structure", "noise_ceiling_pooled")
        assert all(len(scores[key]) == 7 and None not in scores[key] for key in keys)
        for rho, (low, high), most in zip(
            scores["pearson_pooled"],
            scores["pearson_pooled_interval"],
            scores["noise_ceiling_pooled"],
            strict=True,
        ):
            assert low < rho < high < most
    assert card.training["n_structures"] == 244 and card.training["seconds"] > 60
    if card.committee:
        assert card.metrics["uncertainty"]["left_out"]["A"]["within_2"][-1] > 0.9
        assert "published" in " ".join(card.metrics)
    shown = CliRunner().invoke(command, [name]).output
    assert "412" in shown and f"{valid['species']['A']['pearson_pooled'][4]:.3f}" in shown


@pytest.mark.slow
def test_the_committee_scores_from_thermal_positions():
    """Structure 1: minimum and cage state are made; the cage's noise moves ρ by .02 at late times."""
    from dataclasses import replace

    from propensity.estimators.mean import load_together

    (sample,) = open_dataset(Path(__file__).parents[1] / "fixtures/ka3d_one_valid.npz")
    score = evaluate(
        load_together("ka-cage", "cpu"), [replace(sample, inherent_positions=None)], n_resamples=1
    )
    expected = [
        [0.926, 0.851, 0.899, 0.856, 0.776, 0.728, 0.651],
        [0.890, 0.873, 0.912, 0.857, 0.809, 0.778, 0.686],
    ]
    assert score.per_structure[0] == pytest.approx(expected[0], abs=0.03)
    assert score.per_structure[1] == pytest.approx(expected[1], abs=0.03)


@pytest.mark.slow
def test_thermal_positions_alone_score_what_the_card_says():
    """Structure 1 again: the mean of the network that guesses cages and ``ka-default``."""
    from propensity.estimators.mean import load_together

    data = open_dataset(Path(__file__).parents[1] / "fixtures/ka3d_one_valid.npz")
    score = evaluate(load_together("ka-thermal", "cpu"), data, n_resamples=1)
    assert score.per_structure[0] == pytest.approx(
        [0.909, 0.701, 0.680, 0.671, 0.652, 0.660, 0.603], abs=5e-3
    )
    assert score.per_structure[1] == pytest.approx(
        [0.875, 0.746, 0.713, 0.712, 0.718, 0.704, 0.621], abs=5e-3
    )


@pytest.mark.parametrize(
    ("name", "of_a", "of_b"),
    [
        (
            "ka-default",
            [0.875, 0.585, 0.575, 0.603, 0.592, 0.623, 0.588],
            [0.846, 0.637, 0.611, 0.631, 0.655, 0.662, 0.613],
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


@pytest.mark.parametrize("name", ["ka-default", "ka-inherent", "ka-both", "ka-liquid", "ka-liquid-cage"])
def test_recipe_is_that_of_the_card(name):
    recipe = read_option_file(SHIPPED / name / "recipe.yaml")
    _, fit = parse_options(recipe)
    done = load_card(SHIPPED / name / "model.json").training["options"]
    ours = fit.model_dump(mode="json")
    if "init" in done:
        ours["init"] = done["init"]  # given on the command line
    assert {key: ours[key] for key in done} == done


@pytest.mark.parametrize("name", ["ka-liquid", "ka-liquid-cage"])
def test_cards_of_several_temperatures_tell_all(name):
    card = load_card(SHIPPED / name / "model.json")
    assert card.conditions.temperatures.tolist() == [0.44, 0.47, 0.5, 0.56] and card.temperature is None
    best = []
    for point in card.conditions.state_points:
        valid = card.metrics[f"valid T={point.temperature:g}"]
        assert valid["times"] == pytest.approx(list(point.times))
        for scores in valid["species"].values():
            assert all(0.9 < slope < 1.1 for slope in scores["slope"])
            assert scores["mean_ratio"] == pytest.approx([1] * len(point.times), abs=0.05)
        best.append(
            valid["species"]["A"]["pearson_pooled"][
                np.argmin(np.abs(np.array(point.times) - point.tau_alpha))
            ]
        )
    shown = CliRunner().invoke(command, []).output
    line = next(line for line in shown.splitlines() if line.split()[:1] == [name])
    assert f"A {min(best):.2f}–{max(best):.2f}" in line and "0.44–0.56" in line


@pytest.mark.parametrize("name", ["ka-liquid", "ka-liquid-cage"])
def test_cards_of_several_temperatures_know_their_errors(name):
    """Measured in shares of labels within one and two of them, each structure left out of its calibration."""
    found = load_card(SHIPPED / name / "model.json").metrics["uncertainty"]
    for temperature in ("0.44", "0.47", "0.5", "0.56"):
        for species in ("A", "B"):
            left = found[temperature][species]["left_out"]
            assert all(0.64 < share < 0.8 for share in left["within_1"])
            assert all(0.92 < share < 0.97 for share in left["within_2"])
    error = np.array(load_model(name).at(0.48, [0.5, 10, 300]).card.uncertainty["error"])
    assert error.shape == (2, 3, 3) and np.isfinite(error).all() and (error >= 0).all()


def test_the_liquid_model_predicts_what_it_did():
    (sample,) = open_dataset(Path(__file__).parents[1] / "fixtures/ka3d_T047_one.npz")
    one = load_model("ka-liquid").for_sample(sample)
    score = evaluate(one, [sample], n_resamples=1).pooled
    of_a = [0.8465, 0.662, 0.7852, 0.7534, 0.7464, 0.7572, 0.7278, 0.6243]
    of_b = [0.8268, 0.7034, 0.7973, 0.7849, 0.7498, 0.7743, 0.775, 0.7142]
    np.testing.assert_allclose(score, [of_a, of_b], atol=3e-4)


def test_models_are_listed():
    output = CliRunner().invoke(command, []).output
    assert all(name in output for name in (*MEMBERS, "ka-inherent", "ka-both"))
    for name, positions in (("ka-default", "thermal"), ("ka-inherent", "inherent"), ("ka-both", "both")):
        assert next(line for line in output.splitlines() if name in line).split()[2] == positions
    assert "* on structures of which those of the training are descendants" in " ".join(output.split())


@pytest.mark.parametrize("name", ["ka-default", "ka-liquid", "bapst-t044-s09"])
def test_info_and_models_show_the_same_card(name):
    shown = CliRunner().invoke(command, [name]).output
    assert shown.startswith("name") and max(map(len, shown.splitlines())) <= 80
    assert CliRunner().invoke(info, [name]).output == shown
    assert ("descendants" in shown) == (name == "ka-default")
