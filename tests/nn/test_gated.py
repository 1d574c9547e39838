"""The gated network: symmetries, its table of neighbours, and blocks that don't matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import propensity.nn.gated.network
from propensity.caging import CageState
from propensity.errors import InputError
from propensity.neighbours import neighbour_list
from propensity.nn.gated import GatedNetwork, gated_graph
from propensity.structure import Structure
from tests.conftest import make_liquid

SMALL = {"scalars": 6, "vectors": 4, "quadrupoles": 3, "sent_scalars": 4, "sent_vectors": 2, "products": 2}


def caged(turn: np.ndarray | None = None, order: np.ndarray | None = None) -> Structure:
    """A liquid with all views made up, turned and reordered."""
    turn = np.eye(3) if turn is None else turn
    liquid = make_liquid(125, seed=3)
    order = np.arange(125) if order is None else order
    random = np.random.default_rng(5)
    offset, cage = 0.1 * random.normal(size=(125, 3)), 0.05 * random.normal(size=(2, 125, 3))
    root = 0.1 * random.normal(size=(2, 125, 3, 3))
    covariance = root @ root.transpose(0, 1, 3, 2)
    positions = (liquid.positions @ turn.T)[order]
    structure = Structure(
        positions, liquid.types[order], liquid.cell @ turn.T, True, (offset @ turn.T)[order]
    )
    return structure.with_cage(
        CageState(
            np.array([0.25, 0.45]),
            (cage @ turn.T)[:, order],
            (turn @ covariance @ turn.T)[:, order],
            np.zeros(2),
            0,
            positions,
        )
    )


@pytest.fixture(params=[("thermal", "cage", "inherent"), ("thermal",), ("thermal", "guessed")])
def network(request) -> GatedNetwork:
    torch.manual_seed(0)
    inputs, n_guessed = "cage" if "cage" in request.param else "thermal", int("guessed" in request.param)
    sizes = {"n_outputs": 3, "readout": 5, "n_guessed": n_guessed, "widths": SMALL}
    network = GatedNetwork(request.param, inputs, **sizes).double()
    if network.guess is not None:
        torch.nn.init.normal_(network.guess.weight)
        network.guess_scale += 0.02
    for part in network.modules():
        part.measuring = True
    predicted(network, caged())
    for part in network.modules():
        part.measuring = False
    return network.eval()


def predicted(network: GatedNetwork, structure: Structure) -> np.ndarray:
    graph = gated_graph(structure, 2.0, network.given_views, network.inputs, dtype=torch.float64)
    with torch.no_grad():
        return network(graph).numpy()


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["rotation", "reflection"])
def test_invariant(network, sign):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn *= sign * np.sign(np.linalg.det(turn))
    expected = predicted(network, caged())
    assert expected.std(axis=0).min() > 0.05
    np.testing.assert_allclose(predicted(network, caged(turn)), expected, atol=1e-10)


def test_order_of_particles_doesnt_matter(network):
    order = np.random.default_rng(2).permutation(125)
    np.testing.assert_allclose(predicted(network, caged(order=order)), predicted(network, caged())[order])


def test_blocks_dont_matter(network, monkeypatch):
    expected = predicted(network, caged())
    for size in (100, 20):
        monkeypatch.setattr(propensity.nn.gated.network, "BLOCK", size)
        np.testing.assert_allclose(predicted(network, caged()), expected, atol=1e-12)


def test_neighbours_are_those_of_any_state():
    structure = caged()
    graph = gated_graph(structure, 2.0, ("thermal", "cage"), dtype=torch.float64)
    assert structure.thermal_offset is not None and structure.cage is not None
    moves = {"thermal": structure.thermal_offset, "cage": structure.cage.offset[-1]}
    pairs = set()
    for name, move in moves.items():
        index, vectors = neighbour_list(structure.with_positions(structure.positions + move), 2.0)
        near = graph.real.bool() & (torch.linalg.vector_norm(graph.vectors[name], dim=-1) < 2.0)
        assert int(near.sum()) == index.shape[1]
        assert graph.vectors[name][near].sum().item() == pytest.approx(vectors.sum().item(), abs=1e-8)
        pairs |= {
            (*pair, *np.round(v, 6))
            for pair, v in zip(index.T.tolist(), _at_rest(index, vectors, move), strict=True)
        }
    assert len(pairs) == int(graph.real.sum())


def _at_rest(index, vectors, move):
    return vectors.numpy() - move[index[0]] + move[index[1]]


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match=r"give potential=\.\.\. \(--potential\) and thermal positions"):
        gated_graph(make_liquid(), 2.0, ("thermal",), "cage")
    minimum = make_liquid().at_minimum(make_liquid().positions)
    with pytest.raises(InputError, match="sees cage states: give potential"):
        gated_graph(minimum, 2.0, ("cage",), "inherent")
    with pytest.raises(InputError, match=r"layers \['melted'\]"):
        GatedNetwork(("melted",))
