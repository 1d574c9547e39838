"""Where a device computes beside the host, the end of an epoch is left to the next one: nothing is lost."""

from __future__ import annotations

import os
import signal
from itertools import count

import numpy as np
import pytest
import torch

from propensity.errors import PropensityError
from propensity.interrupts import TrainingInterrupted
from propensity.training import callbacks, fit_network, later
from propensity.training.checkpoints import read_checkpoint
from propensity.training.later import Later
from propensity.training.module import PropensityModule
from tests.training.conftest import SMALL
from tests.training.test_resume import assert_same_weights, rows

OPTIONS = {**SMALL, "validate_every": 3, "select": "last"}


class Mark:
    """What a device comes to when it was asked a number of times."""

    def __init__(self, polls: int) -> None:
        self.polls = polls

    def query(self) -> bool:
        self.polls -= 1
        return self.polls < 0

    def synchronize(self) -> None:
        self.polls = 0


def slow_device(monkeypatch, polls):
    """The host is a device that has done its work some steps later."""
    monkeypatch.setattr(later, "mark", lambda device: Mark(polls))


AFTER = pytest.mark.parametrize("polls", [0, 2, 50], ids=["a step", "some steps", "an epoch"])


@AFTER
@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_log_weights_and_checkpoint_are_the_same(samples, tmp_path, monkeypatch, polls, ema):
    one = fit_network(samples[:4], samples[6:], folder=tmp_path / "at once", ema=ema, **OPTIONS)
    slow_device(monkeypatch, polls)
    two = fit_network(samples[:4], samples[6:], folder=tmp_path / "later", ema=ema, **OPTIONS)
    assert_same_weights(one, two)
    assert rows(tmp_path / "at once") == rows(tmp_path / "later")
    told = [read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("at once", "later")]
    (first, second) = [[row["loss"] for row in _history(t)["rows"]] for t in told]
    assert np.allclose(first, second, rtol=1e-6) and told[0]["epoch"] == told[1]["epoch"]


def _history(checkpoint):
    return next(state for name, state in checkpoint["callbacks"].items() if name.startswith("History"))


@AFTER
def test_a_loss_that_is_no_number_saves_nothing(samples, tmp_path, monkeypatch, polls):
    slow_device(monkeypatch, polls)
    original = PropensityModule.training_step

    def diverge(self, graph, index):
        loss = original(self, graph, index)
        return loss * float("nan") if self.current_epoch == 2 else loss

    def diverged(self):
        return self._loss_sum * (float("nan") if self.current_epoch == 2 else 1)

    monkeypatch.setattr(PropensityModule, "training_step", diverge)
    monkeypatch.setattr(PropensityModule, "epoch_loss", diverged)
    with pytest.raises(PropensityError, match="the loss became nan in epoch 3"):
        fit_network(samples[:4], folder=tmp_path, **OPTIONS)
    kept = read_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert kept["epoch"] == 1 and len((tmp_path / "log.csv").read_text().splitlines()) == 3
    assert all(np.isfinite(value.numpy()).all() for value in kept["state_dict"].values())


@AFTER
def test_an_interrupt_keeps_the_last_whole_epoch(samples, tmp_path, monkeypatch, polls):
    slow_device(monkeypatch, polls)
    whole = fit_network(samples[:4], folder=tmp_path / "whole", **OPTIONS)
    steps, original = count(1), callbacks.History.on_train_batch_end

    def hook(self, *arguments):
        original(self, *arguments)
        if next(steps) == 9:  # the first of the third epoch
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(callbacks.History, "on_train_batch_end", hook)
    with pytest.raises(TrainingInterrupted, match="after 2 of 4 epochs"):
        fit_network(samples[:4], folder=tmp_path / "parts", **OPTIONS)
    monkeypatch.setattr(callbacks.History, "on_train_batch_end", original)
    assert read_checkpoint(tmp_path / "parts" / "checkpoints/last.ckpt")["epoch"] == 1
    resumed = fit_network(samples[:4], folder=tmp_path / "parts", resume=True, **OPTIONS)
    assert_same_weights(whole, resumed)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


@AFTER
@pytest.mark.parametrize("error", [RuntimeError("a defect"), torch.OutOfMemoryError("CUDA out of memory")])
def test_an_error_in_the_next_epoch_keeps_the_last_whole_one(samples, tmp_path, monkeypatch, polls, error):
    slow_device(monkeypatch, polls)
    original = PropensityModule.training_step

    def fail(self, graph, index):
        if self.current_epoch == 2:
            raise error
        return original(self, graph, index)

    monkeypatch.setattr(PropensityModule, "training_step", fail)
    with pytest.raises((RuntimeError, PropensityError), match=r"a defect|lower --batch-size"):
        fit_network(samples[:4], folder=tmp_path / "parts", **OPTIONS)
    assert read_checkpoint(tmp_path / "parts" / "checkpoints/last.ckpt")["epoch"] == 1
    assert [row.split(",")[0] for row in rows(tmp_path / "parts")] == ["epoch", "1", "2"]


def test_a_device_that_no_longer_answers_loses_what_was_on_the_way(samples, tmp_path, monkeypatch):
    """After an error of its own every call repeats that: it is told once, and nothing waits."""
    broken = []

    class Broken(Mark):
        def query(self):
            if broken:
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return super().query()

    monkeypatch.setattr(later, "mark", lambda device: Broken(50))
    original = PropensityModule.training_step

    def fail(self, graph, index):
        if self.current_epoch == 2:
            broken.append(True)
            raise RuntimeError("first told")
        return original(self, graph, index)

    monkeypatch.setattr(PropensityModule, "training_step", fail)
    with pytest.raises(RuntimeError, match="first told"):
        fit_network(samples[:4], folder=tmp_path, **OPTIONS)
    assert read_checkpoint(tmp_path / "checkpoints/last.ckpt")["epoch"] == 0


def test_after_a_failure_the_rest_is_forgotten(monkeypatch):
    monkeypatch.setattr(later, "mark", lambda device: Mark(0))
    done, waiting = [], Later()

    def fail():
        raise ValueError("no number")

    for function in (lambda: done.append(1), fail, lambda: done.append(2)):
        waiting.add(None, function)
    with pytest.raises(ValueError, match="no number"):
        waiting.finish()
    waiting.finish()
    assert done == [1]
    monkeypatch.setattr(later, "mark", lambda device: Mark(10**9))
    waiting.add(None, fail)
    waiting.give_up(0.01)
    waiting.finish()
