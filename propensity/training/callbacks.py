"""What happens around the steps: weight average, log, progress bar."""

from __future__ import annotations

import csv
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from propensity.errors import PropensityError
from propensity.files import replacing
from propensity.training.later import Later
from propensity.training.norms import refresh_norms

#: Training structures from which validation with averaged weights takes its batch-norm statistics.
NORM_STRUCTURES = 8
#: Seconds that a training of several processes waits for its last whole epoch when it ends early.
PATIENCE = 10.0


class WeightAverage(Callback):
    """Exponential running average of the weights; in their place during validation.

    Checkpoints hold both: the raw weights in ``state_dict`` and the average in this callback's state.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: list[torch.Tensor] | None = None
        self._raw: dict[str, torch.Tensor] | None = None

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """Move the average a little towards the weights."""
        weights = [p.detach() for p in module.network.parameters()]  # type: ignore[union-attr]
        if self.average is None:
            self.average = [w.clone() for w in weights]
        else:
            self.average = [a.to(w.device) for a, w in zip(self.average, weights, strict=True)]
            # The first steps weigh more, so that the random start is soon forgotten.
            decay = min(self.decay, (1 + trainer.global_step) / (10 + trainer.global_step))
            torch._foreach_lerp_(self.average, weights, 1 - decay)

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the average in, with batch-norm statistics of its own."""
        network = module.network
        if self.average is None:
            return
        self._raw = {name: value.clone() for name, value in network.state_dict().items()}  # type: ignore[union-attr]
        apply_average(network, self.average)
        graphs = trainer.datamodule.graphs  # type: ignore[attr-defined]
        if module.card.conditions is not None:  # type: ignore[union-attr]
            graphs = graphs[:: -(-len(graphs) // NORM_STRUCTURES)]  # some of each temperature
        refresh_norms(network, graphs[:NORM_STRUCTURES])  # type: ignore[arg-type]

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the raw weights back."""
        if self._raw is not None:
            module.network.load_state_dict(self._raw)  # type: ignore[union-attr]
            self._raw = None

    def state_dict(self) -> dict[str, Any]:
        """Average for a checkpoint."""
        return {"average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Average from a checkpoint."""
        self.average = state_dict["average"]


@torch.no_grad()
def apply_average(network: Any, average: list[torch.Tensor]) -> None:
    """Copy an average of :class:`WeightAverage` into a network."""
    for parameter, value in zip(network.parameters(), average, strict=True):
        parameter.copy_(value)


class History(Callback):
    """One row an epoch, in ``log.csv`` and for the loggers; stops when the loss is no longer a number.

    The loss of an epoch is read when the device has come to its end, which is in the midst of the next one.
    """

    def __init__(self, path: Path, names: list[str], later: Later) -> None:
        self.path, self.names, self.later = path, names, later
        self.rows: list[dict[str, Any]] = []
        self._start = time.monotonic()

    def on_train_batch_end(self, *_: Any) -> None:
        """Write the row of the epoch before, once it is known."""
        self.later.poll()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Add the row of this epoch."""
        self.later.finish()  # at most one epoch behind
        loss = module.epoch_loss()  # type: ignore[operator]
        row = {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "loss": loss,
        }
        pearson = module.valid_pearson
        if pearson is not None:
            row["valid_loss"] = float(trainer.callback_metrics["valid_loss"])
            row["valid_pearson"] = float(trainer.callback_metrics["valid_pearson"])
            row |= dict(zip(self.names, pearson.flatten().tolist(), strict=True))  # type: ignore[operator]
            module.valid_pearson = None  # type: ignore[assignment]
        self.rows.append({**row, "seconds": self._seconds()})
        # Copied in its turn: to read it from the device would wait for all that came after it.
        copied = loss.to("cpu", non_blocking=loss.is_cuda)
        self.later.add(module.device, partial(self._complete, trainer, module, self.rows[-1], copied))

    def _complete(
        self, trainer: Trainer, module: LightningModule, row: dict[str, Any], copied: torch.Tensor
    ) -> None:
        """Numbers for a row, to where they are read."""
        row["loss"] = loss = float(copied)
        row["seconds"] = self._seconds()
        if not trainer.is_global_zero:
            return  # the first process, which may come to it later, writes, or stops and ends the others
        if not math.isfinite(loss):
            self.rows.pop()
            raise PropensityError(
                f"the loss became {loss} in epoch {row['epoch']}: lower --learning-rate"
                f" (now {module.config.learning_rate:g}) and check the data for outliers."  # type: ignore[union-attr]
            )
        self._write()
        for logger in trainer.loggers:
            logger.log_metrics({name: row[name] for name in ("loss", "learning_rate")}, step=row["step"])
            logger.save()

    def on_train_end(self, *_: Any) -> None:
        """Write the last row."""
        self.later.finish()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Keep the last whole epoch, whatever ended the training."""
        # A device waits for ever for another one whose process has died.
        self.later.give_up(PATIENCE if trainer.world_size > 1 else math.inf)

    def _seconds(self) -> float:
        return round(time.monotonic() - self._start, 3)

    def _write(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row if key != "seconds"))
        with replacing(self.path) as path, path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, [*columns, "seconds"])
            writer.writeheader()
            writer.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Rows for a checkpoint, so that a resumed run goes on in the same table."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Rows from a checkpoint."""
        self.rows = [
            {name: value.item() if torch.is_tensor(value) else value for name, value in row.items()}
            for row in state_dict["rows"]
        ]
