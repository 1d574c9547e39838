"""Training on a CUDA device: the recorded step is the eager one."""

from __future__ import annotations

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from propensity.evaluation import evaluate
from propensity.graph import build_graph
from propensity.nn import SE3GNN
from propensity.nn import cuda_graph as capture
from propensity.runs.curves import read_log
from propensity.training import fit, fit_network, module
from propensity.training.checkpoints import read_checkpoint
from tests.nn.test_cuda_graph import Loss, run_again
from tests.training.conftest import SMALL, make_sample

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
OPTIONS = {**SMALL, "kernel": "triton", "device": "cuda", "dropout": 0.0}


def train(samples, **options):
    fitted = fit_network(samples[:6], samples[6:], **{**OPTIONS, **options})
    return {name: value.cpu().numpy() for name, value in fitted.network.state_dict().items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 4},
        {"inherent_weight": 0.5, "ema": 0.9},
        {"readout": "species", "trained_species": ("A", "B")},
        {"input_positions": "both", "thermal_layers": 1},
    ],
    ids=["plain", "batches and a remainder", "auxiliary loss", "readouts", "both positions"],
)
def test_recorded_is_eager(samples, options, monkeypatch):
    """The same tensors launched one by one give the same weights, bit for bit."""
    recorded = train(samples, **options)
    monkeypatch.setattr(capture, "record", run_again)
    eager = train(samples, **options)
    for name, value in eager.items():
        np.testing.assert_array_equal(recorded[name], value, err_msg=name)


@pytest.mark.parametrize("kernel", ["triton", "reference"])
def test_room_for_edges_is_not_seen(kernel):
    """Edges to a particle that does not exist fill the room: loss and gradients are those without them."""
    graph = build_graph(make_sample(1).structure, 1.6)
    graph.labels = torch.randn(len(graph.types), 3)
    torch.manual_seed(0)
    loss = Loss(SE3GNN(2, 3, l_max=1, n_layers=2, dropout=0.0, kernel="triton")).cuda().train()
    graph = graph.to("cuda")

    def found(losses):
        gradients = [value.grad for value in loss.network.parameters()]
        return [value.detach().double() for value in (losses, *gradients)]

    recorded = found(capture.RecordedLosses(loss, graph, graph.edge_index.shape[1] + 1000)(graph))
    loss.network.kernel = kernel
    loss.zero_grad()
    losses = loss(graph)
    losses[0].backward()
    expected = found(losses)
    scale = 1e-3 * max(float(value.norm()) for value in expected[1:])
    for value, exact in zip(recorded, expected, strict=True):
        assert float((value - exact).norm()) <= 1e-4 * max(float(exact.norm()), scale)


def test_dropout_is_drawn_anew_and_repeats_with_the_seed(samples):
    first, second = train(samples, dropout=0.3), train(samples, dropout=0.3)
    other = train(samples, dropout=0.3, seed=1)
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["readout.weight"], other["readout.weight"])


def test_structures_of_different_sizes(samples, monkeypatch):
    """Nothing is recorded then, and training goes on launch by launch."""
    cut = make_sample(20)
    n = len(cut.structure) // 2
    structure = cut.structure
    smaller = type(cut)(
        type(structure)(structure.positions[:n], structure.types[:n], structure.cell),
        cut.times,
        cut.propensities[:n],
        "small",
        temperature=0.5,
    )
    monkeypatch.setattr(module, "RecordedLosses", None)
    assert np.isfinite(train([*samples[:5], smaller, *samples[6:]])["readout.weight"]).all()


def test_validation_sees_the_weights_of_its_epoch(samples, tmp_path):
    """Replays leave no trace in the versions of tensors, by which kernels know that weights have changed."""
    options = {**OPTIONS, "select": "last", "epochs": 3, "learning_rate": 3e-2}
    fitted = fit_network(samples[:6], samples[6:], folder=tmp_path, **options)
    logged = read_log(tmp_path / "log.csv")
    scores = evaluate(fitted, samples[6:], n_resamples=1)
    found = [logged[f"A t={time:g}"][-1] for time in scores.times]
    np.testing.assert_allclose(found, scores.pooled[0], atol=1e-3)


def test_resume(samples, tmp_path):
    """Interrupted after two epochs and resumed: the weights of an uninterrupted run."""
    whole = train(samples, folder=tmp_path / "whole", select="last")
    train(samples, folder=tmp_path / "parts", select="last", epochs=2)
    resumed = train(samples, folder=tmp_path / "parts", select="last", resume=True)
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_an_error_in_the_next_epoch_keeps_the_last_whole_one(samples, tmp_path, monkeypatch):
    """The device is still at work on it then, for a second or more."""
    original = module.PropensityModule.training_step

    def fail(self, graph, index):
        if self.current_epoch == 2:
            torch.cuda._sleep(2 * 10**9)
            raise RuntimeError("a defect")
        if self.current_epoch == 1:
            torch.cuda._sleep(2 * 10**9 // 6)
        return original(self, graph, index)

    monkeypatch.setattr(module.PropensityModule, "training_step", fail)
    with pytest.raises(RuntimeError, match="a defect"):
        train(samples, folder=tmp_path, validate_every=1000)
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["epoch"] == 1
    assert read_log(tmp_path / "log.csv")["step"].tolist() == [6, 12]


def test_an_epoch_more_waits_for_nothing(monkeypatch):
    """The end of an epoch is dealt with while the device computes the next one."""
    samples, waits = [make_sample(seed) for seed in range(7)], []
    monkeypatch.setattr(fit, "quiet", nullcontext)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        for epochs in (4, 8):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                train(samples, epochs=epochs, validate_every=1000)
            waits.append([str(one.message) for one in caught if "synchroniz" in str(one.message)])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    few, many = waits
    assert len(few) == len(many) > 0
