"""What surrounds a recording, shown without a GPU: padding, and the trace that a replay leaves."""

from __future__ import annotations

import pytest
import torch

from propensity.errors import InputError
from propensity.kernels import capture as module
from propensity.nn import SE3GNN
from tests.kernels.graphs import random_graph


@pytest.fixture
def recorded(monkeypatch):
    """A recording whose replays tell what they were given."""
    seen = []

    def record(flat, example):
        def replay(*tensors):
            seen.append(tensors)
            return torch.zeros(2)

        return replay

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    monkeypatch.setattr(module, "can_capture", lambda network: True)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: torch.no_grad())
    network = SE3GNN(2, 3, l_max=1, n_layers=2, kernel="reference")
    graph = random_graph(10, 30, dtype=torch.float32)
    graph.labels = torch.ones(10, 3)
    return network, graph, module.capture(network, graph, 50), seen


def test_edges_fill_the_room_and_fields_follow(recorded):
    _, graph, call, seen = recorded
    call(graph)
    index, vectors, types, *others = seen[0]
    assert index.shape == (2, 50) and vectors.shape == (50, 3)
    assert torch.equal(index[:, :30], graph.edge_index) and (index[:, 30:] == 10).all()
    assert torch.equal(types, graph.types) and any(torch.equal(other, graph.labels) for other in others)


def test_a_replay_shows_in_the_versions(recorded):
    network, graph, call, _ = recorded
    counters = [norm.radial.norm.num_batches_tracked for norm in network.convolutions]
    before = [counter._version for counter in counters]
    call(graph)
    assert all(counter._version > old for counter, old in zip(counters, before, strict=True))


@pytest.mark.parametrize("shape", [(9, 30), (10, 51)])
def test_a_graph_that_does_not_fit(recorded, shape):
    with pytest.raises(InputError, match=r"recorded were 10 and up to 50"):
        recorded[2](random_graph(*shape, dtype=torch.float32))
