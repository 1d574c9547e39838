"""Worker processes and programs that end with their parent, and scratch folders that go with them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

#: Folder of a pool, in which its workers have theirs; None outside a pool.
_leash: Path | None = None
_live_programs: set[int] = set()


@contextmanager
def scratch() -> Iterator[Path]:
    """Temporary folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="propensity-", dir=_leash)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def call(words: Sequence[str], folder: Path) -> tuple[int, str]:
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
