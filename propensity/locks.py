"""Locks between processes on files that their last holder removes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from propensity.errors import PropensityError

try:
    import fcntl
except ImportError:  # Windows: one writer at a time is then the user's care
    fcntl = None  # type: ignore[assignment]


#: How often a folder may go between its making and its use; in some nothing can ever be made.
_ATTEMPTS = 20


class FileLock:
    """Lock on a file, made with its folder when absent.

    The kernel drops it with the process, however it dies.

    Parameters
    ----------
    path
        File that stands for the lock.  Its holder may delete it: whoever waited then locks a new one.
    passing
        Delete the file on release.
    """

    def __init__(self, path: str | os.PathLike[str], *, passing: bool = False) -> None:
        self.path, self.passing = Path(path), passing
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take the lock; False when another holds it and ``wait`` is off.

        A lock that is held already changes its kind, or is lost where it can't.

        Raises
        ------
        PropensityError
            When its file can't be written.
        """
        while True:
            if self._handle is None:
                self._handle = self._open()
            if not _lock(self._handle, shared, wait):
                self._close()
                return False
            if self._current():
                return True
            self._close()

    def release(self) -> None:
        """Let others take it."""
        if self.passing and self._handle is not None:
            self.path.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _open(self) -> int:
        left = _ATTEMPTS
        while True:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                return os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            except OSError as error:
                left -= 1
                if left and isinstance(error, FileNotFoundError):
                    continue
                raise PropensityError(
                    f"{self.path.parent} can't be written ({error.strerror}): choose a writable folder."
                ) from None

    def _current(self) -> bool:
        """Whether the file that is locked is still the one of that name."""
        assert self._handle is not None
        try:
            return os.path.samestat(os.fstat(self._handle), os.stat(self.path))
        except FileNotFoundError:
            return False

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __del__(self) -> None:
        self._close()


@contextmanager
def alone(path: str | os.PathLike[str], refusal: str) -> Iterator[None]:
    """Hold a lock for the time of the block, and leave no file of it behind.

    Parameters
    ----------
    path
        File that stands for the lock; what a killed process left of it does not matter.
    refusal
        What is said where another process holds it.

    Raises
    ------
    PropensityError
        The refusal, at once.
    """
    lock = FileLock(path, passing=True)
    if not lock.acquire(wait=False):
        raise PropensityError(refusal)
    try:
        yield
    finally:
        lock.release()


def _lock(handle: int, shared: bool, wait: bool) -> bool:
    if fcntl is None:
        return True
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks
    return True
