"""Writing files so that nothing already written is ever damaged."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from propensity.errors import DataError, PropensityError


def regular(path: str | os.PathLike[str]) -> Path:
    """The path itself, which must be a plain file: a pipe or a terminal would be waited for without end.

    Raises
    ------
    FileNotFoundError
        When there is nothing.
    DataError
        When it is a folder, a pipe, a socket or a device.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a null character in the name
        raise DataError(f"{str(path)!r} is no path ({error}).") from None
    if stat.S_ISREG(mode):
        return path
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    raise DataError(
        f"{path} can't be read: it is {kinds.get(stat.S_IFMT(mode), 'a device')}, so give a plain file."
    )


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds and vanishes when it
    fails.

    Raises
    ------
    PropensityError
        When the folder doesn't exist or can't be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays, since several writers choose the format by it.
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise PropensityError(
            f"{target} can't be written ({error.strerror}): choose a writable folder."
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
