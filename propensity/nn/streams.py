"""Streams of a device: recordings are made on one, and on a second what runs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch


@lru_cache
def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings, since cuBLAS keeps tens of megabytes for each that it has seen."""
    return torch.cuda.Stream(device)


@lru_cache
def _second_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class Beside:
    """In a recording of a prediction, what is launched within runs beside all that was launched since this
    was made; elsewhere nothing changes.

    What it reads must be there when this is made, and outlive it.

    Parameters
    ----------
    device
        Of the tensors.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream: Any = None
        # Gradients would come back on the second stream too.
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing() and not torch.is_grad_enabled():
            self._before, self._stream = torch.cuda.current_stream(device), _second_stream(device)
            self._stream.wait_stream(self._before)

    def __enter__(self) -> None:
        if self._stream is not None:
            torch.cuda.set_stream(self._stream)

    def __exit__(self, *error: object) -> None:
        if self._stream is not None:
            torch.cuda.set_stream(self._before)
            self._before.wait_stream(self._stream)


class Lane:
    """A second stream, on which numbered tasks run one after another beside what is launched meanwhile; on a
    CPU they run in turn.

    What a task reads must not change until it has finished, and all must have before it is freed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._ends: dict[int, Any] = {}

    @contextmanager
    def begin(self, number: int) -> Iterator[None]:
        """What is launched within reads all that was launched before."""
        if self._device.type != "cuda":
            yield
            return
        stream = _second_stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            yield
            self._ends[number] = stream.record_event()

    def finish(self, number: int) -> None:
        """What is launched next waits for a task, where it has begun."""
        if number in self._ends:
            torch.cuda.current_stream(self._device).wait_event(self._ends[number])
