"""Progress of a training: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from propensity.training.callbacks import History


class Bar(Callback):
    """Progress bar with loss and validation Pearson; off a terminal, a line now and then."""

    #: Seconds between lines where there is no terminal, and between refreshes where there is one.
    LINE, REFRESH = 15.0, 0.5

    def __init__(self, history: History, console: Console | None = None) -> None:
        self.history = history
        self.console = console or Console(markup=False, emoji=False, stderr=True)
        self._progress: Progress | None = None
        self._drawn = self._printed = -math.inf
        self._text = ""
        self._last: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin."""
        self._total = float((trainer.max_epochs or 0) * module.steps_per_epoch)  # type: ignore[operator,arg-type]
        if not (trainer.is_global_zero and self.console.is_terminal):
            return
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("epoch {task.fields[epoch]}/" + str(trainer.max_epochs)),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %  {task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,
        )
        self._progress.start()
        self._task = self._progress.add_task(
            "",
            total=self._total,
            completed=trainer.global_step,
            epoch=trainer.current_epoch + 1,
            text=self._text,
        )

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Redraw twice a second; no number that would have to come from the device."""
        now = time.monotonic()
        if self._progress is not None and now - self._drawn > self.REFRESH:
            self._draw(trainer, now)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Show what :class:`History` gathers, when that is known."""
        self.history.later.add(module.device, partial(self._show, trainer, trainer.current_epoch + 1))

    def _show(self, trainer: Trainer, epoch: int) -> None:
        self._last |= {key: value for key, value in self.history.rows[-1].items() if key in _SHOWN}
        parts = [f"{label} {self._last[key]:.4f}" for key, label in _SHOWN.items() if key in self._last]
        self._text = "  ".join(parts)
        now = time.monotonic()
        if self._progress is not None:
            self._draw(trainer, now)
        elif trainer.is_global_zero and (now - self._printed > self.LINE or epoch == trainer.max_epochs):
            self._printed = now
            self.console.print(f"epoch {epoch}/{trainer.max_epochs}  {self._text}", highlight=False)

    def _draw(self, trainer: Trainer, now: float) -> None:
        assert self._progress is not None
        self._drawn = now
        self._progress.update(
            self._task,
            completed=trainer.global_step,
            epoch=trainer.current_epoch + 1,
            text=self._text,
            refresh=True,
        )

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Leave the last line on screen."""
        self._close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()


_SHOWN = {"loss": "loss", "valid_loss": "valid loss", "valid_pearson": "valid Pearson"}
