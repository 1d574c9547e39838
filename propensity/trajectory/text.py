"""Text files: decompressed as they are read, line by line, with an eye on where frames are cut."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from propensity.errors import DataError, MissingDependencyError
from propensity.trajectory.frame import LaterFrame
from propensity.trajectory.stream import Frames

#: First bytes → suffix of a compressed file and what opens it.
_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
COMPRESSED = (*_MAGIC.values(), ".lzma")
#: The largest number of particles that is taken for one.
MOST = 10**12
#: Lines that are looked at as one text: what a file claims beyond may not be there.
_AT_ONCE = 10**6


def floats(words: Sequence[Sequence[str]]) -> np.ndarray:
    """Numbers in lines of one length; Python's own form 1_000 is none."""
    if len({len(row) for row in words}) > 1:
        raise DataError(f"{[' '.join(row)[:40] for row in words]} are lines of unequal length")
    bad = next((word for row in words for word in row if not _is_number(word)), None)
    if bad is not None:
        raise DataError(f"{bad[:40]!r} is no number")
    return np.array(words, dtype=float)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return "_" not in word


class Cut(DataError):
    """A frame ends before its last particle."""


class Lines:
    """Lines of a stream, which can be put back."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._back: list[str] = []

    def read(self) -> str:
        """The next line with its end; empty at the end of the file."""
        return self._back.pop() if self._back else self._stream.readline()

    def put_back(self, *lines: str) -> None:
        """Have ``lines`` read next."""
        self._back += reversed(lines)

    def rows(self, n: int, number: int, mark: re.Pattern[str] | None, what: str = "particles") -> list[str]:
        """The lines of :meth:`text`."""
        return self.text(n, number, mark, what).split("\n") if n else []

    def text(
        self,
        n: int,
        number: int,
        mark: re.Pattern[str] | None,
        what: str = "particles",
        keep: bool = True,
    ) -> str:
        """The next ``n`` lines, one for each particle of frame ``number``, without the last one's end; empty
        unless ``keep``.

        Raises
        ------
        Cut
            When the file ends before, or inside the last line, or where ``mark`` finds the start of another
            frame in a line; that frame is read next.
        """
        if not self._back and n <= _AT_ONCE:
            block = list(islice(self._stream, n))
            text = "".join(block)
            if len(block) == n and text.endswith("\n") and not (mark and mark.search(text)):
                return text[:-1] if keep else ""
            self.put_back(*block)  # something is wrong with one of them
        found: list[str] = []
        line = "\n"
        for k in range(n):
            line = self.read()
            begin = mark.search(line) if mark else None
            if not line:
                raise Cut(f"the file ends after {k} of {n} {what}")
            if begin:
                self.put_back(line[begin.start() :])
                raise Cut(f"it is cut after {k} of {n} {what}, {go_on(number)}")
            if keep:
                found.append(line.rstrip("\n"))
        if not line.endswith("\n"):
            raise Cut("the file ends inside its last line, which has no line end: some of it may be missing")
        return "\n".join(found)


def go_on(number: int) -> str:
    """What to do behind frame ``number``, which another frame cuts short."""
    return f"and the next frame begins there (start at {number + 1} to go on behind it)"


def at_most(text: str) -> int:
    """A number of particles to skip: a frame that isn't wanted ends at the next, whatever it claims."""
    return int(text) if text.isdecimal() and len(text) < 12 else MOST


def particle_count(text: str) -> int:
    """A number of particles.

    Raises
    ------
    DataError
        When it is none.
    """
    if not text.isdecimal() or len(text) > 20 or int(text) > MOST:
        raise DataError(f"the number of atoms reads {text[:40]!r}")
    return int(text)


def open_text(path: Path) -> tuple[TextIO, Any]:
    """Text stream, and the raw stream below whose position says how much is read."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} can't be opened ({error.strerror}).") from None
    head = raw.read(6)
    raw.seek(0)
    kind = next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), "")
    if not kind and path.suffix.lower() in COMPRESSED:
        kind = path.suffix.lower()  # empty or no archive: its library says so
    stream: Any = raw
    if kind == ".zst":
        stream = _zstd(raw, path)
    elif kind:
        opener: Any = {".gz": gzip.open, ".bz2": bz2.open}.get(kind, lzma.open)
        stream = opener(raw)
    return io.TextIOWrapper(stream, encoding="utf-8", errors="replace"), raw


def _zstd(raw: Any, path: Path) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14

        return zstd.open(raw)
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        raise MissingDependencyError(
            f'{path} is compressed by zstd, which needs a package: pip install "propensity[zstd]", or'
            " decompress the file."
        ) from None
    return zstandard.open(raw, "rb")


def head(path: Path, n: int = 1) -> list[str]:
    """The first ``n`` lines, each of at most 80 characters.

    Raises
    ------
    DataError
        When the file can't be read.
    """
    stream, raw = open_text(path)
    with raw, stream:
        try:
            return [stream.readline(80) for _ in range(n)]
        except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError):
            raise DataError(f"{path} is not a readable {path.suffix} file: decompress it to see.") from None


def open_frames(
    path: Path,
    read: Callable[[TextIO, int, int | None, int], Iterator[LaterFrame]],
    start: int,
    stop: int | None,
    step: int,
) -> Frames:
    """Frames that ``read`` finds in a text file."""
    stream, raw = open_text(path)

    def frames() -> Iterator[LaterFrame]:
        with raw, closing(stream):
            yield from read(stream, start, stop, step)

    return Frames(frames(), None, raw, path.stat().st_size)


def ends_inside_a_line(path: Path) -> bool:
    """Whether a text file ends in a line that has a number and no line end, as one does that was cut."""
    with path.open("rb") as stream:
        first = stream.read(4096)
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - 4096))
        tail = stream.read()
    last = tail.replace(b"\r", b"\n").rpartition(b"\n")[2]
    return b"\0" not in first + tail and any(chr(byte).isdigit() for byte in last)
