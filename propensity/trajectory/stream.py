"""Frames: a trajectory that is read as it is iterated over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from propensity.trajectory.frame import Frame, reading


class Frames:
    """Frames of a trajectory in order, read when asked for.

    Attributes
    ----------
    total : int or None
        Number of frames selected, where that is known without reading the file.
    done : float or None
        Fraction of the file that is read, for text files, whose number of frames isn't known.
    """

    def __init__(
        self, frames: Iterator[Frame], total: int | None = None, stream: Any = None, size: int = 0
    ) -> None:
        self._frames, self.total, self._stream, self._size = frames, total, stream, size

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def map(self, change: Callable[[Frame], Frame]) -> None:
        """Pass every frame through ``change`` as it is read."""
        self._frames = map(change, self._frames)

    @property
    def done(self) -> float | None:
        """Fraction of the file that is read, or None."""
        if self._stream is None or not self._size:
            return None
        if self._stream.closed:
            return 1.0
        return min(1.0, self._stream.tell() / self._size)


def each_frame(numbers: range, read: Callable[[int], Frame]) -> Iterator[Frame]:
    """Frames by their numbers, for files with random access."""
    for number in numbers:
        with reading(number):
            frame = read(number)
        yield frame
