"""What the host does with numbers of a device once they are there, so that the device never waits for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import torch


class Later:
    """Functions that need what a device computes, called in turn when it has."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[torch.cuda.Event, Callable[[], None]]] = deque()

    def add(self, device: torch.device, function: Callable[[], None]) -> None:
        """Call ``function`` when ``device`` has done all that it was told until now; at once on the host."""
        event = mark(device)
        if event is None:
            function()
        else:
            self._waiting.append((event, function))

    def poll(self) -> None:
        """Call those whose numbers are there."""
        while self._waiting and self._waiting[0][0].query():
            self._next()

    def finish(self) -> None:
        """Wait for the device, and call all."""
        while self._waiting:
            self._waiting[0][0].synchronize()
            self._next()

    def give_up(self, seconds: float) -> None:
        """Call those whose numbers come within some seconds; forget those of a silent device."""
        deadline = time.monotonic() + seconds
        while self._waiting and time.monotonic() < deadline:
            try:
                is_there = self._waiting[0][0].query()
            except RuntimeError:  # after an error of its own a device only repeats that
                break
            if is_there:
                self._next()
            else:
                time.sleep(0.001)  # in the device a second signal would not be heard
        self._waiting.clear()

    def _next(self) -> None:
        function = self._waiting.popleft()[1]
        try:
            function()
        except BaseException:
            self._waiting.clear()  # nothing is saved after a loss that is no number
            raise


def mark(device: torch.device) -> torch.cuda.Event | None:
    """What happens when a GPU has done all that it was told until now; None elsewhere, where that is done."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event
