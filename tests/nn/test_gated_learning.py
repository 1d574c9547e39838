"""Training of the gated network: batches gathered on the device, and what a step does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propensity.nn.gated import GatedNetwork, Hyperparameters, Labelled, Learner, gated_graph
from propensity.nn.gated.learning import fix_scales
from propensity.nn.gated.stack import AnyExamples, EqualExamples
from tests.conftest import make_liquid

WIDTHS = {
    "scalars": 6,
    "vectors": 4,
    "quadrupoles": 3,
    "sent_scalars": 3,
    "sent_vectors": 2,
    "products": 2,
    "hidden": 8,
}


def examples(sizes: tuple[int, ...], device: str = "cpu") -> list[Labelled]:
    """Liquids whose labels are the species and, noisily, the number of close neighbours."""
    found = []
    for seed, n in enumerate(sizes):
        graph = gated_graph(make_liquid(n, seed=seed), 2.0, ("thermal",), "thermal", device=device)
        close = (torch.linalg.vector_norm(graph.vectors["thermal"], dim=2) < 1.3) * graph.real
        labels = torch.stack([graph.types.float(), close.sum(dim=1) / 5 - 2], dim=1)
        random = torch.Generator().manual_seed(seed)
        labels[:, 1] += 0.3 * torch.randn(n, generator=random).to(device)
        extra = (close[:, None, :3], labels[:, 1:], torch.zeros_like(graph.types))
        found.append(Labelled(graph, labels, *extra))
    return found


def network(device: str = "cpu") -> GatedNetwork:
    torch.manual_seed(3)
    return GatedNetwork(["thermal"] * 3, "thermal", n_outputs=2, readout=5, widths=WIDTHS).to(device)


def answer(net: GatedNetwork, batch: Labelled) -> tuple[torch.Tensor, torch.Tensor]:
    """Prediction and gradient of its squared error."""
    out = net(batch.graph)
    found = torch.autograd.grad((out - batch.labels).square().mean(), list(net.parameters()))
    return out.detach(), torch.cat([x.flatten() for x in found])


def test_a_stack_is_a_pile():
    """Graphs of other widths, gathered from one table: same answers, and same gradients by reverse slots."""
    some, net = examples((120, 120, 120)), network()
    fix_scales(net, some)
    index = torch.tensor([2, 0])
    for found, wanted in zip(
        answer(net, EqualExamples(some).batch(index)),
        answer(net, AnyExamples(some).batch(index)),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("sizes", [(120, 120, 120), (120, 100, 130)])
def test_it_learns(sizes, dropout):
    learner = Learner(network(), examples(sizes), Hyperparameters(15, 1, 1e-2, 0.0, 0.8, 0.1, dropout))
    before = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    losses = [learner.epoch() for _ in range(15)]
    assert losses[-1] < 0.7 * losses[0]
    learner.finish()
    moved = {
        name: float((p.detach() - before[name]).abs().max()) for name, p in learner.network.named_parameters()
    }
    assert moved.pop("layers.0.send_vectors.weight") == 0.0  # the first vectors are zero
    assert np.isfinite([*moved.values()]).all() and min(moved.values()) > 0


def test_a_broken_step_is_left_out():
    learner = Learner(network(), examples((100,)), Hyperparameters(1000, 1, 1e-2, 0.0, 0.9))
    learner.step(torch.tensor([0]))
    before = [p.detach().clone() for p in learner.network.parameters()]
    learner.data._labels[0][0, 0, 0] = float("nan")
    learner.step(torch.tensor([0]))
    for now, then in zip(learner.network.parameters(), before, strict=True):
        assert torch.isfinite(now).all() and float((now.detach() - then).abs().max()) < 1e-2


def test_one_that_runs_away_goes_back(monkeypatch, caplog):
    """Weights that a step has made far too large: features outgrow their scales, and nothing leads back."""
    monkeypatch.setattr("propensity.nn.gated.learning.LOOK", 5)
    learner = Learner(network(), examples((100, 100)), Hyperparameters(30, 1, 1e-2, 0.0, 0.8))
    for _ in range(15):
        learner.epoch()
    assert not caplog.records
    lowest = learner._lowest
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.mul_(30)
    for _ in range(15):
        last = learner.epoch()
    assert "back to the weights of the lowest, at half the rate" in caplog.text
    assert last < 1.1 * lowest
    learner.finish()
    assert max(float(p.detach().abs().max()) for p in learner.network.parameters()) < 5


def test_one_that_has_learned_nothing_starts_again(monkeypatch, caplog):
    for name, value in {"LOOK": 4, "KNOWN_BY": 8, "DEAD": 0.8}.items():
        monkeypatch.setattr(f"propensity.nn.gated.learning.{name}", value)
    learner = Learner(network(), examples((60,)), Hyperparameters(60, 1, 1e-2, 0.0, 0.8))
    with torch.no_grad():
        start = [p.clone() for p in learner.network.parameters()]
        learner.network.hidden.bias -= 1e4  # every hidden unit of the readout off: no gradient
    for _ in range(8):
        learner.epoch()
    assert caplog.text.count("back to the weights of the start") == 1
    for now, then in zip(learner.network.parameters(), start, strict=True):
        torch.testing.assert_close(now.detach(), then)
    for _ in range(52):
        last = learner.epoch()
    assert last < 0.5 * learner.variance


def test_a_burst_does_not_raise_what_is_usual():
    learner = Learner(network(), examples((60,)), Hyperparameters(100, 1, 1e-3, 0.0, 0.8))
    for _ in range(3):
        learner.epoch()
    before = float(learner._typical)
    learner.data._labels[0][0] *= 1e4
    learner.epoch()
    assert before < float(learner._typical) <= 1.0201 * before


@pytest.mark.gpu
def test_recorded_steps_are_those_of_the_processor():
    hyperparameters = Hyperparameters(4, 2, 3e-3, 0.01, 0.9)
    torch.manual_seed(5)
    ours = Learner(network("cuda"), examples((1000, 1000, 1000, 1000), "cuda"), hyperparameters)
    assert ours._replay is not None
    found = [ours.epoch() for _ in range(4)]
    torch.manual_seed(5)
    plain = Learner(network(), examples((1000, 1000, 1000, 1000)), hyperparameters)
    np.testing.assert_allclose(found, [plain.epoch() for _ in range(4)], rtol=0.02)
