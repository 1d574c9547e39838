"""Writing files so that nothing already written is ever damaged."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from propensity.errors import DataError, InputError, PropensityError

#: Troubles of the disk, for which no program is to blame.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ENOMEM)
_DISK_TEXTS = [os.strerror(number) for number in _DISK]
#: Marks temporary files with the machine and the process that write them.
_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_TEMPORARY = re.compile(rf"\..*\.{_HOST}-(\d+)-[^.]*(\.[^.]*)?")
#: Folders in which this process has looked for what killed ones have left.
_swept: set[Path] = set()


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
    what = kinds.get(stat.S_IFMT(mode), "a device")
    raise DataError(f"{path} can't be read: it is {what}, so give a plain file.")


def in_script(path: str | os.PathLike[str]) -> str:
    """A path as it may stand between double quotes in the input of another program.

    Raises
    ------
    InputError
        When quotes or control characters in it could end the quotes, and what follows be taken for commands.
    """
    text = os.fspath(path) if isinstance(path, str) else str(path)
    # The other program sees bytes: what they are in the alphabet of this process doesn't matter.
    raw = os.fsencode(text)
    if not raw.decode("utf-8", "replace").isprintable() or set(raw) & set(b"\"'`"):
        raise InputError(
            f"the path {text!r} has quotes or characters that can't be printed, which other programs would"
            " take for commands: rename that folder."
        )
    return text


def check_writable(path: str | os.PathLike[str], *, folder: bool = False) -> None:
    """Refuse, before any work, an output that could not be written at its end.

    Parameters
    ----------
    path
        Of a file.
    folder
        It is a folder instead.

    Raises
    ------
    InputError
        When it is there as the other of the two.
    PropensityError
        When its folder can't be written.
    """
    path = Path(path)
    if folder and os.path.exists(path) and not path.is_dir():
        raise InputError(f"output {path} is a file: give the name of a folder.")
    if not folder and os.path.isdir(path):
        raise InputError(f"output {path} is a folder: give the name of a file.")
    place = (path if folder else path.parent).absolute()
    existing = next(p for p in (place, *place.parents) if os.path.exists(p))
    reason = "" if os.access(existing, os.W_OK | os.X_OK) else f" ({os.strerror(errno.EACCES)})"
    try:
        os.lstat(path)
    except FileNotFoundError:
        pass
    except OSError as error:  # its name is too long, or what should be a folder is a file
        reason = f" ({error.strerror})"
    if reason:
        raise PropensityError(f"{path} can't be written{reason}: choose a writable folder.")


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it when the block succeeds and vanishes when it
    fails; what a killed process has left there vanishes too.

    Raises
    ------
    PropensityError
        When the folder doesn't exist or can't be written, or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        # The suffix stays, since several writers choose the format by it.
        prefix = f".{target.stem[:100]}.{_HOST}-{os.getpid()}-"
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
    except OSError as error:
        raise PropensityError(
            f"{target} can't be written ({error.strerror}): choose a writable folder."
        ) from None
    os.close(handle)
    temporary = Path(name)
    try:
        with disk_trouble(target):
            yield temporary
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def disk_trouble(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the errors of a full or failing disk, whatever library they come from, into one sentence.

    Raises
    ------
    PropensityError
        Naming ``path`` and the trouble.
    """
    try:
        yield
    except Exception as error:
        reason = disk_reason(error)
        if isinstance(error, PropensityError) or reason is None:
            raise
        raise PropensityError(
            f"{path} can't be written ({reason}): make room or choose another folder, then run the same"
            " command again."
        ) from None


def disk_reason(error: BaseException) -> str | None:
    """What is wrong with the disk by an exception; None when it is about something else."""
    if isinstance(error, OSError) and error.errno in _DISK:
        return os.strerror(error.errno)
    # HDF5, safetensors and torch keep the number of the system's error in their text only.
    if isinstance(error, (OSError, RuntimeError)) or type(error).__name__ == "SafetensorError":
        return next((text for text in _DISK_TEXTS if text in str(error)), None)
    return None


def _sweep(folder: Path) -> None:
    """Remove temporary files of processes of this machine that are no more."""
    if folder in _swept:
        return
    _swept.add(folder)
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        found = _TEMPORARY.fullmatch(name)
        if found and not _alive(int(found[1])):
            (folder / name).unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, OSError):
        return True
    return True
