"""The gated network as a model: training, storage, the shipped committee and what it makes by itself."""

from __future__ import annotations

import os
import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

import propensity.physics.cage
from propensity import InputError, Predictor, inherent_structure, load_model, save_model
from propensity.caging import CageState
from propensity.errors import DataError
from propensity.estimators.gated import GatedEstimator
from propensity.estimators.gated_examples import gated_inputs
from propensity.estimators.inputs import input_structure, seen_structure
from propensity.estimators.single import in_single_precision
from propensity.evaluation import evaluate
from propensity.interrupts import TrainingInterrupted
from propensity.neighbours import neighbour_list
from propensity.nn.gated import Learner
from propensity.sample import Sample
from propensity.structure import Structure
from tests.conftest import make_liquid

FEW = {
    "epochs": 25,
    "n_layers": 3,
    "learning_rate": 1e-2,
    "average": 0.8,
    "dropout": 0.0,
    "pair_force": False,
    "device": "cpu",
}


def caged(seed: int, n: int = 120) -> Sample:
    """Labels that hang on the distance from the cage to the thermal position, and on species."""
    random = np.random.default_rng(seed)
    thermal = make_liquid(n, seed=seed)
    inherent = thermal.positions + 0.05 * random.normal(size=(n, 3))
    offset = 0.05 * random.normal(size=(2, n, 3))
    root = 0.05 * random.normal(size=(2, n, 3, 3))
    cage = CageState(
        np.array([0.25, 0.45]), offset, root @ root.transpose(0, 1, 3, 2), np.zeros(2), 700, inherent
    )
    way = np.linalg.norm(inherent + offset[1] - thermal.positions, axis=1)
    labels = np.stack([0.1 + way, 0.2 + 0.1 * thermal.types + way], axis=1)
    return Sample(
        thermal,
        np.array([1.0, 10.0]),
        labels,
        f"s{seed}",
        inherent_positions=inherent,
        cage=cage,
        temperature=0.44,
        potential="lj/cut force-shifted",
    )


def guessable(seed: int) -> Sample:
    """Minima and cages lie where the neighbours say: away from their sum."""
    sample = caged(seed)
    index, vectors = neighbour_list(sample.structure, 1.5)
    pull = np.zeros((120, 3))
    np.add.at(pull, index[1], vectors.numpy() * 0.05)
    inherent, cage = sample.structure.positions - pull, sample.cage
    return replace(
        sample,
        inherent_positions=inherent,
        cage=replace(cage, offset=np.stack([-pull, -pull]), inherent_positions=inherent),
    )


@pytest.fixture(scope="module")
def trained() -> GatedEstimator:
    return GatedEstimator.fit([caged(k) for k in range(4)], **FEW)


def test_it_learns_what_the_cage_tells_and_survives_a_file(trained, tmp_path):
    score = evaluate(trained, [caged(8), caged(9)], n_resamples=1)
    assert score.pooled.min() > 0.85
    again = load_model(save_model(tmp_path / "model", trained))
    structure = caged(8).structure.at_minimum(caged(8).inherent_positions).with_cage(caged(8).cage)
    np.testing.assert_allclose(again.predict(structure), trained.predict(structure), atol=2e-3)
    recipe = {"temperature": 0.44, "radii": [0.25, 0.45], "steps": 700, "centred": False}
    assert trained.card.cage_recipe == recipe


def test_cage_states_of_two_recipes_are_not_mixed():
    one, two = caged(0), caged(1)
    held = replace(
        two, cage=replace(two.cage, offset=two.cage.offset - two.cage.offset.mean(1, keepdims=True))
    )
    longer = replace(two, cage=replace(two.cage, steps_each=900))
    for other in (held, longer):
        with pytest.raises(DataError, match="states of s1 and s0 were not made alike"):
            GatedEstimator.fit([one, other], **FEW)
    assert GatedEstimator.fit([held], **FEW).card.cage_recipe["centred"]


def test_cage_states_unlike_those_of_the_training_are_refused_or_made_anew(trained, tmp_path, monkeypatch):
    sample, path = caged(8), save_model(tmp_path / "model", trained)
    bare = sample.structure.at_minimum(sample.inherent_positions)
    wide = replace(sample.cage, radii=np.array([0.25, 0.8]))
    offset = sample.cage.offset - sample.cage.offset.mean(axis=1, keepdims=True)
    held = replace(sample.cage, offset=offset)
    short = replace(sample.cage, steps_each=349)
    for cage, text in (
        (wide, r"walls at \[0.25, 0.8\]"),
        (held, "centre of mass was held"),
        (short, "of 349 steps of each replica, and those that the model learned from of 700: leave it out"),
    ):
        for potential in (None, "lj/cut force-shifted"):
            with pytest.raises(InputError, match=text):
                Predictor(path, device="cpu", potential=potential).predict(bare.with_cage(cage))
    monkeypatch.setattr(propensity.physics.cage, "cage_state", lambda *_, **__: sample.cage)
    seen = seen_structure(replace(sample, cage=wide), trained.card)
    np.testing.assert_array_equal(seen.cage.radii, sample.cage.radii)
    assert seen_structure(replace(sample, cage=short), trained.card).cage is sample.cage
    fewer = replace(sample.cage, steps_each=350)
    assert seen_structure(replace(sample, cage=fewer), trained.card).cage.steps_each == 350


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_training_with_what_it_has_learned(trained, monkeypatch, number):
    epoch = Learner.epoch

    def stopped_in_the_last(learner, order=None):
        if learner.step_number == 2 * (FEW["epochs"] - 1):
            os.kill(os.getpid(), number)
        return epoch(learner, order)

    before = signal.getsignal(number)
    monkeypatch.setattr(Learner, "epoch", stopped_in_the_last)
    with pytest.raises(TrainingInterrupted, match="after 24 of 25 epochs") as stopped:
        GatedEstimator.fit([caged(k) for k in range(4)], **FEW)
    assert signal.getsignal(number) is before
    model = stopped.value.estimator
    assert len(model.card.training["history"]) == 24
    assert evaluate(model, [caged(8), caged(9)], n_resamples=1).pooled.min() > 0.85


@pytest.mark.parametrize(("rate", "said"), [(1e-9, 1), (1e-2, 0)])
def test_a_network_that_learns_nothing_is_told_early(monkeypatch, rate, said):
    monkeypatch.setattr("propensity.estimators.gated.KNOWN_BY", 30)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        GatedEstimator.fit([caged(0), caged(1)], **{**FEW, "epochs": 31, "learning_rate": rate})
    assert len([w for w in heard if "after 30 steps the mean squared error is" in str(w.message)]) == said


def test_what_is_missing_is_named(trained, tmp_path):
    from dataclasses import replace

    with pytest.raises(DataError, match="s0 has no cage state or temperature: add cage states by"):
        GatedEstimator.fit([replace(caged(0), cage=None)], **FEW)
    model = save_model(tmp_path / "model", trained)
    with pytest.raises(InputError, match="sees more than thermal positions: give potential"):
        Predictor(model, device="cpu").predict(caged(0).structure)


def test_thermal_inputs_need_nothing_else():
    model = GatedEstimator.fit([caged(0)], **{**FEW, "epochs": 1}, inputs="thermal")
    assert model.predict(caged(1).structure).shape == (120, 2)


@pytest.mark.parametrize("inputs", ["thermal", "inherent"])
def test_what_inputs_dont_show_can_be_learned_beside_them(inputs):
    """The auxiliary loss changes what is learned, of structures of any sizes, and not what is needed."""
    train = [caged(0), caged(1, n=140)]
    few = {**FEW, "epochs": 2, "inputs": inputs}
    alone, beside = (GatedEstimator.fit(train, **few, auxiliary=weight) for weight in (0.0, 1.0))
    structure = caged(2).structure
    if inputs == "inherent":
        structure = structure.at_minimum(caged(2).inherent_positions)
    assert np.abs(alone.predict(structure) - beside.predict(structure)).max() > 1e-4
    assert beside.arrays().keys() == alone.arrays().keys()


def test_guessed_cages_are_learned_and_seen(tmp_path):
    """They lie where the minimum is on the other side, of which a dozen steps learn most."""
    few = {**FEW, "epochs": 12, "n_layers": 4}
    sample = guessable(7)
    model = GatedEstimator.fit([guessable(0)], **few, inputs="inherent", auxiliary=1.0, guess=True)
    assert model.network.layer_views == ("thermal", "thermal", "inherent", "guessed")
    structure = input_structure(sample, "both")
    with torch.no_grad():
        guess = model.network.passed(gated_inputs(structure, model.network)).guess
    moves = (guess @ model.network.guess_scale).numpy()
    assert np.corrcoef(moves.ravel(), sample.cage.offset[-1].ravel())[0, 1] > 0.7
    again = load_model(save_model(tmp_path / "model", model))
    np.testing.assert_allclose(again.predict(structure), model.predict(structure), atol=2e-3)


def test_thermal_positions_lead_to_minima_and_on_to_cages():
    """One step: what is guessed has the size of both ways, and neighbours are seen there."""
    few = {**FEW, "epochs": 1, "n_layers": 3, "inputs": "thermal", "auxiliary": 1.0}
    model = GatedEstimator.fit([guessable(0)], **few, guess=True)
    assert model.network.layer_views == ("thermal", "thermal", "guessed")
    cage = guessable(0).cage.offset[1]
    size = float(np.sqrt(np.square(cage).mean()))
    np.testing.assert_allclose(model.network.guess_scale, [size, 0.0, size], rtol=1e-5)
    before = model.predict(guessable(1).structure)
    with torch.no_grad():
        model.network.guess.weight += 1.0
    assert np.abs(model.predict(guessable(1).structure) - before).max() > 1e-3


def test_a_guess_must_be_taught():
    for values in ({"inputs": "thermal"}, {"inputs": "cage", "auxiliary": 0.5}):
        with pytest.raises(InputError, match="guess needs auxiliary > 0 and inputs that don't show cages"):
            GatedEstimator.fit([caged(0)], **FEW, **values, guess=True)


@pytest.mark.parametrize(("inputs", "cages"), [("cage", (True, True)), ("inherent", (True, False))])
def test_nothing_to_learn_beside_is_an_error(inputs, cages):
    from dataclasses import replace

    train = [caged(k) if has else replace(caged(k), cage=None) for k, has in enumerate(cages)]
    with pytest.raises(DataError, match="an auxiliary loss needs minima or cage states that"):
        GatedEstimator.fit(train, **FEW, inputs=inputs, auxiliary=0.5)


@pytest.fixture(scope="module")
def minimum() -> Structure:
    """A small glass, shaken, with a cage state made up."""
    glass = in_single_precision(inherent_structure(make_liquid(420), "lj/cut force-shifted", force=1e-2))
    random = np.random.default_rng(0)
    offset = 0.03 * random.normal(size=(2, 420, 3))
    offset -= offset.mean(axis=1, keepdims=True)
    covariance = np.broadcast_to(0.005 * np.eye(3), (2, 420, 3, 3))
    cage = CageState(np.array([0.25, 0.6]), offset, covariance, np.zeros(2), 4800, glass.positions)
    moved = glass.positions + 0.05 * random.normal(size=(420, 3))
    return glass.with_positions(moved).at_minimum(glass.positions).with_cage(cage)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")  # no liquid
def test_the_shipped_committee_knows_its_errors(minimum):
    predictor = Predictor("ka-cage", device="cpu", times=[13.0, 4120.0])
    assert len(predictor.estimators) == 1 + len(predictor.card.committee) >= 5 and predictor.is_calibrated
    columns = predictor.columns(minimum)
    assert list(columns) == ["propensity", "propensities", "propensity_std", "propensities_std"]
    assert columns["propensities"].shape == columns["propensities_std"].shape == (420, 2)
    assert (columns["propensity_std"] > 0.02).all()
    assert predictor.displacement_std(minimum).shape == (420,)
    longer = Predictor("ka-cage", device="cpu", times=[13.0, 4120.0], length_scale=2.0)
    twice = longer.columns(minimum.scaled(2.0))
    np.testing.assert_allclose(twice["propensities_std"], 2 * columns["propensities_std"], rtol=1e-3)
    with pytest.raises(InputError, match="doesn't know the spread of displacements at the chosen times"):
        Predictor("ka-cage", device="cpu", times=13.0).displacement_std(minimum)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")  # no liquid
def test_cage_states_are_made_once_and_given_ones_used(minimum, monkeypatch):
    made = []

    def cage_state(structure, potential, **recipe):
        made.append((potential, recipe))
        return minimum.cage

    monkeypatch.setattr(propensity.physics.cage, "cage_state", cage_state)
    predictor = Predictor("ka-cage-2", device="cpu", potential="lj/cut force-shifted")
    expected = predictor.predict(minimum)
    assert not made
    bare = Structure(minimum.positions, minimum.types, minimum.cell, True, minimum.thermal_offset)
    np.testing.assert_allclose(predictor.predict(bare), expected, atol=1e-9)
    recipe = {"temperature": 0.44, "radii": [0.25, 0.6], "steps": 4800, "centred": True}
    assert made == [("lj/cut force-shifted", recipe)]


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")  # no liquid
def test_scores_are_those_of_the_committee_that_predicts(minimum, monkeypatch):
    """Of thermal samples too: what the model sees is made from them, once for all members."""
    from propensity.estimators.mean import MeanEstimator, load_together

    made = []
    monkeypatch.setattr(
        propensity.physics.cage, "cage_state", lambda s, *_, **__: made.append(s) or minimum.cage
    )
    predicted = Predictor("ka-cage", device="cpu").predict(minimum)
    committee = load_together("ka-cage", "cpu")
    assert isinstance(committee, MeanEstimator) and committee.card.name == "ka-cage"
    thermal = Structure(minimum.positions + minimum.thermal_offset, minimum.types, minimum.cell)
    sample = Sample(
        thermal,
        np.array(committee.card.times),
        predicted,
        "own",
        inherent_positions=minimum.positions,
        temperature=0.44,
        potential="lj/cut force-shifted",
    )
    score = evaluate(committee, [sample], n_resamples=1)
    assert len(made) == 1 and score.pooled.min() > 1 - 1e-6
    assert not isinstance(load_together("ka-default", "cpu"), MeanEstimator)
