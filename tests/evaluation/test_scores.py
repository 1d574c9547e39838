"""evaluate: a known predictor gets the scores it must get; what can't be compared is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from propensity.errors import DataError, InputError, PropensityWarning
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.storage import load_model
from propensity.evaluation import evaluate, pearson
from propensity.evaluation.report import plot_pearson, plot_scatter, score_table
from propensity.evaluation.scores import match_times
from tests.training.conftest import make_sample


class Oracle(Estimator):
    """Knows labels by the first coordinate; ``noise`` spoils them."""

    kind = "oracle"

    def __init__(self, samples, noise=0.0, input_positions="thermal", **card):
        values = {
            "kind": "oracle",
            "species": ("A", "B"),
            "times": (1.0, 10.0),
            "input_positions": input_positions,
            **card,
        }
        self.card, self.noise = Card(**values), noise
        self.known = {}
        for sample in samples:
            places = sample.structure.positions if input_positions == "thermal" else sample.inherent_positions
            self.known[float(places[0, 0])] = sample.propensities

    @classmethod
    def fit(cls, train, valid=(), options=None, **values):
        return cls(train)

    def predict(self, structure):
        labels = self.known[float(structure.positions[0, 0])]
        rng = np.random.default_rng(len(structure))
        return labels + self.noise * rng.normal(size=labels.shape)

    def arrays(self):
        return {}

    @classmethod
    def restore(cls, card, arrays):
        raise NotImplementedError


@pytest.fixture
def samples():
    return [make_sample(seed) for seed in range(4)]


@pytest.mark.parametrize("input_positions", ["thermal", "inherent"])
def test_perfect_predictions_score_one(samples, input_positions):
    score = evaluate(Oracle(samples, input_positions=input_positions), samples)
    for values in (score.pooled, score.per_structure, score.pooled_interval, score.per_structure_interval):
        np.testing.assert_allclose(values, 1.0)
    assert score.species == ("A", "B") and score.n_particles.tolist() == [384, 96]


def test_scores_are_those_of_all_particles_and_of_each_structure(samples):
    oracle = Oracle(samples, noise=0.05)
    score = evaluate(oracle, samples, species=["B"])
    pairs = [
        (oracle.predict(s.structure)[s.structure.types == 1], s.propensities[s.structure.types == 1])
        for s in samples
    ]
    pooled = pearson(*(np.concatenate(side) for side in zip(*pairs, strict=True)))
    np.testing.assert_allclose(score.pooled[0], pooled)
    np.testing.assert_allclose(score.per_structure[0], np.mean([pearson(*pair) for pair in pairs], axis=0))
    assert (score.pooled_interval[0] <= score.pooled).all() and (
        score.pooled <= score.pooled_interval[1]
    ).all()


def test_ceiling_needs_halves_of_every_structure(samples):
    full = evaluate(Oracle(samples), samples)
    assert ((full.ceiling > 0.5) & (full.ceiling <= 1)).all()
    some = [replace(samples[0], halves=None), *samples[1:]]
    assert np.isnan(evaluate(Oracle(some), some).ceiling).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: replace(s, times=np.array([1.0, 20.0])), "times"),
        (lambda s: replace(s, species=("Cu", "Zr")), "species"),
    ],
)
def test_samples_that_differ_are_refused(samples, change, message):
    with pytest.raises(DataError, match=message):
        evaluate(Oracle(samples), [samples[0], change(samples[1])])


def test_missing_inherent_positions_are_named(samples):
    bare = [replace(s, inherent_positions=None) for s in samples]
    with pytest.raises(DataError, match=r"toy/0 has no inherent positions"):
        evaluate(Oracle(samples, input_positions="inherent"), bare)


@pytest.mark.parametrize(
    "species, message", [(["C"], "'C' is unknown"), (["B"], "was not trained on 'B': choose from \\['A'\\]")]
)
def test_species_without_predictions_are_refused(samples, species, message):
    with pytest.raises(InputError, match=message):
        evaluate(Oracle(samples, trained_species=("A",)), samples, species=species)


def test_no_structures_are_refused(samples):
    with pytest.raises(DataError, match="no structures"):
        evaluate(Oracle(samples), [])


def test_times_are_matched_by_value():
    assert match_times(np.array([1.0, 10.0, 50.0]), np.array([0.1, 1.01, 49.9])) == [(0, 1), (2, 2)]
    with pytest.raises(DataError, match="none agree"):
        match_times(np.array([1.0]), np.array([3.0]))


def test_times_can_be_paired_by_index(samples):
    crossed = evaluate(Oracle(samples), samples, pairs=[(0, 1)])
    assert crossed.times.tolist() == [1.0] and crossed.data_times.tolist() == [10.0]
    assert crossed.pooled[0, 0] < 0.999


def test_report_is_complete(samples, tmp_path):
    score = evaluate(Oracle(samples, noise=0.05), samples)
    plain = json.loads(json.dumps(score.to_dict()))
    assert plain["species"]["A"]["pearson_pooled"] == pytest.approx(score.pooled[0].tolist(), abs=1e-5)
    assert np.shape(plain["species"]["A"]["pearson_pooled_interval"]) == (2, 2)
    assert score_table(score).row_count == 4
    for draw, name in ((plot_pearson, "p.png"), (plot_scatter, "s.png")):
        draw(score, tmp_path / name)
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_network_on_a_toy_data_set(tiny_model, samples):
    three = [s.at_columns([0, 1, 1], times=np.array([1.0, 10.0, 100.0])) for s in samples]
    score = evaluate(load_model(tiny_model), three)
    assert score.pooled.shape == (2, 3) and np.isfinite(score.pooled).all()


def test_structures_unlike_those_of_the_training_are_named_once(samples):
    first = samples[0].structure
    like = {
        "density": float(first.density),
        "composition": tuple(first.composition(2)),
        "potential": "lj/cut",
    }
    oracle = Oracle(samples, **like)
    evaluate(oracle, [replace(s, potential="lj/cut") for s in samples])  # no warning
    evaluate(oracle, samples)  # nothing is said of an interaction that isn't known
    with pytest.warns(PropensityWarning, match="toy/0: number density is 1.2") as seen:
        evaluate(Oracle(samples, **{**like, "density": 1.0}), samples)
    assert len(seen) == 1
    with pytest.warns(PropensityWarning, match="composition is"):
        evaluate(Oracle(samples, **{**like, "composition": (0.5, 0.5)}), samples)
    with pytest.warns(PropensityWarning, match="interaction is 'wca' and the model was trained on 'lj/cut'"):
        evaluate(oracle, [replace(s, potential="wca") for s in samples])


def test_a_ceiling_of_too_few_particles_is_unknown(samples):
    score = evaluate(Oracle(samples), samples[:1])
    assert score.n_particles.tolist() == [96, 24]
    assert np.isfinite(score.ceiling[0]).all() and np.isnan(score.ceiling[1]).all()
    assert "0.000" not in "".join(str(c) for c in score_table(score).columns[3].cells)


def test_data_in_other_units_score_as_those_in_sigma(tiny_model, samples):
    three = [s.at_columns([0, 1, 1], times=np.array([1.0, 10.0, 100.0])) for s in samples]
    expected = evaluate(load_model(tiny_model), three)
    angstrom = [replace(s.in_units_of(1 / 2.7), length_scale=1.0) for s in three]
    score = evaluate(load_model(tiny_model), angstrom, length_scale=2.7)
    np.testing.assert_allclose(score.pooled, expected.pooled, atol=1e-5)
    np.testing.assert_allclose(score.ceiling, expected.ceiling, atol=1e-9)
