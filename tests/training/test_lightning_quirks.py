"""What Lightning does not promise is still there, and its version is bounded."""

from __future__ import annotations

import re
from pathlib import Path

import lightning
import pytest
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from propensity.training.lightning_quirks import LEANS_ON, leave_signals_alone

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


@pytest.fixture
def trainer() -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)


@pytest.mark.parametrize("where", LEANS_ON)
def test_names_exist(where, trainer):
    classes = {"DDPStrategy": DDPStrategy, "_ChildProcessObserver": _ChildProcessObserver}
    found = classes.get(where, trainer)
    for part in where.split(".")[1:]:
        found = getattr(found, part)
    missing = [name for name in LEANS_ON[where] if not hasattr(found, name)]
    assert not missing


def test_signals_are_left_alone(trainer):
    leave_signals_alone(trainer)
    assert trainer._signal_connector.register_signal_handlers() is None
    assert trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor() is None


def test_the_version_is_bounded_and_this_one_lies_within():
    bound = re.search(r'"lightning>=[\d.]+,<(\d+)\.(\d+)"', PROJECT.read_text("utf-8"))
    assert bound, "give lightning an upper bound in pyproject.toml"
    installed = tuple(int(part) for part in lightning.__version__.split(".")[:2])
    assert installed < (int(bound[1]), int(bound[2]))
