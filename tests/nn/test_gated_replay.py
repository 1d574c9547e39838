"""Predictions of gated networks from a recording are those of the network called for each structure."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from propensity.estimators import gated_examples
from propensity.neighbours.sharing import sharing_graphs
from propensity.nn.gated import GatedNetwork, gated_graph, replay
from tests.conftest import make_liquid
from tests.nn.test_cuda_graph import run_again
from tests.nn.test_gated import SMALL, caged

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
LAYERS = {
    "cage": (("thermal", "cage"), "cage", 0),
    "thermal": (("thermal",), "thermal", 0),
    "guessed": (("thermal", "guessed"), "thermal", 2),
}


def network_of(name, device="cpu", seed=0):
    torch.manual_seed(seed)
    layers, inputs, n_guessed = LAYERS[name]
    network = GatedNetwork(layers, inputs, n_outputs=3, readout=5, n_guessed=n_guessed, widths=SMALL)
    if network.guess is not None:
        torch.nn.init.normal_(network.guess.weight)
        network.guess_scale += 0.02
    return network.eval().to(device)


def graphs(network, device="cpu"):
    """Of structures of equally many particles and more or fewer neighbours."""
    if network.inputs == "cage":
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        structures = [caged(), caged(turn), caged(None, np.random.default_rng(0).permutation(125))]
    else:
        structures = [make_liquid(125, seed=seed) for seed in range(3)]
    asked = network.cutoff, network.given_views, network.inputs
    return [gated_graph(structure, *asked, device=device) for structure in structures]


@pytest.mark.parametrize("name", list(LAYERS))
def test_a_recording_reads_the_graph_of_the_moment(name, monkeypatch):
    monkeypatch.setattr(replay, "record", run_again)
    network = network_of(name)
    seen = graphs(network)
    with torch.no_grad():
        recording = replay._Recording(network, min(seen, key=lambda graph: graph.neighbours.shape[1]))
        for graph in (*seen, seen[0]):
            if recording.fits(graph):
                np.testing.assert_allclose(recording(graph), network(graph), rtol=1e-4, atol=1e-5)
    most = max(graph.neighbours.shape[1] for graph in seen)
    assert recording.width % replay.STEP == 0 and recording.width > most - replay.STEP
    assert not recording.fits(gated_graph(make_liquid(64), 1.5, ("thermal",), "thermal"))


def test_what_is_recorded_and_what_is_out_of_date(monkeypatch):
    """The second in a row of a size; parameters that changed make a new one."""
    monkeypatch.setattr(replay, "record", run_again)
    network = network_of("thermal")
    graph, held = graphs(network)[0], replay._Held(network)
    small = gated_graph(make_liquid(64), network.cutoff, network.given_views, network.inputs)
    with torch.no_grad():
        assert held.recording(network, small) is None
        assert held.recording(network, graph) is None
        first = held.recording(network, graph)
        assert first is not None and held.recording(network, graph) is first
        network.bias += 1.0
        second = held.recording(network, graph)
        assert second is not first
        np.testing.assert_allclose(second(graph), network(graph), rtol=1e-4, atol=1e-5)
        assert held.recording(network, small) is None


def test_no_device_records_on_without_end(monkeypatch, caplog):
    def fails(run, device, beside=None):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(replay, "record", fails)
    network = network_of("thermal")
    graph, held = graphs(network)[0], replay._Held(network)
    for _ in range(3):
        assert held.recording(network, graph) is None
    assert len([record for record in caplog.records if "without CUDA graphs" in record.message]) == 1


def test_a_committee_makes_a_graph_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        gated_examples, "gated_graph", lambda *a, **k: made.append(gated_graph(*a, **k)) or made[-1]
    )
    networks, structure = [network_of("cage", seed=seed) for seed in (0, 1)], caged()
    with sharing_graphs(structure):
        first, second = (gated_examples.gated_inputs(structure, network) for network in networks)
        other = gated_examples.gated_inputs(caged(), networks[0])
    assert first is second and other is not first and len(made) == 2
    assert gated_examples.gated_inputs(structure, networks[0]) is not first


@gpu
@needs_gpu
@pytest.mark.parametrize("name", list(LAYERS))
def test_on_a_gpu_they_are_those_of_the_network(name):
    networks = [network_of(name, "cuda", seed) for seed in (0, 1)]
    seen = graphs(networks[0], "cuda")
    with torch.no_grad():
        for graph in (*seen, *seen):
            for network in networks:  # they share the memory of their recordings
                found = replay.outputs_of(network, graph)
                np.testing.assert_allclose(found, network(graph).cpu(), rtol=1e-4, atol=1e-5)
        assert all(replay._HELD[network].found is not None for network in networks)
        networks[0].bias += 1.0
        for graph in seen:
            np.testing.assert_allclose(
                replay.outputs_of(networks[0], graph), networks[0](graph).cpu(), rtol=1e-4, atol=1e-5
            )
    gone = weakref.ref(networks.pop(0))
    del network
    gc.collect()
    assert gone() is None
    with torch.no_grad():
        for graph in seen:
            found = replay.outputs_of(networks[0], graph)
            np.testing.assert_allclose(found, networks[0](graph).cpu(), rtol=1e-4, atol=1e-5)
