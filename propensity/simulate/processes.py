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

_live_folders: set[Path] = set()
_live_programs: set[int] = set()


@contextmanager
def scratch() -> Iterator[Path]:
    """Temporary folder, removed at the end even when the parent process is killed."""
    folder = Path(tempfile.mkdtemp(prefix="propensity-")).resolve()
    _live_folders.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _live_folders.discard(folder)


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


def end_with_parent(parent: int) -> None:
    """Initialise a pool worker: leave Ctrl-C to the parent, and stop when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    # LAMMPS releases the interpreter lock, so this runs beside it; a killed parent leaves no other sign.
    while os.getppid() == parent:
        time.sleep(0.5)
    for pid in list(_live_programs):
        _kill(pid)
    for folder in list(_live_folders):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
