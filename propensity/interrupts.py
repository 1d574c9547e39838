"""Ctrl-C and a scheduler's SIGTERM end a training cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from propensity.errors import PropensityError


class TrainingInterrupted(PropensityError):
    """A training was stopped from outside; ``estimator`` holds what was learned so far."""

    def __init__(self, message: str, estimator: Any) -> None:
        super().__init__(message)
        self.estimator = estimator


class ProcessLost(PropensityError):
    """A process of a training on several devices died; ``is_first`` where the first one says so."""

    def __init__(self, message: str, is_first: bool) -> None:
        super().__init__(message)
        self.is_first = is_first


class Interrupted(BaseException):
    """Raised where a signal arrives; not a KeyboardInterrupt, at which Lightning would leave the process."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into :class:`Interrupted`; elsewhere than in the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        # A second signal must still be able to end everything.
        signal.signal(number, before[signal.Signals(number)])
        raise Interrupted(signal.Signals(number).name)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
