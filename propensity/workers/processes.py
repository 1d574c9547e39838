"""Worker processes and programs that end with their parent, and scratch folders that go with them."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

#: Folder of a pool, in which its workers have theirs; None outside a pool.
_leash: Path | None = None
_live_programs: set[int] = set()


#: What stops the work of a thread, by the thread.
_stops: dict[int, list[Callable[[], object]]] = {}
#: Begin of the names of scratch folders, and the file whose lock says that a folder's owner lives.
_PREFIX, _ALIVE = "propensity-", ".alive"
#: Seconds in which a new folder may not have its lock yet.
_YOUNG = 60.0


@contextmanager
def scratch_folder(prefix: str = _PREFIX) -> Iterator[Path]:
    """Temporary folder, removed at the end, or at the start of another process where this one is killed."""
    _sweep(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=_leash)).resolve()
    with open(folder / _ALIVE, "w", encoding="utf-8") as alive:
        _locked(alive)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=1)
def _sweep(temporary: Path) -> None:
    """Remove folders of processes that were killed, once a process: the kernel has dropped their locks."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < _YOUNG or not (folder / _ALIVE).exists():
                continue
            with open(folder / _ALIVE, "r+", encoding="utf-8") as alive:
                if _locked(alive):
                    shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # another user's, or just gone


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def stoppable(stop: Callable[[], object]) -> Iterator[None]:
    """Let :func:`stop_thread` end what this thread does in the block by ``stop``, called from another one."""
    stops = _stops.setdefault(threading.get_ident(), [])
    stops.append(stop)
    try:
        yield
    finally:
        stops.remove(stop)


def stop_thread(thread: int) -> None:
    """End the work of a thread whose result nobody wants any more, where it said how."""
    for stop in list(_stops.get(thread, ())):
        stop()


def run_program(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Run a program in ``folder``; returns its exit code and the end of what it printed."""
    with open(folder / "output.txt", "w+b") as output:
        # Its own group, so that mpiexec goes with all of its ranks.
        program = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _live_programs.add(program.pid)
        try:
            with stoppable(lambda: _kill(program.pid)):
                code = program.wait()
        finally:
            if program.poll() is None:
                _kill(program.pid)
                program.wait()
            _live_programs.discard(program.pid)
        output.seek(0)
        return code, output.read().decode(errors="replace")[-20000:]


def end_with_parent(parent: int, leash: Path) -> None:
    """Initialise a pool worker: leave signals to the parent, and stop when it or the folder ``leash`` is
    gone.
    """
    global _leash
    _leash = leash
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_watch, args=(parent, leash), daemon=True).start()


def let_go(leash: Path) -> None:
    """End the workers of a pool, whatever they do."""
    shutil.rmtree(leash, ignore_errors=True)


def _watch(parent: int, leash: Path) -> None:
    # LAMMPS releases the interpreter lock, so this runs beside it; a killed parent leaves no other sign.
    while os.getppid() == parent and leash.exists():
        time.sleep(0.2)
    for pid in list(_live_programs):
        _kill(pid)
    shutil.rmtree(leash, ignore_errors=True)
    os._exit(1)


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
