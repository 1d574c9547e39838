"""Checkpoints that are safe to load: tensors and plain values, never code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from propensity.errors import DataError
from propensity.files import replacing


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file first; refuses on loading whatever is more than numbers and containers."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, then rename."""
        with replacing(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read without executing anything."""
        return read_checkpoint(path, map_location)


def read_checkpoint(path: str | Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Load a checkpoint of a training.

    Raises
    ------
    DataError
        When it is missing, damaged, or holds anything but tensors and plain values.
    """
    try:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: there is no checkpoint to continue from.") from None
    except pickle.UnpicklingError:
        raise DataError(
            f"{path} holds more than tensors and plain values and was not loaded: give a checkpoint of this"
            " package."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = " ".join(str(error).split())[:150]
        raise DataError(f"{path} is not a readable checkpoint ({first}): train again.") from None
