"""Stopping and going on: the same numbers as without stopping, and nothing lost."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from propensity.errors import DataError
from propensity.interrupts import TrainingInterrupted
from propensity.training import callbacks, fit_network
from propensity.training.checkpoints import read_checkpoint
from tests.training.conftest import SMALL


def rows(folder):
    """The log without its clock."""
    return [line.rsplit(",", 1)[0] for line in (folder / "log.csv").read_text().splitlines()]


def assert_same_weights(a, b):
    for name, value in a.arrays().items():
        assert np.array_equal(value, b.arrays()[name]), name


@pytest.fixture
def interrupt_at(monkeypatch):
    """Send this process a signal after a given number of steps."""

    def arm(step, number=signal.SIGINT):
        count = iter(range(1, 10**6))
        original = callbacks.History.on_train_batch_end

        def hook(self, *args):
            if next(count) == step:
                os.kill(os.getpid(), number)
            original(self, *args)

        monkeypatch.setattr(callbacks.History, "on_train_batch_end", hook)

    yield arm


@pytest.mark.parametrize("ema", [0.0, 0.5])
@pytest.mark.parametrize("step", [6, 8], ids=["end of an epoch", "within an epoch"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_run_is_bitwise_that_of_an_uninterrupted_one(
    samples, tmp_path, interrupt_at, monkeypatch, ema, step, number
):
    options = {**SMALL, "ema": ema, "batch_size": 2, "select": "last"}
    train, valid = samples[:6], samples[6:]
    whole = fit_network(train, valid, folder=tmp_path / "whole", **options)
    interrupt_at(step, number)
    with pytest.raises(TrainingInterrupted, match=r"after [12] of 4 epochs") as stopped:
        fit_network(train, valid, folder=tmp_path / "parts", **options)
    assert np.isfinite(
        stopped.value.estimator.predict(samples[0].structure)[samples[0].structure.types == 0]
    ).all()
    monkeypatch.undo()
    torch.manual_seed(99)  # the state of the generator outside must not matter
    resumed = fit_network(train, valid, folder=tmp_path / "parts", resume=True, **options)
    assert_same_weights(whole, resumed)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    first, second = (
        read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "parts")
    )
    moments = [state["optimizer_states"][0]["state"] for state in (first, second)]
    assert moments[0].keys() == moments[1].keys()
    for key, a in moments[0].items():
        b = moments[1][key]
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_interrupted_in_the_first_epoch_keeps_the_weights_so_far(samples, tmp_path, interrupt_at):
    interrupt_at(2)
    with pytest.raises(TrainingInterrupted, match="after 0 of 4 epochs") as stopped:
        fit_network(samples[:4], folder=tmp_path, **SMALL)
    assert np.isfinite(stopped.value.estimator.predict(samples[0].structure)[0]).any()
    assert not (tmp_path / "checkpoints/last.ckpt").exists()


def test_handlers_of_signals_are_put_back(samples):
    before = signal.getsignal(signal.SIGINT)
    fit_network(samples[:2], **{**SMALL, "epochs": 1})
    assert signal.getsignal(signal.SIGINT) is before


class Trap:
    def __reduce__(self):
        return (os.system, ("touch trapped",))


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: torch.save({"state_dict": Trap()}, path), "was not loaded"),
        (lambda path: path.write_bytes(b"no checkpoint"), "was not loaded|not a readable checkpoint"),
        (lambda path: path.write_bytes(b""), "not a readable checkpoint"),
    ],
    ids=["code", "text", "empty"],
)
def test_bad_checkpoint_is_refused_and_nothing_runs(samples, tmp_path, monkeypatch, write, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    write(tmp_path / "checkpoints/last.ckpt")
    with pytest.raises(DataError, match=message):
        fit_network(samples[:2], folder=tmp_path, resume=True, **SMALL)
    assert not (tmp_path / "trapped").exists()
