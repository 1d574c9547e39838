"""Frames: a trajectory that is read as it is iterated over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

from propensity.errors import DataError
from propensity.trajectory.frame import Frame, naming_frame


class Frames:
    """Frames of a trajectory in order, read when asked for.

    Attributes
    ----------
    total : int or None
        Number of frames selected, where that is known without reading the file.
    done : float or None
        Fraction of the file that is read, for text files, whose number of frames isn't known.
    final : int or None
        Number of the last frame of the file, selected or not, where that is known.
    """

    def __init__(
        self,
        frames: Iterator[Frame],
        total: int | None = None,
        stream: Any = None,
        size: int = 0,
        final: int | None = None,
    ) -> None:
        self._frames, self.total, self._stream, self._size = frames, total, stream, size
        self.final = final

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def map(self, change: Callable[[Frame], Frame]) -> None:
        """Pass every frame through ``change`` as it is read."""
        self._frames = map(change, self._frames)

    def refuse_final(self, why: str) -> None:
        """Raise a DataError in place of the last frame of the file, or the last selected where that isn't
        known.
        """
        self._frames = self._but_final(self._frames, why)

    def _but_final(self, frames: Iterator[Frame], why: str) -> Iterator[Frame]:
        frame = next(frames, None)
        while frame is not None:
            following = next(frames, None)
            if following is None and self.final in (None, frame.number):
                with naming_frame(frame.number):
                    raise DataError(why)
            yield frame
            frame = following

    @property
    def done(self) -> float | None:
        """Fraction of the file that is read, or None."""
        if self._stream is None or not self._size:
            return None
        if self._stream.closed:
            return 1.0
        return cast("float | None", min(1.0, self._stream.tell() / self._size))


def each_frame(numbers: range, read: Callable[[int], Frame]) -> Iterator[Frame]:
    """Frames by their numbers, for files with random access."""
    for number in numbers:
        with naming_frame(number):
            frame = read(number)
        yield frame
