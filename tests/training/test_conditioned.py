"""One model of several temperatures: trained, asked between them, and refused where it can't be."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from propensity import Predictor
from propensity.data import from_samples
from propensity.errors import DataError, InputError, PropensityWarning
from propensity.estimators.conditioned import ConditionedEstimator
from propensity.estimators.conditions import Elsewhere
from propensity.estimators.inputs import Inputs, input_structure
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.state_points import learn_conditions
from propensity.estimators.storage import load_card, load_model, save_model
from propensity.estimators.training_set import training_card
from propensity.evaluation import evaluate, evaluate_state_points
from propensity.integrations.ase import PropensityCalculator
from propensity.interrupts import TrainingInterrupted
from propensity.provenance import facts, of_frame, state_point_in_words
from propensity.structure import Structure
from propensity.training import fit_network
from propensity.training.answers import Answers
from propensity.training.readout import solve_readout
from tests.training.conftest import SMALL, make_sample

#: Nine toys don't cover the neighbourhoods of others.
pytestmark = pytest.mark.filterwarnings("ignore:.*neighbourhoods that no training particle had")
#: Temperature → times; the last is τ_α.
TIMES = {0.4: [0.1, 1.0, 10.0, 100.0], 0.5: [0.1, 0.7, 4.0, 20.0], 0.6: [0.1, 0.5, 2.0, 8.0]}
OPTIONS = {
    **SMALL,
    "condition": "temperature",
    "input_positions": "both",
    "kernel": "reference",
    "trained_species": ("A", "B"),
    "readout": "species",
    "dropout": 0.0,
}


def mean_displacement(temperature, times):
    """Vibrations ∝ √T, and motion that is the later the colder it is."""
    late = np.asarray(times) / TIMES[temperature][-1]
    return np.sqrt(temperature) * (0.2 * np.asarray(times) / (0.05 + np.asarray(times)) + 0.5 * late**0.6)


def at_temperature(temperature, seed):
    """Labels that follow the length of the thermal offset, the more so the later, about the mean."""
    sample = make_sample(seed)
    offset = np.random.default_rng(seed).normal(size=(len(sample), 3)) * 0.1 * np.sqrt(temperature)
    length = np.linalg.norm(offset, axis=1)
    times = np.array(TIMES[temperature])
    growing = 0.1 + 0.3 * np.log(times / 0.1) / np.log(times[-1] / 0.1)
    labels = mean_displacement(temperature, times) * (1 + (length / length.mean() - 1)[:, None] * growing)
    return replace(
        sample,
        times=times,
        propensities=labels,
        halves=None,
        temperature=temperature,
        tau_alpha=times[-1],
        name=f"toy{temperature}/{seed}",
        potential="lj/cut",
        inherent_positions=sample.structure.positions - offset,
    )


@pytest.fixture(scope="module")
def liquids():
    return [at_temperature(temperature, seed) for temperature in TIMES for seed in range(3)]


@pytest.fixture(scope="module")
def model(liquids):
    held = [at_temperature(temperature, 9) for temperature in TIMES]
    return fit_network(liquids, held, **{**OPTIONS, "epochs": 3})


def seen(sample) -> Structure:
    return input_structure(sample, "both")


def test_it_learns_every_temperature_and_time(model):
    held = from_samples([at_temperature(temperature, seed) for temperature in TIMES for seed in (7, 8)])
    scores = evaluate_state_points(model, held, "test", n_resamples=1)
    assert list(scores) == ["test T=0.4", "test T=0.5", "test T=0.6"]
    for score in scores.values():
        assert score.pooled.min() > 0.9
        assert np.allclose(score.mean_ratio, 1, atol=0.05)
        assert np.allclose(score.slope, 1, atol=0.25)


def test_temperatures_are_scored_one_at_a_time(model, liquids):
    cold = liquids[0]
    with pytest.raises(DataError, match="score one temperature at a time"):
        evaluate(model, [cold, replace(cold, name="other", temperature=cold.temperature + 0.1)])


def test_a_temperature_gives_an_ordinary_model(model, liquids):
    structure = seen(liquids[4])
    one = model.at(0.47, [0.3, 5.0])
    assert type(one) is SE3Estimator
    assert one.card.conditions is None
    assert (one.card.temperature, one.card.times, one.card.default_time_index) == (0.47, (0.3, 5.0), 1)
    with torch.no_grad():
        modes = model._outputs(structure)
    c = model.conditions
    expected = modes @ c.basis(0.47, [0.3, 5.0]) * c.std(0.47, [0.3, 5.0])[structure.types]
    expected += c.mean(0.47, [0.3, 5.0])[structure.types]
    assert np.allclose(one.predict(structure), expected, rtol=1e-4, atol=1e-6)


def test_the_mean_follows_the_measured_displacement(model, liquids):
    """F_s-consistent: exact for the trained points, rising with time between them."""
    for temperature, times in TIMES.items():
        of = [s.propensities[s.structure.types == 0] for s in liquids if s.temperature == temperature]
        assert np.allclose(
            model.conditions.mean(temperature, times)[0], np.concatenate(of).mean(0), rtol=1e-2
        )
    first, last = model.conditions.time_range(0.45)
    curve = model.conditions.mean(0.45, np.geomspace(first, last, 50))
    assert (np.diff(curve, axis=1) > 0).all()
    between = model.conditions.mean(0.45, [3.0])[0, 0]
    assert model.conditions.mean(0.4, [3.0])[0, 0] < between < model.conditions.mean(0.5, [3.0])[0, 0]


def test_predictions_are_smooth_in_time(model, liquids):
    times = np.geomspace(0.1, 20, 60)
    predicted = model.at(0.5, times).predict(seen(liquids[4]))
    steps = np.abs(np.diff(predicted, axis=1))
    assert steps.max() < 0.1 * (predicted.max() - predicted.min())


def test_stored_and_loaded(model, liquids, tmp_path):
    found = load_model(save_model(tmp_path, model))
    assert isinstance(found, ConditionedEstimator)
    assert found.card.conditions == model.card.conditions
    assert np.allclose(found.predict(seen(liquids[0])), model.predict(seen(liquids[0])), rtol=1e-4)
    ordinary = load_model(save_model(tmp_path / "one", model.at(0.55)))
    assert ordinary.card.temperature == 0.55


@pytest.mark.parametrize(
    "states", [lambda s: s[:1], lambda s: s[::-1], lambda s: (s[0], s[0])], ids=["one", "order", "twice"]
)
def test_a_card_of_nonsense_is_refused(model, tmp_path, states):
    folder = save_model(tmp_path, model)
    values = model.card.model_dump(mode="json")
    values["conditions"]["state_points"] = list(states(values["conditions"]["state_points"]))
    (folder / "model.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match="two temperatures at least, coldest first"):
        load_card(folder / "model.json")


def test_the_predictor_takes_temperature_and_times(model, liquids, tmp_path):
    folder = save_model(tmp_path, model)
    predictor = Predictor(folder, temperature=0.5, times=[4, 0.7])
    assert predictor.temperature == 0.5
    assert predictor.times.tolist() == [4.0, 0.7]
    assert predictor.default_time_index == 0
    assert Predictor(folder, temperature=0.4).times.tolist() == TIMES[0.4]
    structure = seen(liquids[4])
    predicted = predictor.predict(structure)
    assert np.allclose(predicted, model.at(0.5, [4, 0.7]).predict(structure))
    said = facts(predictor)
    assert (said["propensity_temperature"], said["propensity_potential"]) == (0.5, "lj/cut")
    assert said["propensity_time_unit"] == "sigma*sqrt(m/epsilon)"
    assert "answers for T = 0.5, lj/cut" in state_point_in_words(predictor)


def test_the_calculator_too(model, liquids, tmp_path):
    folder = save_model(tmp_path, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropensityWarning)
        calculator = PropensityCalculator(folder, temperature=0.45, times=[1, 5], potential="lj/cut")
    assert calculator.times.tolist() == [1, 5]


def test_a_temperature_is_inferred_with_a_word(model, liquids, tmp_path):
    predictor = Predictor(save_model(tmp_path, model))
    assert predictor.temperature is None
    assert "reads the temperature of each frame" in state_point_in_words(predictor)
    for state, sample in zip(model.conditions.state_points, liquids[::3], strict=True):
        known = sample.structure.at_minimum(sample.inherent_positions)
        scale = state.offset[0] / np.median(np.linalg.norm(known.thermal_offset, axis=1))
        structure = sample.structure.at_minimum(sample.structure.positions - scale * known.thermal_offset)
        if sample is liquids[0]:
            with pytest.warns(PropensityWarning, match="no temperature was given: .* looks like one at 0.4"):
                predictor.predict(structure)
        else:
            predictor.predict(structure)  # once is enough
        found = of_frame(predictor.likeness(structure))["propensity_temperature"]
        assert found == pytest.approx(state.temperature, abs=1e-4)
    assert 0 < model.temperature_error() < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.9}, "temperature is 0.9: the model was trained at 0.4 to 0.6"),
        ({"temperature": -1.0}, "temperature is -1.0: give"),
        ({"temperature": float("nan")}, "temperature is nan: give"),
        ({"temperature": 0.6, "times": 50}, "time 50 can't be predicted at temperature 0.6: .* 0.1 to 8"),
        ({"temperature": 0.6, "times": [1, -2]}, "times are .*: give positive numbers"),
    ],
)
def test_what_it_does_not_answer_for(model, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        Predictor(save_model(tmp_path, model), **options)


def test_beyond_the_trained_temperatures_it_warns(model, tmp_path):
    with pytest.warns(PropensityWarning, match="0.63 lies outside of those of the training, 0.4 to 0.6"):
        Predictor(save_model(tmp_path, model), temperature=0.63)


def test_how_far_beyond_may_be_said(model):
    with pytest.raises(InputError, match="answers from"):
        model.at(0.8)
    assert model.at(0.8, beyond=2.0).card.temperature == 0.8
    with pytest.raises(InputError, match="answers from"):
        model.at(0.8)


def test_minima_of_another_interaction_are_doubted(model, tmp_path):
    smooth = "lj/cut force-shifted"
    with pytest.warns(PropensityWarning, match=f"minima are made in '{smooth}'.* those of the latter"):
        Predictor(save_model(tmp_path, model), temperature=0.5, potential=smooth)
    at = {"temperature": 0.5, "potential": smooth, "pearson": 0.7}
    known = copy.copy(model)
    known.card = model.card.model_copy(update={"elsewhere": (Elsewhere(**at, ratio=(0.9, 1.02)),)})
    with pytest.warns(PropensityWarning, match=r"the former its ρ is 0.70, means are 0.9 to 1 times"):
        Predictor(save_model(tmp_path / "off", known), temperature=0.5, potential=smooth)
    known.card = model.card.model_copy(update={"elsewhere": (Elsewhere(**at, ratio=(0.97, 1.02)),)})
    path = save_model(tmp_path / "right", known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Predictor(path, temperature=0.5, potential=smooth)
    with pytest.warns(PropensityWarning, match="those of the latter"):
        Predictor(path, temperature=0.52, potential=smooth)


def test_models_of_one_temperature_say_so(tiny_model, tmp_path, liquid):
    estimator = load_model(tiny_model)
    estimator.card.temperature = 0.44
    folder = save_model(tmp_path, estimator)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Predictor(folder, temperature=0.45).temperature == 0.44
    with pytest.warns(
        PropensityWarning, match="0.56 is asked for and tiny was trained at 0.44.*not measured"
    ):
        predictor = Predictor(folder, temperature=0.56)
    predictor.predict(liquid)
    assert "temperature" in predictor.likeness(liquid).reasons
    with pytest.warns(PropensityWarning, match="doesn't say for which temperature it is"):
        Predictor(tiny_model, temperature=0.5)
    with pytest.raises(InputError, match="temperature is 0: give"):
        Predictor(tiny_model, temperature=0)


def without_temperature(samples):
    return [replace(samples[0], temperature=None), *samples[1:]]


def other_times(samples):
    return [samples[0].at_columns([0, 1]), *samples[1:]]


def other_potential(samples):
    return [replace(samples[0], potential="lj/cut force-shifted"), *samples[1:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_temperature, "toy0.4/0 has no temperature, which --condition temperature needs"),
        (lambda samples: samples[:3], "all structures are at temperature 0.4"),
        (other_times, "toy0.4/0 and toy0.4/1 are both at temperature 0.4 and have times"),
        (other_potential, "both at temperature 0.4 and have interactions"),
    ],
    ids=["missing", "one", "times", "potential"],
)
def test_bad_temperatures_are_one_sentence(liquids, change, message):
    with pytest.raises(DataError, match=message) as error:
        learn_conditions(change(liquids))
    assert "\n" not in str(error.value).replace("\n ", " ")


def test_labels_of_one_temperature_that_are_all_alike_are_refused(liquids):
    coldest = min(sample.temperature for sample in liquids)
    alike = [x if x.temperature > coldest else replace(x, propensities=0 * x.propensities) for x in liquids]
    with pytest.raises(DataError, match=r"species 'A' at time .* are 0 in the .* nothing can be learned"):
        training_card("se3gnn", alike, config={}, options={}, conditions=learn_conditions(alike))


@pytest.mark.parametrize("change", [{"temperature": 0.55}, {"temperature": None}])
def test_validation_at_another_temperature_is_refused(liquids, change):
    with pytest.raises(DataError, match=r"toy0.6/2 is at temperature .*, and no training structures are"):
        fit_network(liquids[:8], [replace(liquids[8], **change)], **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learn": "adjust"}, "learn='adjust' begins with the weights of another model"),
        ({"learn": "adjust", "init": "ka-both", "ema": 0.9}, "ema computes them anew: give one"),
        ({"learn": "readout"}, "learn='readout' begins with the weights of another model"),
        ({"learn": "readout", "init": "ka-both", "condition": None}, "give condition too"),
        ({"learn": "readout", "init": "ka-both", "ema": 0.9}, "leave out ema and inherent_weight"),
        ({"norms": "sometimes"}, "option norms is 'sometimes': give learn, which took its place"),
        ({"diameters": True}, "condition and diameters exclude each other"),
        ({"condition": "pressure"}, "condition is 'pressure'"),
    ],
)
def test_options_that_contradict_it(liquids, options, message):
    with pytest.raises(InputError, match=message):
        fit_network(liquids, **{**OPTIONS, **options})


def test_the_readout_is_the_least_squares_solution(model, liquids):
    """No direction in the space of its weights lowers the training error by more than the ridge allows."""
    from propensity.estimators.training_config import TrainingConfig
    from propensity.training.graphs import labelled_graph

    config = TrainingConfig(**{k: v for k, v in OPTIONS.items() if k != "progress"})
    graphs = [labelled_graph(sample, config, model.card, torch.float32) for sample in liquids]
    answers = Answers(model.conditions, torch.float32)

    def error():
        with torch.no_grad():
            return float(
                sum(
                    (answers(model.network(g), g) - g.labels).square().mean(1)[g.types == 0].mean()
                    for g in graphs
                )
            )

    network = model.network
    weight = network.readout.weight.detach().clone()
    best = error()
    rng = torch.Generator().manual_seed(0)
    for _ in range(5):
        with torch.no_grad():
            network.readout.weight.add_(0.05 * torch.randn(weight.shape, generator=rng))
        assert error() > best
        with torch.no_grad():
            network.readout.weight.copy_(weight)
    with torch.no_grad():
        network.readout.weight.zero_()
    solve_readout(network, graphs, answers)
    assert error() == pytest.approx(best, rel=1e-3)


def test_a_resumed_run_repeats_the_uninterrupted_one(liquids, tmp_path, monkeypatch):
    import os
    import signal

    from propensity.training import callbacks

    options, liquids = {**OPTIONS, "select": "last", "epochs": 2}, liquids[1:5]
    whole = fit_network(liquids, **options)
    count, original = iter(range(1, 10**6)), callbacks.History.on_train_batch_end

    def hook(self, *args):
        if next(count) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        original(self, *args)

    monkeypatch.setattr(callbacks.History, "on_train_batch_end", hook)
    with pytest.raises(TrainingInterrupted) as stopped:
        fit_network(liquids, folder=tmp_path, **options)
    assert isinstance(stopped.value.estimator, ConditionedEstimator)
    monkeypatch.undo()
    resumed = fit_network(liquids, folder=tmp_path, resume=True, **options)
    for name, value in whole.arrays().items():
        assert np.array_equal(value, resumed.arrays()[name]), name


def test_adjusting_keeps_the_norms(model, liquids, tmp_path):
    folder = save_model(tmp_path, model)
    tuned = fit_network(liquids, **{**OPTIONS, "epochs": 1, "init": str(folder), "learn": "adjust"})
    before, after = model.arrays(), tuned.arrays()
    running = [name for name in before if "running" in name]
    assert running
    assert all(np.array_equal(before[name], after[name]) for name in running)
    assert not np.array_equal(before["convolutions.0.mix.0"], after["convolutions.0.mix.0"])


def test_the_readout_alone(model, liquids, tmp_path):
    folder = save_model(tmp_path, model)
    found = fit_network(liquids[3:], **{**OPTIONS, "init": str(folder), "learn": "readout"})
    before, after = model.arrays(), found.arrays()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed <= {"readout.weight", "readout.bias"}
    assert [state.temperature for state in found.conditions.state_points] == [0.5, 0.6]
    score = evaluate(found, [at_temperature(0.5, seed) for seed in (7, 8)], n_resamples=1)
    assert score.pooled.min() > 0.9


def test_scores_say_slope_and_mean_ratio(tiny_model):
    estimator = load_model(tiny_model)
    sample = make_sample(0)
    predicted = estimator.predict(sample.structure)
    labelled = replace(
        sample, times=np.array(estimator.card.times), propensities=1 + 2 * np.abs(predicted), halves=None
    )
    score = evaluate(estimator, [labelled], n_resamples=1)
    assert Inputs(estimator.card).scalars(sample.structure) is None
    if (predicted > 0).all():
        assert np.allclose(score.slope, 2)
    assert np.allclose(
        score.mean_ratio[0] * predicted[sample.structure.types == 0].mean(0),
        labelled.propensities[sample.structure.types == 0].mean(0),
    )
    assert score.to_dict()["species"]["A"]["slope"] == pytest.approx(score.slope[0], abs=1e-5)
