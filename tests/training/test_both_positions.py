"""Models that see inherent structures with the offset from there to the thermal positions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from e3nn.o3 import rand_matrix

import propensity.physics.quench
from propensity import Predictor
from propensity.errors import DataError, InputError
from propensity.estimators.inputs import input_structure
from propensity.estimators.storage import load_model, save_model
from propensity.evaluation import evaluate
from propensity.graph import join_graphs
from propensity.nn import SE3GNN
from propensity.structure import Structure
from propensity.training import fit_network
from propensity.training.graphs import labelled_graph
from propensity.training.network_card import typical_offset
from tests.conftest import make_liquid
from tests.training.conftest import SMALL, make_sample

BOTH = {**SMALL, "input_positions": "both", "kernel": "cpu"}


@pytest.fixture(scope="module")
def telling():
    """Samples whose labels are the length of the offset."""
    samples = []
    for seed in range(6):
        sample = make_sample(seed)
        moved = np.random.default_rng(seed).normal(size=(len(sample), 3)) * 0.1
        labels = np.linalg.norm(moved, axis=1)[:, None] * [1.0, 2.0]
        samples.append(
            replace(
                sample,
                propensities=labels,
                inherent_positions=sample.structure.positions - moved,
                halves=None,
                potential="lj/cut",
            )
        )
    return samples


@pytest.fixture(scope="module")
def trained(telling):
    options = {**BOTH, "epochs": 20, "dropout": 0.0, "schedule": "cosine", "learning_rate": 2e-2}
    return fit_network(telling[:5], telling[5:], **options)


def test_what_the_displacement_tells_is_learned(telling, trained):
    assert trained.card.input_positions == "both"
    assert trained.network.offset_scale == pytest.approx(0.1, rel=0.1)
    assert (evaluate(trained, telling[5:], n_resamples=1).pooled[0] > 0.8).all()


def test_saved_and_loaded(telling, trained, tmp_path):
    structure = input_structure(telling[5], "both")
    loaded = load_model(save_model(tmp_path / "model", trained))
    np.testing.assert_array_equal(loaded.predict(structure), trained.predict(structure))


def test_the_displacement_is_the_short_way_to_the_thermal_positions(telling):
    sample = telling[0]
    away = sample.inherent_positions + sample.structure.cell[0]  # the same minimum, in the next cell
    found = input_structure(replace(sample, inherent_positions=away), "both")
    step = sample.structure.positions - sample.inherent_positions
    np.testing.assert_allclose(found.thermal_offset, step, atol=1e-12)
    assert input_structure(sample, "inherent").thermal_offset is None
    assert typical_offset([sample]) == pytest.approx(np.sqrt(np.mean(step**2)))


def test_rotations_turn_the_displacement_too(telling, trained):
    structure = input_structure(telling[5], "both")
    torch.manual_seed(0)
    rotation = rand_matrix(dtype=torch.float64).numpy().T
    turned = Structure(
        structure.positions @ rotation,
        structure.types,
        structure.cell @ rotation,
        thermal_offset=structure.thermal_offset @ rotation,
    )
    expected = trained.predict(structure)
    np.testing.assert_allclose(trained.predict(turned), expected, rtol=1e-3, atol=1e-4)
    still = Structure(turned.positions, turned.types, turned.cell, thermal_offset=structure.thermal_offset)
    assert np.nanmax(np.abs(trained.predict(still) - expected)) > 1e-2


def test_lengths_scale_with_the_structure(telling):
    structure = input_structure(telling[0], "both")
    np.testing.assert_allclose(structure.scaled(2.5).thermal_offset, 2.5 * structure.thermal_offset)


def test_a_predictor_quenches_and_keeps_the_way_back(telling, trained, tmp_path, monkeypatch):
    sample = telling[5]
    path = save_model(tmp_path / "model", trained)
    seen = []

    def quench(structure, potential, length_scale=1.0):
        seen.append(potential)
        return structure.with_positions(sample.inherent_positions)

    monkeypatch.setattr(propensity.physics.quench, "inherent_structure", quench)
    expected = trained.predict(input_structure(sample, "both"))
    predictor = Predictor(path, potential="lj/cut", species_map=None)
    np.testing.assert_allclose(predictor.predict(sample.structure), expected, rtol=1e-5)
    # A structure that says where its thermal positions are is at a minimum already.
    np.testing.assert_allclose(predictor.predict(input_structure(sample, "both")), expected, rtol=1e-5)
    assert seen == ["lj/cut"]
    with pytest.raises(InputError, match=r"give potential=\.\.\. \(--potential\) and thermal"):
        Predictor(path).predict(sample.structure)


def test_a_model_of_thermal_positions_refuses_it(telling, tiny_model):
    with pytest.raises(InputError, match="give the thermal structure"):
        Predictor(tiny_model).predict(input_structure(telling[5], "both"))


def test_a_thermal_network_beside_it_learns_from_thermal_neighbours():
    """Labels count thermal neighbours, which positions disturbed by a third of a distance hardly tell."""
    samples = []
    for seed in range(8):
        sample, rng = make_sample(seed), np.random.default_rng(seed)
        moved = 0.3 * rng.normal(size=(len(sample), 3))
        samples.append(replace(sample, inherent_positions=sample.structure.positions - moved))
    options = {**BOTH, "epochs": 25, "dropout": 0.0, "schedule": "cosine", "learning_rate": 4e-2}
    trained = [fit_network(samples[:6], **options, thermal_layers=n) for n in (0, 1)]
    blind, seeing = (evaluate(network, samples[6:], n_resamples=1).pooled[0, 0] for network in trained)
    assert seeing > 0.6 > 0.3 > blind


def test_a_thermal_network_joins_a_trained_one(telling, trained, tmp_path):
    start = save_model(tmp_path / "model", trained)
    options = {**BOTH, "epochs": 1, "learning_rate": 1e-9, "dropout": 0.0}
    more = fit_network(telling[:2], **options, thermal_layers=1, init=str(start)).network
    for name, value in trained.network.named_parameters():
        torch.testing.assert_close(dict(more.named_parameters())[name], value, rtol=1e-4, atol=1e-6)
    with_both = save_model(tmp_path / "both", fit_network(telling[:2], **options, thermal_layers=1))
    with pytest.raises(InputError, match=r"has another network.*thermal_layers"):
        fit_network(telling[:2], **options, init=str(with_both))


def test_batches_hold_it(telling):
    from propensity.estimators.training_config import TrainingConfig
    from propensity.training.network_card import network_card

    options = {key: value for key, value in BOTH.items() if key != "progress"}
    config = TrainingConfig(**options, thermal_layers=1)
    graphs = [labelled_graph(s, config, network_card(telling, config), torch.float32) for s in telling[:2]]
    joined = join_graphs(graphs)
    np.testing.assert_array_equal(joined.thermal_offset, torch.cat([g.thermal_offset for g in graphs]))
    network = SE3GNN(2, 2, l_max=1, n_layers=2, offset_scale=0.1, thermal_layers=1).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(joined), torch.cat([network(graph) for graph in graphs]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inherent_weight": 0.5}, "inherent_weight asks for the thermal offset"),
        ({"l_max": 0}, "input_positions='both' needs vectors"),
        ({"thermal_layers": 1, "input_positions": "inherent"}, "thermal_layers needs input_positions='both'"),
    ],
)
def test_options_that_contradict_it(telling, options, message):
    with pytest.raises(InputError, match=f"options can't be used: {message}"):
        fit_network(telling[:2], **{**BOTH, **options})


def test_data_without_minima(telling):
    with pytest.raises(
        DataError, match=r"has no inherent positions: add them by `propensity convert --quench`"
    ):
        fit_network([replace(telling[0], inherent_positions=None)], **BOTH)


@pytest.mark.parametrize("value", [-0.1, float("nan"), 0.1])
def test_networks_that_cannot_take_it(value):
    with pytest.raises(InputError, match="offset_scale is"):
        SE3GNN(offset_scale=value, l_max=0)


@pytest.mark.parametrize(
    ("thermal_offset", "message"),
    [
        (np.zeros((3, 3)), r"thermal_offset has shape \(3, 3\) for 120 particles"),
        (np.full((120, 3), np.nan), "vectors of thermal_offset of 120 particle"),
        (np.zeros(120), r"vectors of thermal_offset have shape \(120,\)"),
    ],
)
def test_structures_that_cannot_hold_it(thermal_offset, message):
    liquid = make_liquid()
    with pytest.raises(InputError, match=message):
        Structure(liquid.positions, liquid.types, liquid.cell, thermal_offset=thermal_offset)
