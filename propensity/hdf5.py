"""HDF5 on a disk that may be full: the library crashes where writes fail as it closes, so it isn't told."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h5py


class _Remembering(io.RawIOBase):
    """A file that pretends every write to succeed, and remembers the first error."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._file = open(path, "w+b", buffering=0)
        self.trouble: OSError | None = None

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        view = memoryview(data).cast("B")
        done = 0
        while self.trouble is None and done < len(view):
            try:
                done += self._file.write(view[done:])
            except OSError as error:
                self.trouble = error
        if self.trouble is not None:
            self._file.seek(len(view) - done, os.SEEK_CUR)
        return len(view)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._file.readinto(buffer)
        if self.trouble is not None and found < len(buffer):  # what was never written
            buffer[found:] = bytes(len(buffer) - found)
            found = len(buffer)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.trouble = self.trouble or error
            return self.tell() if size is None else size

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self.trouble = self.trouble or error
        super().close()


@contextmanager
def writing(
    path: str | os.PathLike[str], libver: tuple[str, str] | None = None
) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Yield a new HDF5 file, and a function that raises what went wrong with its writes so far.

    ``libver`` as of :class:`h5py.File`.

    Raises
    ------
    OSError
        When the block ends and any write had failed.
    """
    stream = _Remembering(path)

    def check() -> None:
        if stream.trouble is not None:
            raise stream.trouble

    try:
        with h5py.File(stream, "w", libver=libver, locking=False) as file:
            yield file, check
    except Exception:
        check()  # what HDF5 made of it says less
        raise
    finally:
        stream.close()
    check()
