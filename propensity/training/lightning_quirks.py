"""Where we lean on what Lightning does not promise: everything private or overridden stands here.

``pyproject.toml`` bounds Lightning's version from above; ``tests/training/test_lightning_quirks.py`` looks
whether each name in :data:`LEANS_ON` is still there: when it passes with a new release, raise the bound.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed, nn

#: Object (of a trainer, or a class of Lightning) → names of it that are replaced or read below.
LEANS_ON: dict[str, tuple[str, ...]] = {
    "DDPStrategy": ("configure_ddp", "post_backward", "barrier", "on_exception", "launcher"),
    "_ChildProcessObserver": ("_terminate_all",),
    "trainer._signal_connector": ("register_signal_handlers",),
    "trainer.fit_loop.epoch_loop": ("_broadcast_sigterm_tensor",),
}
#: Seconds in which a process ends after its connections.
PATIENCE = 5.0
#: What gloo and NCCL say of a process that is no more.
_CONNECTION = re.compile("(?i)connection|socket|gloo|nccl")


class FlatDDPStrategy(DDPStrategy):
    """Data parallelism that sends the gradients as one vector after the backward pass.

    ``DistributedDataParallel`` copies each of a hundred small parameters into its buckets and back, which
    takes the processor longer than a recorded step takes the device (``python -m benchmarks.multi_gpu``).
    Buffers stay apart during an epoch.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is; all processes begin with the weights of the first."""
        for thread in threading.enumerate():
            if isinstance(thread, _ChildProcessObserver):
                thread._terminate_all = partial(self._end, thread._terminate_all)  # type: ignore[method-assign]
        assert self.model is not None
        for value in self.model.state_dict().values():
            distributed.broadcast(value, 0)

    def post_backward(self, closure_loss: torch.Tensor) -> None:
        """Give every process the mean of the gradients."""
        module: Any = self.lightning_module
        joined = join_gradients(module) if module.joined_gradient is None else module.joined_gradient
        if joined.is_cuda:
            distributed.all_reduce(joined, distributed.ReduceOp.AVG)
        else:  # gloo has no mean
            distributed.all_reduce(joined)
            joined /= self.world_size

    def barrier(self, name: str | None = None) -> None:
        """No process reads a checkpoint of the first one, so that none waits for it."""
        if name != "Trainer.save_checkpoint":
            super().barrier(name)

    def _end(self, end: Callable[[], None]) -> None:
        """Have the watcher wait until this process has noticed a death by itself, as gloo has it do.

        Where a device waits for ever, a sentence is all that can be said.
        """
        deadline = time.monotonic() + 4 * PATIENCE
        while self.launcher.procs and time.monotonic() < deadline:  # type: ignore[union-attr]
            time.sleep(0.1)
        for rank, code in _ended(self.launcher.procs, wait=False).items():  # type: ignore[union-attr]
            print(
                f"propensity: error: {self._death(rank, code)}: {self.kept()}.", file=sys.stderr, flush=True
            )
            end()
            return

    def _death(self, rank: int, code: int) -> str:
        how = f"by signal {-code}, as where memory runs out" if code < 0 else f"with code {code}"
        return f"process {rank + 1} of {self.num_processes} died {how}"

    #: What is left when a process dies, for the sentence that says so.
    kept: Callable[[], str]
    #: Of the processes that this one has started: rank → code with which it had ended before the others.
    died: dict[int, int]

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that this one has started: they would wait for it for ever."""
        super().on_exception(exception)
        started = getattr(self.launcher, "procs", [])
        self.died = _ended(started, wait=isinstance(exception, RuntimeError))
        for process in started:
            process.kill()
            process.wait()
        # Who watches over them would end this process as well, which still has a model to save.
        started.clear()


def _ended(started: list[subprocess.Popen[bytes]], wait: bool) -> dict[int, int]:
    """Ranks of processes that have died, and their codes; a connection breaks a little before."""
    deadline = time.monotonic() + (PATIENCE if wait else 0.0)
    while True:
        found = {rank: code for rank, p in enumerate(started, 1) if (code := p.poll())}
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def lost(trainer: Trainer, error: BaseException) -> str:
    """Which process of a training has died, where that is why it stopped; else nothing.

    Parameters
    ----------
    trainer
        That has stopped.
    error
        What its ``fit`` raised.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, FlatDDPStrategy):
        return ""
    for rank, code in getattr(strategy, "died", {}).items():
        return strategy._death(rank, code)
    if not trainer.is_global_zero and isinstance(error, RuntimeError) and _CONNECTION.search(str(error)):
        return "another process died"
    return ""


def leave_signals_alone(trainer: Trainer) -> None:
    """Let :func:`propensity.interrupts.interruptible` alone handle signals.

    Lightning's handler talks to the other processes from wherever the signal found it, which blocks for
    ever within a step; and each step of several processes would ask whether a signal has come, for which
    every process waits for its device.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def join_gradients(module: nn.Module) -> torch.Tensor:
    """All gradients as one vector, of which they become views."""
    pairs = [(p, p.grad) for p in module.parameters() if p.grad is not None]
    joined = torch.cat([gradient.flatten() for _, gradient in pairs])
    parts = joined.split([parameter.numel() for parameter, _ in pairs])
    for (parameter, _), part in zip(pairs, parts, strict=True):
        parameter.grad = part.view_as(parameter)
    return joined


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's remarks about loaders and devices; its errors stay."""
    loggers = [
        logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning_utilities")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", module="torch")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
