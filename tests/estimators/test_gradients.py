"""Gradients of predictions: finite differences, what is held, and what the cutoff does."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from propensity.errors import InputError
from propensity.estimators.bapst import BapstEstimator
from propensity.estimators.card import Card
from propensity.estimators.gated import GatedEstimator
from propensity.estimators.gradients import kept
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.storage import save_model
from propensity.graph import build_graph
from propensity.nn import SE3GNN
from propensity.nn.bapst import BapstGNN
from propensity.nn.gated import GatedNetwork
from propensity.predictor import Predictor
from propensity.structure import CageState, Structure
from tests.conftest import make_liquid

pytestmark = pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")

N, TIMES = 40, (1.0, 10.0, 100.0)
SMALL = dict(scalars=6, vectors=4, quadrupoles=3, sent_scalars=4, sent_vectors=3, products=2, hidden=8)
RADII = [0.3, 0.4]
#: As cards without a number of steps have it.
STEPS = 1650


def card_of(kind: str, network: torch.nn.Module, **values: object) -> Card:
    known = {
        "kind": kind,
        "name": "small",
        "config": network.config,
        "species": ("A", "B"),
        "cutoff": 1.6,
        "times": TIMES,
        "default_time_index": 1,
        "density": 1.2,
        "composition": (0.8, 0.2),
        "target_mean": [[0.1, 0.2, 0.4], [0.2, 0.4, 0.8]],
        "target_std": [[0.02, 0.05, 0.1], [0.05, 0.1, 0.2]],
    }
    return Card(**{**known, **values})


def se3(folder: Path, positions: str = "thermal", **options: object) -> Path:
    """A random network of two layers whose norms have seen a liquid."""
    torch.manual_seed(1)
    more = {"offset_scale": 0.1, "thermal_layers": 1} if positions == "both" else {}
    network = SE3GNN(2, 3, l_max=1, n_layers=2, cutoff=1.6, dropout=0.0, **more, **options).train()
    network.kernel = "reference"
    for k in range(3):
        graph = build_graph(make_liquid(seed=k), 1.6)
        graph.thermal_edge_index, graph.thermal_edge_vec = graph.edge_index, graph.edge_vec
        graph.thermal_offset = 0.1 * torch.randn(len(graph.types), 3)
        network(graph)
    return save_model(folder, SE3Estimator(network, card_of("se3gnn", network, input_positions=positions)))


def gated(folder: Path, inputs: str = "thermal", pair_force: bool = False) -> Path:
    torch.manual_seed(2)
    layers = ["thermal", inputs, "thermal"]
    network = GatedNetwork(
        layers, inputs, n_outputs=3, cutoff=1.6, readout=8, widths=SMALL, pair_force=pair_force
    )
    recipe = {"temperature": 0.5, "radii": RADII} if inputs == "cage" else {}
    positions = "thermal" if inputs == "thermal" else "both"
    card = card_of("gated", network, input_positions=positions, cage_recipe=recipe)
    return save_model(folder, GatedEstimator(network, card))


def bapst(folder: Path) -> Path:
    torch.manual_seed(3)
    network = BapstGNN(3, n_recurrences=2, width=8, cutoff=1.6)
    config = {"n_recurrences": 2, "width": 8, "cutoff": 1.6, "predicts_untrained": False}
    return save_model(folder, BapstEstimator(network, card_of("bapst", network, config=config)))


MODELS = {
    "se3gnn": se3,
    "se3gnn, smooth": lambda folder: se3(folder, envelope=True),
    "se3gnn, both": lambda folder: se3(folder, "both"),
    "gated": gated,
    "gated, inherent": lambda folder: gated(folder, "inherent"),
    "gated, cage": lambda folder: gated(folder, "cage"),
    "bapst": bapst,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: make(folder / str(k)) for k, (name, make) in enumerate(MODELS.items())}


def structure_for(predictor: Predictor, seed: int = 5) -> Structure:
    """A liquid, at its made-up minimum with a made-up cage state where the model wants them."""
    thermal, rng = make_liquid(N, seed=seed), np.random.default_rng(seed)
    if predictor.card.input_positions == "thermal":
        return thermal
    structure = thermal.at_minimum(thermal.positions + 0.05 * rng.normal(size=(N, 3)))
    if not predictor.card.cage_recipe:
        return structure
    offset = 0.03 * rng.normal(size=(2, N, 3))
    half = 0.1 * rng.normal(size=(2, N, 3, 3))
    covariance = 0.05**2 * (half @ half.transpose(0, 1, 3, 2) + np.eye(3))
    state = CageState(np.array(RADII), offset, covariance, np.full(2, 0.01), STEPS, structure.positions)
    return structure.with_cage(state)


def stepped(structure: Structure, step: np.ndarray) -> Structure:
    """Thermal positions after a step; the minimum and cage state as they were."""
    if structure.thermal_offset is None:
        return structure.with_positions(structure.positions + step)
    moved = structure.thermal_offset + step
    return Structure(
        structure.positions, structure.types, structure.cell, structure.pbc, moved, cage=structure.cage
    )


def slope(predictor: Predictor, structure: Structure, value: object, direction: np.ndarray) -> float:
    """Central difference along a direction."""
    h = 1e-6
    ahead, behind = (value(predictor.predict(stepped(structure, s * direction))) for s in (h, -h))
    return (ahead - behind) / (2 * h)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length_scale", [1.0, 2.5])
def test_finite_differences(models, name, length_scale):
    predictor = Predictor(
        models[name], device="cpu", dtype="float64", kernel="reference", length_scale=length_scale
    )
    structure, rng = structure_for(predictor).scaled(length_scale), np.random.default_rng(0)
    weights, direction = rng.normal(size=(N, len(TIMES))), rng.normal(size=(N, 3))
    value, gradient = predictor.value_and_gradient(structure, weights)
    assert value == pytest.approx((weights * predictor.predict(structure)).sum(), rel=1e-10)
    expected = slope(predictor, structure, lambda p: (weights * p).sum(), direction)
    assert abs(expected) > 1e-6
    # Rectifiers have corners: one of them within the step costs some digits.
    assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-5 if "gated" in name else 1e-3)
    # All particles together move nothing but, where minima are held, the offsets.
    if structure.thermal_offset is None:
        assert np.abs(gradient.sum(axis=0)).max() < 1e-12 * np.abs(gradient).sum()


@pytest.mark.parametrize("name", MODELS)
def test_single_precision_agrees(models, name):
    one, two = (
        Predictor(models[name], device="cpu", dtype=dtype, kernel="reference")
        for dtype in ("float32", "float64")
    )
    structure, weights = structure_for(one), np.random.default_rng(0).normal(size=N)
    a, b = one.gradient(structure, weights), two.gradient(structure, weights)
    assert a.dtype == np.float64 and np.abs(a - b).max() < 1e-4 * np.abs(b).max()


@pytest.mark.parametrize("name", ["se3gnn", "se3gnn, smooth", "se3gnn, both"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fast_kernel_gives_the_gradient_of_the_reference(models, name, dtype):
    pytest.importorskip("numba")
    fast, slow = (
        Predictor(models[name], device="cpu", dtype=dtype, kernel=kernel) for kernel in ("cpu", "reference")
    )
    structure, weights = structure_for(fast), np.random.default_rng(0).normal(size=(N, len(TIMES)))
    a, b = (predictor.gradient(structure, weights) for predictor in (fast, slow))
    assert np.abs(a - b).max() < (1e-4 if dtype == "float32" else 1e-11) * np.abs(b).max()


def test_weights_of_particles_are_for_the_default_time_and_functions_are_followed(models):
    predictor = Predictor(models["gated"], device="cpu", dtype="float64")
    structure, weights = structure_for(predictor), np.arange(N, dtype=float)
    full = np.zeros((N, len(TIMES)))
    full[:, 1] = weights
    expected = predictor.gradient(structure, full)
    assert np.array_equal(predictor.gradient(structure, weights), expected)
    given = torch.tensor(weights)
    found = predictor.gradient(structure, lambda p: (given * p[:, 1]).sum())
    assert np.allclose(found, expected, rtol=1e-12, atol=0)
    value, _ = predictor.value_and_gradient(structure, lambda p: p[:, 2].square().mean().exp())
    assert value == pytest.approx(np.exp(np.square(predictor.predict(structure)[:, 2]).mean()))


def test_committees_and_chosen_times(models, tmp_path):
    paths = [models["gated"], Path(shutil.copytree(models["gated"], tmp_path / "same"))]
    alone, both = (Predictor(p, device="cpu", dtype="float64", times=100.0) for p in (paths[0], paths))
    structure, weights = structure_for(alone), np.ones(N)
    assert np.allclose(alone.gradient(structure, weights), both.gradient(structure, weights), rtol=1e-12)
    with pytest.raises(InputError, match="2 models have features of their own"):
        both.feature_gradient(structure, weights)
    joined = both.features(structure)
    assert joined.values.shape[1] == 2 * alone.features(structure).values.shape[1] == len(joined.names)


def test_minimum_and_cage_are_held(models):
    """What follows and what is held, by moving one and then the other."""
    predictor = Predictor(models["gated, cage"], device="cpu", dtype="float64")
    structure = structure_for(predictor)
    assert kept(predictor.card) == (
        "thermal positions, in edges between them and in their offsets; minima and cage states are held"
    )
    direction = np.random.default_rng(0).normal(size=(N, 3))
    gradient = predictor.gradient(structure, np.ones(N))
    held = slope(predictor, structure, lambda p: p[:, 1].sum(), direction)
    assert (gradient * direction).sum() == pytest.approx(held, rel=1e-5)

    def everything(step: np.ndarray) -> float:
        """The minimum and its cage moved along, the thermal offset unchanged."""
        cage = structure.cage
        centres = CageState(
            cage.radii, cage.offset, cage.covariance, cage.error, STEPS, cage.inherent_positions + step
        )
        moved = Structure(
            structure.positions + step,
            structure.types,
            structure.cell,
            structure.pbc,
            structure.thermal_offset,
            cage=centres,
        )
        return predictor.predict(moved)[:, 1].sum()

    along = (everything(1e-6 * direction) - everything(-1e-6 * direction)) / 2e-6
    assert abs(along - held) > 1e-2 * abs(held)


def test_second_kind_of_edges_is_held(tmp_path):
    """Without layers of thermal edges, thermal positions act through the offsets alone."""
    torch.manual_seed(1)
    network = SE3GNN(2, 3, l_max=1, n_layers=1, cutoff=1.6, dropout=0.0, offset_scale=0.1)
    path = save_model(
        tmp_path / "m", SE3Estimator(network, card_of("se3gnn", network, input_positions="both"))
    )
    predictor = Predictor(path, device="cpu", dtype="float64", kernel="reference")
    structure = structure_for(predictor)
    weights = np.zeros(N)
    weights[0] = 1.0
    touched = np.abs(predictor.gradient(structure, weights)).max(axis=1) > 0
    from propensity.neighbours import neighbour_list

    (source, destination), _ = neighbour_list(structure, 1.6)
    expected = np.zeros(N, dtype=bool)
    expected[source[destination == 0]] = expected[0] = True
    assert not (touched & ~expected).any()
    assert touched.sum() > 0.8 * expected.sum()  # of some, all rectifiers are shut


def test_value_jumps_at_a_sharp_cutoff_and_not_under_an_envelope(models):
    """Two particles across the cutoff: one network steps, the other two don't, and nor do their slopes."""

    def at(predictor: Predictor, r: float) -> tuple[float, float]:
        pair = Structure([[0, 0, 0], [r, 0, 0], [0.9, 0.5, 0.2]], [0, 0, 1], 10.0, False)
        value, gradient = predictor.value_and_gradient(pair, np.array([1.0, 0, 0]))
        return value, gradient[1, 0]

    for name, jumps in (("se3gnn", True), ("se3gnn, smooth", False), ("gated", False)):
        predictor = Predictor(models[name], device="cpu", dtype="float64", kernel="reference")
        (inside, slope_inside), (outside, slope_outside) = (
            at(predictor, 1.6 - 1e-9),
            at(predictor, 1.6 + 1e-9),
        )
        assert (abs(inside - outside) > 1e-4) == jumps, name
        if not jumps:
            assert abs(inside - outside) < 1e-12
            assert abs(slope_inside - slope_outside) < 1e-6


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(N + 1), r"weights have shape \(41,\).*\(40,\) for the default time or \(40, 3\)"),
        (np.ones((N, 2)), r"weights have shape \(40, 2\)"),
        (np.full(N, "a"), "dtype <U1"),
        ([[1.0], [1.0, 2.0]], "weights can't be read as numbers"),
        (torch.ones(N, requires_grad=True), "weights can't be read as numbers"),
        (np.ma.masked_array(np.ones(N), mask=np.arange(N) == 3), "weights are masked in places"),
        (lambda p: p.sum() + 1j, "gave torch.complex64: it must return a torch tensor of one real number"),
        (np.full(N, np.nan), "NaN or infinite"),
        (lambda p: p, r"gave \(40, 3\): it must return a torch tensor of one real number"),
        (lambda p: 1.0, "gave float: it must return"),
        (lambda p: torch.zeros(()), "that was made from its argument"),
        (lambda p: (p[0, 0] - p[0, 0]).log(), "gave -inf"),
    ],
)
def test_weights_that_cannot_be_used(models, weights, message):
    predictor = Predictor(models["gated"], device="cpu")
    with pytest.raises(InputError, match=message):
        predictor.gradient(structure_for(predictor), weights)


@pytest.mark.parametrize("axis", [2, 1, 0])
@pytest.mark.parametrize("pbc", [True, False])
def test_particles_in_a_plane_stay_there(tmp_path, axis, pbc):
    """Networks that tell left from right have a slope across the plane, which is none of the liquid's."""
    torch.manual_seed(1)
    network = SE3GNN(2, 3, l_max=1, n_layers=2, cutoff=1.6, dropout=0.0, envelope=True)
    path = save_model(tmp_path / "m", SE3Estimator(network, card_of("se3gnn", network, dimension=2)))
    predictor = Predictor(path, device="cpu", dtype="float64", kernel="reference")
    rng = np.random.default_rng(0)
    sites = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2)
    positions = np.insert(sites + 0.3 * rng.random((36, 2)), axis, 1.5, axis=1)
    edges = np.where(np.arange(3) == axis, 9.0, 6.0) if pbc else np.zeros(3)
    structure = Structure(positions, np.arange(36) % 2, np.diag(edges), pbc)
    traced, steps = predictor.estimators[0], torch.zeros(36, 3, dtype=torch.float64, requires_grad=True)
    (free,) = torch.autograd.grad(traced.traced(structure, steps)[:, 1].sum(), steps)
    assert structure.across == axis and float(free[:, axis].abs().max()) > 1e-8
    expected = free.numpy().copy()
    expected[:, axis] = 0.0
    found = predictor.gradient(structure, np.ones(36))
    assert np.allclose(found, expected, atol=1e-14) and np.abs(found).max() > 1e-6
    features = predictor.feature_gradient(structure, lambda f: f.sum())
    assert not features[:, axis].any() and features.any()


def test_species_outside_the_loss(tmp_path, models):
    torch.manual_seed(1)
    network = SE3GNN(2, 3, l_max=1, n_layers=1, cutoff=1.6)
    card = card_of("se3gnn", network, trained_species=("A",))
    predictor = Predictor(save_model(tmp_path / "m", SE3Estimator(network, card)), kernel="reference")
    structure = structure_for(predictor)
    is_a = structure.types == 0
    assert np.abs(predictor.gradient(structure, is_a.astype(float))).max() > 0
    with pytest.raises(InputError, match="not zero for particles of a species that the model was not"):
        predictor.gradient(structure, np.ones(N))
    with pytest.raises(InputError, match="gave nan: predictions are NaN for species"):
        predictor.gradient(structure, lambda p: p.mean())


def test_models_without_gradient(tmp_path):
    from propensity.estimators.ridge import RidgeEstimator

    ridge = object.__new__(RidgeEstimator)
    with pytest.raises(InputError, match="a ridge model has no gradient: choose a network"):
        ridge.traced(make_liquid(N), torch.zeros(N, 3))
    with pytest.raises(InputError, match="a ridge model has no features"):
        ridge.features(make_liquid(N), None, None)
    network = SE3GNN(2, 3, l_max=1, n_layers=1, cutoff=1.6)
    card = card_of("se3gnn", network, input_positions="inherent")
    inherent = Predictor(save_model(tmp_path / "inherent", SE3Estimator(network, card)), device="cpu")
    with pytest.raises(InputError, match="sees the energy minimum alone"):
        inherent.gradient(make_liquid(N), np.ones(N))
    recipe = {"potential_energy": "lj/cut", "mean": [0, 0], "std": [1, 1]}
    network = SE3GNN(2, 3, l_max=1, n_layers=1, cutoff=1.6, n_extra=1)
    card = card_of("se3gnn", network, scalar_recipe=recipe)
    energy = Predictor(save_model(tmp_path / "energy", SE3Estimator(network, card)), device="cpu")
    with pytest.raises(InputError, match="reads the local potential energy"):
        energy.gradient(make_liquid(N), np.ones(N))


@pytest.mark.parametrize("name", [name for name in MODELS if name != "bapst"])
def test_readout_of_the_features_is_the_prediction(models, name):
    predictor = Predictor(models[name], device="cpu", dtype="float64", kernel="reference")
    structure = structure_for(predictor)
    features = predictor.features(structure)
    assert features.values.shape == (N, len(features.names)) and len(set(features.names)) == len(
        features.names
    )
    assert features.irreps == f"{len(features.names)}x0e"
    network = predictor.estimators[0].network
    if "se3gnn" in name:
        parts = [network] if network.thermal is None else [network, network.thermal]
        first, standardised = 0, 0.0
        for part in parts:
            n = part.readout.in_features
            weight, bias = (p.detach().numpy() for p in part.readout.parameters())
            standardised = standardised + features.values[:, first : first + n] @ weight.T + bias
            first += n
        card = predictor.card
        mean, std = (np.array(x)[structure.types] for x in (card.target_mean, card.target_std))
        assert np.allclose(standardised * std + mean, predictor.predict(structure), rtol=1e-10)


@pytest.mark.parametrize("name", ["se3gnn", "se3gnn, both", "gated, cage"])
@pytest.mark.parametrize("layer", [None, 0, -1])
def test_features_turn_as_their_irreps_say(models, name, layer):
    """Invariants stay; the norm of every irrep stays; vectors turn as positions do."""
    from scipy.spatial.transform import Rotation

    predictor = Predictor(models[name], device="cpu", dtype="float64", kernel="reference")
    structure = structure_for(predictor)
    turn = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    cage = structure.cage
    if cage is not None:
        cage = CageState(
            cage.radii,
            cage.offset @ turn.T,
            turn @ cage.covariance @ turn.T,
            cage.error,
            STEPS,
            cage.inherent_positions @ turn.T,
        )
    offset = None if structure.thermal_offset is None else structure.thermal_offset @ turn.T
    turned = Structure(
        structure.positions @ turn.T, structure.types, structure.cell @ turn.T, True, offset, cage=cage
    )
    before, after = (predictor.features(s, layer) for s in (structure, turned))
    assert before.names == after.names and before.irreps == after.irreps
    first = 0
    for part in before.irreps.split("+"):
        count, _, kind = part.partition("x")
        dim = 2 * int(kind[0]) + 1
        stop = first + int(count) * dim
        a, b = (f.values[:, first:stop].reshape(N, -1, dim) for f in (before, after))
        assert np.allclose(np.linalg.norm(a, axis=2), np.linalg.norm(b, axis=2), atol=1e-9)
        if dim == 3:
            assert np.allclose(a @ turn.T, b, atol=1e-9) and np.abs(a - b).max() > 1e-3
        first = stop
    assert first == before.values.shape[1]


@pytest.mark.parametrize(("name", "layer"), [("se3gnn, smooth", None), ("gated, cage", None), ("gated", 1)])
def test_gradients_of_features(models, name, layer):
    predictor = Predictor(models[name], device="cpu", dtype="float64", kernel="reference")
    structure, rng = structure_for(predictor), np.random.default_rng(0)
    weights = rng.normal(size=predictor.features(structure, layer).values.shape)
    direction = rng.normal(size=(N, 3))
    gradient = predictor.feature_gradient(structure, weights, layer)
    ahead, behind = (
        (weights * predictor.features(stepped(structure, s * direction), layer).values).sum()
        for s in (1e-6, -1e-6)
    )
    assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2e-6, rel=1e-4)


def test_layers_that_there_are_not(models):
    predictor = Predictor(models["gated"], device="cpu")
    with pytest.raises(InputError, match="layer is 3: the network has 3, give 0 to 2, or -1 for the last"):
        predictor.features(structure_for(predictor), 3)
