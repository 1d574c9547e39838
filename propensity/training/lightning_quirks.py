"""Where we lean on what Lightning does not promise: everything private or overridden stands here.

``pyproject.toml`` bounds Lightning's version from above; ``tests/training/test_lightning_quirks.py`` looks
whether each name in :data:`LEANS_ON` is still there: when it passes with a new release, raise the bound.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed, nn

#: Object (of a trainer, or a class of Lightning) → names of it that are replaced or read below.
LEANS_ON: dict[str, tuple[str, ...]] = {
    "DDPStrategy": ("configure_ddp", "post_backward", "on_exception", "launcher"),
    "trainer._signal_connector": ("register_signal_handlers",),
    "trainer.fit_loop.epoch_loop": ("_broadcast_sigterm_tensor",),
}


class FlatDDPStrategy(DDPStrategy):
    """Data parallelism that sends the gradients as one vector after the backward pass.

    ``DistributedDataParallel`` copies each of a hundred small parameters into its buckets and back, which
    takes the processor longer than a recorded step takes the device (``python -m benchmarks.multi_gpu``).
    Buffers stay apart during an epoch.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is; all processes begin with the weights of the first."""
        assert self.model is not None
        for value in self.model.state_dict().values():
            distributed.broadcast(value, 0)

    def post_backward(self, closure_loss: torch.Tensor) -> None:
        """Give every process the mean of the gradients."""
        module: Any = self.lightning_module
        joined = join_gradients(module) if module.joined_gradient is None else module.joined_gradient
        distributed.all_reduce(joined)
        joined /= self.world_size

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that this one has started: they would wait for it for ever."""
        super().on_exception(exception)
        started = getattr(self.launcher, "procs", [])
        for process in started:
            process.kill()
            process.wait()
        # Who watches over them would end this process as well, which still has a model to save.
        started.clear()


def leave_signals_alone(trainer: Trainer) -> None:
    """Let :func:`propensity.training.interrupt.interruptible` alone handle signals.

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
