from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from propensity.errors import DataError, InputError
from propensity.estimators.bapst import BapstEstimator, published_estimator
from propensity.estimators.storage import load_model, save_model, shipped_models
from propensity.graph import build_graph
from propensity.nn.bapst import BapstGNN, published_weights, random_cube_symmetry
from tests.estimators.conftest import make_sample

#: Structures at random on a lattice, which the published model has never seen the like of.
UNLIKE = pytest.mark.filterwarnings("ignore:.*neighbourhoods that no training particle had")


def reference(weights, structure, cutoff: float, n_recurrences: int, dtype=np.float64) -> np.ndarray:
    """Plain numpy from the published description: dense pairs, full concatenations, no tricks."""
    weights = {name: array.astype(dtype) for name, array in weights.items()}

    def mlp(name, x, final_linear=False):
        layers = sorted({int(k.split(".")[1]) for k in weights if k.startswith(name + ".")})
        for k in layers:
            x = x @ weights[f"{name}.{k}.weight"].T + weights[f"{name}.{k}.bias"]
            if not (final_linear and k == layers[-1]):
                x = np.maximum(x, 0)
        return x

    box = np.diag(structure.cell)
    delta = structure.positions[None] - structure.positions[:, None]
    delta -= box * np.round(delta / box)
    senders, receivers = np.nonzero(np.linalg.norm(delta, axis=2) < cutoff)  # self-edges included
    edge0 = mlp("encode_edge", delta[senders, receivers].astype(dtype))
    node0 = mlp("encode_node", structure.types[:, None].astype(dtype))
    edge, node = edge0, node0
    for _ in range(n_recurrences):
        edges, nodes = np.concatenate([edge, edge0], 1), np.concatenate([node, node0], 1)
        edge = mlp("update_edge", np.concatenate([edges, nodes[receivers], nodes[senders]], 1))
        received = np.zeros((len(node), edge.shape[1]), dtype)
        np.add.at(received, receivers, edge)
        node = mlp("update_node", np.concatenate([received, nodes], 1))
    return mlp("decode_node", node, final_linear=True)


def test_parameter_count():
    assert sum(p.numel() for p in BapstGNN().parameters()) == 70_721


@UNLIKE
def test_published_weights_match_an_independent_evaluation(structure):
    model = load_model("bapst-t044-s09")
    exact = reference(model.arrays(), structure, 2.0, 7)
    assert np.std(exact) > 1e-3
    double = load_model("bapst-t044-s09").to(dtype=torch.float64).predict(structure)
    np.testing.assert_allclose(double, exact, rtol=1e-12)


@UNLIKE
def test_float32_differs_by_rounding_only(structure):
    model = load_model("bapst-t044-s09")
    exact = reference(model.arrays(), structure, 2.0, 7)
    rounding = np.abs(reference(model.arrays(), structure, 2.0, 7, np.float32) - exact)
    ours = np.abs(model.predict(structure) - exact)
    assert 0 < ours.max() < 3 * rounding.max() and ours.max() < 1e-5


def test_published_behaviour(shared):
    from propensity.data import open_dataset

    sample = open_dataset(shared / "bapst" / "test_large.pickle")[0]
    k = int(np.argmin(np.abs(sample.times - 0.13)))
    predicted, label = load_model("bapst-t044-s09").predict(sample.structure)[:, 0], sample.propensities[:, k]
    a = sample.structure.types == 0
    assert np.corrcoef(predicted, label)[0, 1] == pytest.approx(0.567, abs=2e-3)
    assert np.corrcoef(predicted[a], label[a])[0, 1] == pytest.approx(0.9346, abs=1e-3)


def test_published_file_gives_the_shipped_model(shared):
    made = published_estimator(np.load(shared / "bapst" / "t044_s09_weights.npz"))
    shipped = load_model("bapst-t044-s09")
    assert set(made.arrays()) == set(shipped.arrays())
    assert all(np.array_equal(array, shipped.arrays()[name]) for name, array in made.arrays().items())
    for name in ("config", "species", "times", "target_mean", "target_std", "trained_species", "cutoff"):
        assert getattr(made.card, name) == getattr(shipped.card, name), name
    assert "bapst-t044-s09" in shipped_models()


def test_missing_variable_is_named():
    with pytest.raises(DataError, match="Graph/graph_independent/node_model/mlp/linear_0/w"):
        published_weights({})


def test_a_new_network_starts_near_zero(structure):
    torch.manual_seed(0)
    with torch.no_grad():
        assert BapstGNN()(build_graph(structure, 2.0)).abs().max() < 3


def test_cube_symmetries_are_all_48():
    generator = torch.Generator().manual_seed(0)
    seen = {tuple(random_cube_symmetry(generator).flatten().tolist()) for _ in range(1000)}
    wanted = set()
    for permutation, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1.0, -1.0), repeat=3)
    ):
        wanted.add(tuple((np.eye(3)[list(permutation)] * np.array(signs)[:, None]).ravel().tolist()))
    assert len(wanted) == 48 and seen == wanted


@UNLIKE
def test_permutation_and_translation(structure):
    model = load_model("bapst-t044-s09").to(dtype=torch.float64)
    before = model.predict(structure)
    order = np.random.default_rng(0).permutation(len(structure))
    moved = type(structure)(
        structure.positions[order] + 0.3, structure.types[order], structure.cell, structure.pbc
    )
    np.testing.assert_allclose(model.predict(moved), before[order], rtol=1e-11)


def test_fit_learns():
    train, test = [make_sample(k, n=343) for k in range(2)], make_sample(7, n=343)
    model = BapstEstimator.fit(train, epochs=100, width=32, n_recurrences=2, device="cpu")
    a = test.structure.types == 0
    assert np.corrcoef(model.predict(test.structure)[a, 1], test.propensities[a, 1])[0, 1] > 0.35


def test_fit_is_reproducible_and_survives_the_disk(samples, tmp_path):
    options = dict(epochs=3, width=8, n_recurrences=2, seed=1, device="cpu")
    model = BapstEstimator.fit(samples[:3], **options)
    structure = samples[3].structure
    predicted = model.predict(structure)
    a = structure.types == 0
    assert predicted.shape == (len(structure), 2)
    assert np.isnan(predicted[~a]).all() and np.isfinite(predicted[a]).all()
    again = load_model(save_model(tmp_path / "m", model))
    np.testing.assert_array_equal(again.predict(structure), predicted)
    np.testing.assert_array_equal(BapstEstimator.fit(samples[:3], **options).predict(structure), predicted)


def test_fit_leaves_the_global_seed_alone(samples):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    BapstEstimator.fit(samples[:1], epochs=1, width=4, n_recurrences=1, device="cpu")
    assert torch.rand(1) == expected


@pytest.mark.parametrize(
    "options, message",
    [
        ({"epoch": 3}, "the nearest is 'epochs'"),
        ({"epochs": 0}, "option epochs is 0"),
        ({"trained_species": ("C",)}, "trained_species"),
    ],
)
def test_bad_options_are_one_sentence(samples, options, message):
    with pytest.raises(InputError, match=message) as caught:
        BapstEstimator.fit(samples[:1], **options)
    assert "\n" not in str(caught.value)


def test_unknown_type_is_refused(structure):
    bad = type(structure)(structure.positions, structure.types + 1, structure.cell)
    with pytest.raises(InputError, match="type 2"):
        load_model("bapst-t044-s09").predict(bad)


def test_encoded_self_edges_matter(structure):
    model = load_model("bapst-t044-s09")
    graph = build_graph(structure, 2.0)
    with torch.no_grad():
        full = model.network(graph)
    lonely = type(structure)(structure.positions[:1], structure.types[:1], structure.cell)
    with torch.no_grad():
        alone = model.network(build_graph(lonely, 2.0))
    assert np.isfinite(alone.numpy()).all() and alone[0] != full[0]
    np.testing.assert_allclose(alone.numpy(), reference(model.arrays(), lonely, 2.0, 7), rtol=1e-4)
