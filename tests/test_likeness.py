"""Structures that are like no training structure: refused where predictions mean nothing, else named."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from propensity import Predictor
from propensity.demo import load_demo
from propensity.errors import DataError, InputError, PropensityError, PropensityWarning
from propensity.estimators.card import Card
from propensity.estimators.likeness import MEANINGLESS, of_predictions
from propensity.estimators.ranges import TrainingRange, distance, training_range
from propensity.estimators.storage import load_model, save_model, shipped_models
from propensity.physics.kob_andersen import rms_force
from propensity.physics.quench import inherent_structure
from propensity.structure import Structure

from .conftest import make_liquid, make_tiny_model

pytestmark = pytest.mark.skipif("ka-default" not in shipped_models(), reason="no shipped models")


@pytest.fixture(scope="module")
def thermal():
    return load_demo().structure


@pytest.fixture(scope="module")
def predictor():
    return Predictor("ka-default", device="cpu")


@pytest.fixture(scope="module")
def minimum():
    """A small minimum of the force-shifted potential."""
    return inherent_structure(make_liquid(300, seed=3), "lj/cut force-shifted")


def seen(predictor, structure):
    """Likeness, and the topics that a user is warned about."""
    predictor._warned.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropensityWarning)
        predictor.predict(structure)
    return predictor.likeness(structure)


def test_a_structure_like_those_of_the_training_raises_no_doubt(predictor, thermal):
    likeness = predictor.likeness(thermal)  # a warning would be an error
    assert not likeness.out_of_distribution and likeness.outside < 0.002 and 0.74 < likeness.nearest < 0.85
    assert likeness.negative == int((predictor.predict(thermal) < 0).sum())


@pytest.mark.parametrize("apart", [0.3, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("model", ["ka-default", "tiny"])
def test_particles_that_overlap_are_refused_by_every_model(model, apart, predictor, thermal, tiny_model):
    positions = thermal.positions.copy()
    positions[0] = positions[1] + [apart, 0, 0]
    if model == "tiny":
        predictor = Predictor(tiny_model)
        apart == 0.3 and pytest.skip("between what a card without ranges allows and what it refuses")
    with pytest.raises(InputError, match=r"two particles are 0\.\d+ σ apart.*mean nothing"):
        predictor.predict(thermal.with_positions(positions))


def test_random_positions_at_the_right_density_are_refused(predictor, thermal):
    x = np.random.default_rng(0).random((4096, 3)) * thermal.cell[0, 0]
    for quench in (None, "lj/cut"):
        model = predictor if quench is None else Predictor("ka-inherent", potential=quench, device="cpu")
        with pytest.raises(InputError, match="two particles are"):
            model.predict(thermal.with_positions(x))


@pytest.mark.parametrize("factor", [0.5, 1.6, 2.0, 10.0])
def test_lengths_in_another_unit_are_refused(factor, predictor, thermal):
    with pytest.raises(InputError, match=r"length_scale"):
        predictor.predict(thermal.scaled(factor))


@pytest.mark.parametrize(
    ("change", "topics"),
    [
        (lambda s: Structure(s.positions, s.types, s.cell, False), {"boundaries", "neighbourhood"}),
        (lambda s: Structure(s.positions, s.types, s.cell * [[1], [1], [2]]), {"density", "neighbourhood"}),
        (
            lambda s: Structure(s.positions, s.types, s.cell * [[1], [1], [2]], [True, True, False]),
            {"boundaries", "neighbourhood"},
        ),
        (lambda s: Structure(s.positions, 1 - s.types, s.cell), {"composition", "neighbourhood"}),
        (lambda s: s.with_positions(squeezed(s.positions, s.cell[0, 0])), {"neighbourhood"}),
    ],
    ids=["open", "slab in vacuum", "slab", "species exchanged", "two densities in one box"],
)
def test_doubtful_structures_are_named_and_flagged(change, topics, predictor, thermal):
    likeness = seen(predictor, change(thermal))
    assert topics <= set(likeness.reasons) and likeness.out_of_distribution and likeness.outside > 0.01


def squeezed(positions, edge):
    """The same mean density, but denser in one half than in the other."""
    x = np.mod(positions, edge)
    x[:, 0] += 0.2 * edge / (2 * np.pi) * np.sin(2 * np.pi * x[:, 0] / edge)
    return x


def test_two_particles_nearer_than_any_in_training_are_named(predictor, thermal):
    positions = thermal.positions.copy()
    positions[0] = positions[1] + [0.6, 0, 0]
    likeness = seen(predictor, thermal.with_positions(positions))
    assert "neighbourhood" in likeness.reasons and likeness.nearest == pytest.approx(0.6, abs=0.05)


def test_forces_tell_minima_from_thermal_positions(predictor, minimum):
    inherent = Predictor("ka-inherent", device="cpu")
    assert rms_force(minimum, "lj/cut force-shifted") < 0.01 < rms_force(minimum, "lj/cut") < 1
    assert "positions" not in seen(inherent, minimum).reasons
    jittered = minimum.positions + 0.05 * np.random.default_rng(0).normal(size=(300, 3))
    moved = minimum.with_positions(jittered)
    with pytest.raises(InputError, match=r"no energy minimum \(forces of \d+.*have it minimised"):
        inherent.predict(moved)
    # Another liquid in other units may have a potential of its own: said, not refused.
    metal = Predictor("ka-inherent", device="cpu", length_scale=2.5)
    assert "positions" in seen(metal, moved.scaled(2.5)).reasons
    # The other way round it is a doubt.
    predictor._warned.clear()
    with pytest.warns(PropensityWarning, match="energy minimum.*thermal positions"):
        predictor.predict(minimum)


def test_weights_that_are_not_numbers_are_an_error(tmp_path, liquid):
    estimator = load_model(make_tiny_model(tmp_path / "m"))
    next(estimator.network.parameters()).data[:] = np.nan
    save_model(tmp_path / "nan", estimator)
    with pytest.raises(DataError, match="NaN or infinite in places"):
        Predictor(tmp_path / "nan")
    predictor = Predictor(tmp_path / "m")
    predictor.estimators[0].unchecked = lambda s: np.full((len(s), 3), np.nan)
    with pytest.raises(PropensityError, match="100% of the predictions are NaN"):
        predictor.predict(liquid)


def test_absurd_predictions_and_committees_that_disagree_are_doubts(tmp_path, liquid):
    card = load_model(make_tiny_model(tmp_path / "m")).card
    mean, std = (np.array(x)[liquid.types] for x in (card.target_mean, card.target_std))
    assert of_predictions(card, liquid, (mean + 3 * std)[None]) == {}
    assert set(of_predictions(card, liquid, (mean + 13 * std)[None])) == {"predictions"}
    split = np.stack([mean - 2 * std, mean + 2 * std])
    assert set(of_predictions(card, liquid, split)) == {"committee"}


def test_ranges_are_those_of_the_training_structures_and_survive_in_the_card(tmp_path):
    structures = [make_liquid(seed=k) for k in range(4)]
    known = training_range(structures, 3)
    assert known is not None and len(known.nearest) == 3
    for k in range(4):
        assert distance(known, structures[k]).outside < 0.02
    assert distance(known, structures[0].scaled(3)).outside > MEANINGLESS
    estimator = load_model(make_tiny_model(tmp_path / "m", training_range=known))
    assert estimator.card.training_range == known
    assert training_range([Structure(structures[0].positions, structures[0].types, 0.0, False)], 2) is None
    with pytest.raises(DataError, match="training_range"):
        bad = {**known.model_dump(), "nearest": [[2, 1, 0, 3]]}
        Card.from_dict({**estimator.card.model_dump(mode="json"), "training_range": bad})
    assert isinstance(known, TrainingRange)


@pytest.mark.parametrize("name", ["ka-default", "ka-inherent", "ka-both", "ka-cage", "bapst-t044-s09"])
def test_shipped_models_know_their_ranges(name):
    card = load_model(name).card
    assert card.training_range is not None and card.potential is not None
    least = 0.7 if card.input_positions == "thermal" else 0.8
    assert all(least < row[0] < row[3] < 1.2 for row in card.training_range.nearest)


@pytest.mark.parametrize("n", [1, 63, 64, 100, 256])
@pytest.mark.parametrize("spreads", [11.0, 13.0, -11.0, -13.0, np.nan])
def test_one_far_prediction_among_many_is_found(n, spreads):
    """The extremes at each time are looked at first, many particles at once: none may slip through."""
    card = load_model("ka-default").card
    mean, std = np.array(card.target_mean), np.array(card.target_std)
    structure = make_liquid(n)
    for row, time in ((0, 0), (n - 1, mean.shape[1] - 1), (n // 2, 3)):
        found = mean[structure.types] + 0.1 * std[structure.types]
        found[row, time] = (mean + spreads * std)[structure.types[row], time]
        assert set(of_predictions(card, structure, found[None])) == (
            {"predictions"} if abs(spreads) > 12 else set()
        )
