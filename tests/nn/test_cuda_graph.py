"""What surrounds a recording, shown without a GPU: padding, gradients, and the trace that a replay leaves."""

from __future__ import annotations

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from propensity.errors import InputError
from propensity.nn import SE3GNN
from propensity.nn import cuda_graph as module
from propensity.nn.kernels import available_kernels
from tests.nn.kernels.graphs import random_graph


class Loss(nn.Module):
    """Two losses of a network, and a part that no loss depends on; ``see`` is shown every graph first."""

    def __init__(self, network, see=lambda graph: graph):
        super().__init__()
        self.network, self.see, self.idle = network, see, nn.Linear(2, 2)

    def forward(self, graph):
        squares = (self.network(self.see(graph)) - graph.labels).square()
        return torch.stack([squares.mean(), squares.sum()])


def without_room(graph):
    """The edges there are, since the reference knows no particle that does not exist."""
    real = copy.copy(graph)
    n_edges = int((graph.edge_index[1] < len(graph.types)).sum())
    real.edge_index, real.edge_vec = graph.edge_index[:, :n_edges], graph.edge_vec[:n_edges]
    return real


def run_again(run, device, beside=None):
    """In place of a recording: every replay runs the function anew, to the same tensors."""
    results = run()

    def replay():
        for held, value in zip(results, run(), strict=True):
            held.copy_(value)

    return replay, results


def labelled(n_nodes, n_edges, seed=0):
    graph = random_graph(n_nodes, n_edges, dtype=torch.float32)
    graph.labels = torch.randn(n_nodes, 3, generator=torch.Generator().manual_seed(seed))
    return graph


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(module, "record", run_again)
    monkeypatch.setattr(module, "can_capture", lambda network: True)


def make_network():
    torch.manual_seed(0)
    return SE3GNN(2, 3, l_max=1, n_layers=2, dropout=0.0, kernel="reference").train()


def test_edges_fill_the_room_and_fields_follow(eager):
    seen = []

    def see(graph):
        seen.append(graph)
        return without_room(graph)

    recording = module.RecordedLosses(Loss(make_network(), see), labelled(10, 30), 50)
    other = labelled(10, 25, seed=1)
    recording(other)
    last = seen[-1]
    assert last.edge_index.shape == (2, 50) and last.edge_vec.shape == (50, 3)
    assert torch.equal(last.edge_index[:, :25], other.edge_index) and (last.edge_index[:, 25:] == 10).all()
    assert torch.equal(last.edge_vec[:25], other.edge_vec) and bool((last.edge_vec[25:] == 1).all())
    assert torch.equal(last.types, other.types) and torch.equal(last.labels, other.labels)
    thermal = other.thermal_edge_index.shape[1]
    assert last.thermal_edge_vec.shape == (50, 3) and 0 < thermal < 25
    assert torch.equal(last.thermal_edge_index[:, :thermal], other.thermal_edge_index)
    assert (last.thermal_edge_index[:, thermal:] == 10).all()


def test_room_is_for_the_longer_list_of_edges():
    graph = labelled(10, 40)
    assert graph.n_edges == 40
    graph.edge_index = graph.edge_index[:, :5]
    assert graph.n_edges == graph.thermal_edge_index.shape[1] == 30
    del graph.thermal_edge_index
    assert graph.n_edges == 5


@pytest.mark.parametrize("kernel", ["reference", "triton"])
def test_losses_gradients_and_statistics_are_those_of_the_module(eager, kernel):
    if kernel not in available_kernels("cpu"):
        pytest.skip("Triton needs TRITON_INTERPRET=1 without a GPU")
    network, graphs = make_network(), [labelled(5, 12), labelled(5, 10, seed=1)]
    alone = Loss(copy.deepcopy(network))
    network.kernel = kernel
    # The reference knows no particle that does not exist, to which edges in the room left lead.
    loss = Loss(network, without_room) if kernel == "reference" else Loss(network)
    recording = module.RecordedLosses(loss, graphs[0], 16)
    near = {"rtol": 1e-4, "atol": 1e-5} if kernel == "triton" else {}
    for graph in [*graphs, graphs[0]]:
        losses = recording(graph)
        alone.zero_grad()
        expected = alone(graph)
        expected[0].backward()
        torch.testing.assert_close(losses, expected.detach())
        for (name, ours), theirs in zip(network.named_parameters(), alone.network.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, **near, msg=name)
    for (name, ours), theirs in zip(network.named_buffers(), alone.network.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, **near, msg=name)


def test_gradients_are_views_of_one_vector(eager):
    loss = Loss(make_network())
    recording = module.RecordedLosses(loss, labelled(10, 30), 30)
    recording(labelled(10, 30))
    assert all(parameter.grad is None for parameter in loss.idle.parameters())
    recording.gradient.fill_(7.0)
    assert all(bool((parameter.grad == 7).all()) for parameter in loss.network.parameters())


def test_a_replay_shows_in_the_versions(eager):
    network = make_network()
    recording = module.RecordedLosses(Loss(network, without_room), labelled(10, 30), 50)
    counters = [norm.radial.norm.num_batches_tracked for norm in network.convolutions]
    recording._replay = lambda: None  # as on a device, where nothing else counts
    before = [counter._version for counter in counters]
    recording(labelled(10, 30))
    assert all(counter._version > old for counter, old in zip(counters, before, strict=True))


@pytest.mark.parametrize("shape", [(9, 30), (10, 51)])
def test_a_graph_that_does_not_fit(eager, shape):
    recording = module.RecordedLosses(Loss(make_network(), without_room), labelled(10, 30), 50)
    with pytest.raises(InputError, match=r"recorded were 10 and up to 50"):
        recording(labelled(*shape))


def test_it_says_what_it_needs():
    with pytest.raises(InputError, match="needs the Triton kernel"):
        module.RecordedLosses(Loss(make_network()), labelled(10, 30), 100)


def test_one_recording_at_a_time(monkeypatch):
    """All threads record on one stream: what one launches there must not end up in what another records."""
    monkeypatch.setattr(module, "recording_stream", lambda device: MagicMock())
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, **__: nullcontext())
    for name in ("current_stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())
    inside, most = [], []

    def run():
        inside.append(None)
        time.sleep(0.01)
        most.append(len(inside))
        inside.pop()
        return ()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: module.record(run, torch.device("cpu")), range(3)))
    assert most == [1] * 9
