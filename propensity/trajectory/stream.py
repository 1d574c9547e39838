"""Frames: a trajectory that is read as it is iterated over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from propensity.errors import DataError
from propensity.trajectory.frame import Frame, LaterFrame, naming_frame


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
    read : callable or None
        Reads the frame of a number, for files with random access.
    """

    read: Callable[[int], Frame] | None = None

    def __init__(
        self,
        frames: Iterator[LaterFrame],
        total: int | None = None,
        stream: Any = None,
        size: int = 0,
        final: int | None = None,
    ) -> None:
        self._frames, self.total, self._stream, self._size = frames, total, stream, size
        self.final = final
        self._changes: list[Callable[[Frame], Frame]] = []

    def __iter__(self) -> Iterator[Frame]:
        return (later.frame() for later in self.later())

    def later(self) -> Iterator[LaterFrame]:
        """The same frames, each taken apart by whoever asks it to."""
        return (later.changed(self._changes) for later in self._frames)

    def reread_by(self, read: Callable[[int], Frame]) -> None:
        """Have other processes read a frame by its number; ``read`` travels to them."""
        self._frames = (later.elsewhere(partial(read, later.number)) for later in self._frames)

    def map(self, change: Callable[[Frame], Frame]) -> None:
        """Pass every frame through ``change`` as it is read."""
        self._changes.append(change)

    def refuse_final(self, why: str) -> None:
        """Raise a DataError in place of the last frame of the file, or the last selected where that isn't
        known.
        """
        self._frames = self._but_final(self._frames, why)

    def _but_final(self, frames: Iterator[LaterFrame], why: str) -> Iterator[LaterFrame]:
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


def numbered_frames(numbers: range, read: Callable[[int], Frame], final: int | None = None) -> Frames:
    """Frames by their numbers, for files with random access.

    Parameters
    ----------
    numbers
        Of the frames.
    read
        Reads one of them.
    final
        Number of the last frame of the file, where that is known.
    """
    frames = Frames((LaterFrame(k, partial(read, k)) for k in numbers), len(numbers), final=final)
    frames.read = read
    return frames
