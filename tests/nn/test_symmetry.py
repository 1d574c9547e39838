"""The network is what the paper says: its parameter counts, and every symmetry at random and at trained
weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn.o3 import rand_matrix

from propensity.errors import InputError
from propensity.estimators.card import Card
from propensity.estimators.inputs import Inputs
from propensity.graph import build_graph
from propensity.nn import SE3GNN
from propensity.structure import Structure
from tests.conftest import make_liquid

#: Particles; the box is then narrower than twice the cutoff, so that images matter.
N = 40
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


@pytest.mark.parametrize("l_max, count", [(0, 2657), (1, 5381), (2, 11633), (3, 23177)])
def test_parameters_are_those_of_the_paper(l_max, count):
    assert sum(p.numel() for p in SE3GNN(l_max=l_max).parameters()) == count


@pytest.mark.parametrize("l_max, first, later", [(0, 2, 6), (1, 4, 24), (2, 6, 66), (3, 8, 144)])
def test_radial_weights_an_edge(l_max, first, later):
    """8 at layer 0 and 144 = 34·4 + 4·2 later at l_max 3."""
    network = SE3GNN(l_max=l_max, n_layers=2)
    assert [c.layout.n_comb for c in network.convolutions] == [first, later]


def test_outputs_and_species_generalise():
    network = SE3GNN(3, 5, l_max=2, channels=3, n_layers=2, n_basis=6, cutoff=1.5, readout="species")
    liquid = make_liquid(60)
    three = Structure(liquid.positions, np.arange(60) % 3, liquid.cell)
    assert network(build_graph(three, 1.5)).shape == (60, 5)


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


def moved_liquid(seed=0):
    """Inherent positions of a sort, with a thermal offset, which networks that don't see it ignore."""
    liquid, rng = make_liquid(N, seed=seed), np.random.default_rng(seed)
    return Structure(
        liquid.positions, liquid.types, liquid.cell, thermal_offset=0.1 * rng.normal(size=(N, 3))
    )


@pytest.fixture(scope="module", params=["random", "norms filled", "thermal layer"])
def network(request, dtype):
    """Network in eval mode, at random weights, or after training mode has filled the batch-norm buffers."""
    torch.manual_seed(3)
    more = {"offset_scale": 0.1, "thermal_layers": 1} if request.param == "thermal layer" else {}
    network = SE3GNN(2, 3, l_max=3, n_layers=3, readout="species", kernel="reference", **more).to(dtype)
    if request.param != "random":
        network.train()
        with torch.no_grad():
            for seed in range(3):
                network(graph_of(network, moved_liquid(seed)))
        assert all((norm.running_var != 1).any() for norm in network.norms)
    return network.eval()


def graph_of(network, structure):
    seen = "both" if network.offset_scale else "thermal"
    card = Card(
        kind="se3gnn",
        species=("A", "B"),
        times=(1.0,),
        cutoff=network.cutoff,
        config=network.config,
        input_positions=seen,
    )
    return Inputs(card).graph(structure, dtype=network.readout.weight.dtype)


@torch.no_grad()
def outputs(network, structure):
    graph = graph_of(network, structure)
    return network.hidden(graph), network(graph)


def assert_close(a, b):
    """Equal relative to the largest number."""
    scale = max(a.abs().max().item(), 1e-3)
    assert (a - b).abs().max().item() <= TOLERANCE[a.dtype] * scale


def wigner(network, rotation, dtype):
    """Exact in float64 only where that is the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return network.irreps.D_from_matrix(rotation).to(dtype)
    finally:
        torch.set_default_dtype(before)


def test_hidden_features_of_every_l_rotate(network, dtype):
    liquid, rotation = moved_liquid(), rand_matrix(dtype=torch.float64)
    turned = Structure(
        liquid.positions @ rotation.numpy().T,
        liquid.types,
        liquid.cell @ rotation.numpy().T,
        thermal_offset=liquid.thermal_offset @ rotation.numpy().T,
    )
    layers, output = outputs(network, liquid)
    turned_layers, turned_output = outputs(network, turned)
    matrix = wigner(network, rotation, dtype)
    for features, turned_features in zip(layers, turned_layers, strict=True):
        for part, expected in zip(
            torch.split(turned_features, [m * ir.dim for m, ir in network.irreps], 1),
            torch.split(features @ matrix.T, [m * ir.dim for m, ir in network.irreps], 1),
            strict=True,
        ):
            assert_close(part, expected)
    assert_close(turned_output, output)
    assert output.std() > 1e-3  # a constant would be invariant too


def test_output_is_invariant_under_translation(network):
    liquid = moved_liquid()
    moved = Structure(
        liquid.positions + [0.3, -7.1, 2.2], liquid.types, liquid.cell, thermal_offset=liquid.thermal_offset
    )
    assert_close(outputs(network, moved)[1], outputs(network, liquid)[1])


def test_output_follows_a_permutation(network):
    liquid, order = moved_liquid(), np.random.default_rng(1).permutation(N)
    shuffled = Structure(
        liquid.positions[order], liquid.types[order], liquid.cell, thermal_offset=liquid.thermal_offset[order]
    )
    assert_close(outputs(network, shuffled)[1], outputs(network, liquid)[1][order])


def test_output_is_invariant_under_periodic_wrapping(network):
    liquid, rng = moved_liquid(), np.random.default_rng(2)
    wrapped = Structure(
        liquid.positions + rng.integers(-3, 4, (N, 3)) @ liquid.cell,
        liquid.types,
        liquid.cell,
        thermal_offset=liquid.thermal_offset,
    )
    assert_close(outputs(network, wrapped)[1], outputs(network, liquid)[1])


def test_supercell_repeats_the_values(network):
    liquid = moved_liquid()
    double = Structure(
        np.concatenate([liquid.positions, liquid.positions + liquid.cell[0]]),
        np.tile(liquid.types, 2),
        liquid.cell * [[2], [1], [1]],
        thermal_offset=np.tile(liquid.thermal_offset, (2, 1)),
    )
    single = outputs(network, liquid)[1]
    assert_close(outputs(network, double)[1], torch.cat([single, single]))


def test_mirror_image_is_told_apart():
    """Parity is ignored: 1⊗1→1 is a path, so that chirality can be seen."""
    torch.manual_seed(0)
    network = SE3GNN(l_max=2, n_layers=4, kernel="reference").double().eval()
    liquid = make_liquid(N)
    mirrored = Structure(liquid.positions * [-1, 1, 1], liquid.types, liquid.cell)
    assert (outputs(network, mirrored)[1] - outputs(network, liquid)[1]).abs().max() > 1e-6


@pytest.mark.parametrize(
    "options, message",
    [
        ({"channels": 0}, "channels is 0"),
        ({"l_max": -1}, "l_max is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"cutoff": 0.0}, "cutoff is 0"),
        ({"readout": "each"}, "readout is 'each'"),
        ({"thermal_layers": -1}, "thermal_layers is -1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        SE3GNN(**options)
