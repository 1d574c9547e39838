"""The gated network of several temperatures: trained, asked, stored, and followed by autograd."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import propensity.physics.cage
from propensity import Predictor, load_model, save_model
from propensity.errors import DataError, InputError
from propensity.estimators.conditioned import ConditionedEstimator
from propensity.estimators.gated import GatedEstimator
from propensity.estimators.inputs import input_structure
from propensity.evaluation import evaluate_state_points
from tests.estimators.test_gated import FEW, caged

#: Temperature → times; the last is τ_α.
TIMES = {0.4: [0.1, 1.0, 10.0, 100.0], 0.5: [0.1, 0.7, 20.0]}


def at_temperature(temperature, seed):
    """Labels that hang on the way from the cage to the thermal position, the more so the later, about a mean
    that rises with temperature and time.
    """
    sample = caged(seed)
    times = np.array(TIMES[temperature])
    offset = sample.structure.positions - sample.inherent_positions
    offset *= 0.12 * np.sqrt(temperature) / np.median(np.linalg.norm(offset, axis=1))
    way = np.linalg.norm(sample.cage.offset[1] - offset, axis=1)
    stage = np.log(times / 0.1) / np.log(times[-1] / 0.1)
    mean = np.sqrt(temperature) * (0.2 + 0.3 * stage)
    labels = mean * (1 + (way / way.mean() - 1)[:, None] * (0.1 + 0.3 * stage))
    thermal = sample.structure.with_positions(sample.inherent_positions + offset)
    return replace(
        sample,
        structure=thermal,
        times=times,
        propensities=labels,
        temperature=temperature,
        tau_alpha=times[-1],
        name=f"toy{temperature}/{seed}",
        potential="lj/cut",
    )


@pytest.fixture(scope="module")
def model() -> ConditionedEstimator:
    liquids = [at_temperature(temperature, seed) for temperature in TIMES for seed in range(2)]
    return GatedEstimator.fit(
        [*liquids, at_temperature(0.4, 3)],
        **{**FEW, "epochs": 7, "learning_rate": 5e-3},
        condition="temperature",
    )


def seen(sample):
    return input_structure(sample, "both")


def test_it_learns_every_temperature_and_time(model):
    held = [at_temperature(temperature, seed) for temperature in TIMES for seed in (7, 8)]
    for temperature in TIMES:
        (score,) = evaluate_state_points(
            model, [s for s in held if s.temperature == temperature], "test", n_resamples=1
        ).values()
        assert score.pooled.min() > 0.8
        assert np.allclose(score.mean_ratio, 1, atol=0.08)
    assert model.card.cage_recipe == {"radii": [0.25, 0.45], "steps": 700, "centred": False}


def test_a_temperature_gives_an_ordinary_model(model, tmp_path):
    structure = seen(at_temperature(0.5, 7))
    one = model.at(0.47, [0.3, 5.0])
    assert type(one) is GatedEstimator and one.card.conditions is None
    assert one.card.cage_recipe == {
        "radii": [0.25, 0.45],
        "steps": 700,
        "centred": False,
        "temperature": 0.47,
    }
    c = model.conditions
    features = model.network.passed(model_graph(model, structure)).features
    assert len(features) == 1
    with torch.no_grad():
        modes = model.network(model_graph(model, structure)).double().numpy()
    expected = modes @ c.basis(0.47, [0.3, 5.0]) * c.std(0.47, [0.3, 5.0])[structure.types]
    expected += c.mean(0.47, [0.3, 5.0])[structure.types]
    np.testing.assert_allclose(one.predict(structure), expected, rtol=1e-4)
    again = load_model(save_model(tmp_path / "one", one))
    np.testing.assert_allclose(again.predict(structure), expected, atol=2e-3)


def model_graph(model, structure):
    from propensity.estimators.gated_examples import gated_inputs

    return gated_inputs(structure, model.network)


def test_without_a_temperature_each_structure_tells_its_own(model):
    structures = [seen(at_temperature(temperature, 7)) for temperature in TIMES]
    found = [model.infer_temperature(structure) for structure in structures]
    assert found == pytest.approx(list(TIMES), abs=1e-3)
    for structure, temperature, predicted in zip(
        structures, found, model.unchecked_many(structures), strict=True
    ):
        direct = model.at(temperature, model.card.times).predict(structure)
        np.testing.assert_allclose(predicted, direct, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.predict(structure), direct, rtol=1e-4, atol=1e-6)


def test_a_trained_network_is_a_start(model, tmp_path):
    """All but the readout, which starts at zero: the answer is the mean at each temperature and time."""
    one = save_model(tmp_path / "one", model.at(0.5, [0.3, 5.0]))
    liquids = [at_temperature(temperature, seed) for temperature in TIMES for seed in range(2)]
    few = {**FEW, "epochs": 1, "learning_rate": 1e-12, "condition": "temperature"}
    begun = GatedEstimator.fit(liquids, **few, init=str(one))
    ours, theirs = begun.network.state_dict(), model.network.state_dict()
    for name, value in ours.items():
        if name in ("out", "bias"):
            assert float(value.abs().max()) < 1e-9
        else:
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match=r"has another network .*'layers'.*: use the same options"):
        GatedEstimator.fit(liquids, **{**few, "n_layers": 4}, init=str(one))
    with pytest.raises(InputError, match="init is 'ka-both', a model of kind 'se3gnn': give one of kind"):
        GatedEstimator.fit(liquids, **few, init="ka-both")


def test_stored_and_loaded(model, tmp_path):
    found = load_model(save_model(tmp_path, model))
    assert isinstance(found, ConditionedEstimator) and found.card.conditions == model.card.conditions
    structure = seen(at_temperature(0.5, 7))
    np.testing.assert_allclose(found.predict(structure), model.predict(structure), rtol=1e-4)


def test_gradients_follow_thermal_positions(model):
    structure = seen(at_temperature(0.5, 7))
    steps = torch.zeros(len(structure), 3, requires_grad=True)
    answers = model.traced(structure, steps)
    np.testing.assert_allclose(answers.detach().numpy(), model.predict(structure), rtol=1e-3, atol=1e-5)
    (gradient,) = torch.autograd.grad(answers[:, -1].sum(), steps)
    moved, step = structure, 1e-3
    direction = torch.randn(len(structure), 3, generator=torch.manual_seed(0))
    with torch.no_grad():
        up, down = (model.traced(moved, sign * step * direction)[:, -1].sum() for sign in (1, -1))
    assert torch.isclose((up - down) / (2 * step), (gradient * direction).sum(), rtol=0.05)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")  # no liquid
@pytest.mark.parametrize("temperature", [0.45, None])
def test_cage_states_are_made_at_the_temperature(model, tmp_path, monkeypatch, temperature):
    sample = at_temperature(0.5, 7)
    asked = []

    def made(structure, potential, temperature, radii, **how):
        assert how == {"steps": 700, "centred": False}
        asked.append((potential, temperature, list(radii)))
        return sample.cage

    monkeypatch.setattr(propensity.physics.cage, "cage_state", made)
    predictor = Predictor(
        save_model(tmp_path, model), device="cpu", potential="lj/cut", temperature=temperature
    )
    minimum = sample.structure.at_minimum(sample.inherent_positions)
    predictor.predict(minimum)
    expected = model.infer_temperature(minimum) if temperature is None else temperature
    assert asked == [("lj/cut", pytest.approx(expected), [0.25, 0.45])]


def test_what_cannot_be_is_said(model, tmp_path):
    sample = at_temperature(0.5, 1)
    with pytest.raises(DataError, match=r"all structures are at temperature 0\.5"):
        GatedEstimator.fit([sample], **FEW, condition="temperature")
    with pytest.raises(DataError, match="has no temperature"):
        GatedEstimator.fit([replace(sample, temperature=None)], **FEW, condition="temperature")
    with pytest.raises(InputError, match=r"temperature is 0\.7: the model was trained at 0\.4 to 0\.5"):
        model.at(0.7)
    wrong = model.card.model_copy(update={"species": ("A", "B", "C")})
    with pytest.raises(DataError, match="its network is for 2 species and 14 modes, the card for 3 and 14"):
        type(model).restore(wrong, model.arrays())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predictor = Predictor(save_model(tmp_path, model), device="cpu", temperature=0.45)
        with pytest.raises(InputError, match="give potential="):
            predictor.predict(sample.structure)
