"""Faults on purpose, as SQLite's tests do: the n-th write, rename, lock, sync or allocation of a job fails.

For every n the job must say so in one sentence, leave whole what it leaves, and be completed by a resume.

One process imports everything and forks for each fault.  A preloaded library (``faults.c``) makes calls fail.
Faults that leave the same files behind, byte for byte, share one resume: it has nothing else to go by.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

#: Faults of each kind and job at most; 0: every n.
COUNT = 0
#: Kinds of calls by their number in ``faults.c``.
KINDS = {"write": 1, "rename": 2, "lock": 3, "sync": 4, "allocation": 5}
#: Allocations that fail have at least so many bytes: less is taken in pieces by allocators of their own.
LEAST = 32 * 1024
#: Job and kind of call → of how many n one is tried, where every one would take hours.
STRIDE: dict[tuple[str, str], int] = {}
#: Seconds of one run.
LIMIT = 300
#: What may come of a fault, good ones first.
OUTCOMES = ("completed", "one sentence", "traceback", "died", "hang", "not whole", "not resumed")
ROOT = Path(__file__).parents[2]


def build(folder: Path) -> Path:
    """Compile the library; raises FileNotFoundError without a compiler."""
    library = folder / "faults.so"
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True
    )
    return library


def main(count: int, seed: int = 0, names: list[str] | None = None) -> tuple[list[list[str]], list[str]]:
    """Table of outcomes by job and kind of call."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, "LD_PRELOAD": str(build(Path(scratch))), "OMP_NUM_THREADS": "1"}
        program = [sys.executable, "-m", "tests.reliability.faults", str(count), *(names or [])]
        process = subprocess.Popen(program, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        rows, wrong = [["job", "call", "faults", *OUTCOMES]], []
        for line in process.stdout:
            kind, *fields = line.rstrip("\n").split("\t")
            if kind == "row":
                rows.append(fields)
                print(*fields, sep="\t", file=sys.stderr, flush=True)
            elif kind == "wrong":
                wrong.append(fields[0])
                print(fields[0], file=sys.stderr, flush=True)
        if process.wait():
            wrong.append(f"the process of all jobs ended with {process.returncode}")
    return rows, wrong


def _child(work: Callable[[], str]) -> str:
    """What ``work`` gives in a forked child; "died" or "hang" where it gives nothing."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(LIMIT)
        try:
            text = work()
        except BaseException:
            text = "traceback " + " ".join(traceback.format_exc().split())[-400:]
        os.write(write, text.replace("\n", " ").replace("\t", " ").encode()[:4000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        text = stream.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "hang" if os.WTERMSIG(status) == signal.SIGALRM else f"died of signal {os.WTERMSIG(status)}"
    return text or f"died with code {os.waitstatus_to_exitcode(status)}"


def _run(job: Any, folder: Path, kind: int, n: int) -> str:
    """Run a job while call ``n`` of a kind fails: what it said, and the calls that there were."""
    from propensity.errors import PropensityError
    from propensity.files import disk_reason

    library = ctypes.CDLL(None)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    warnings.simplefilter("ignore")
    library.faults_arm(kind, ctypes.c_long(n), os.fsencode(folder / "out"), ctypes.c_long(LEAST))
    text = "completed"
    try:
        job.run(folder)
    except PropensityError as error:
        text = f"one sentence: {error}"
    except MemoryError:
        text = "one sentence: out of memory"  # the command line's
    except (OSError, RuntimeError) as error:
        library.faults_disarm()
        reason = disk_reason(error)  # the command line's
        text = (
            f"one sentence: {reason}" if reason else "traceback " + " ".join(traceback.format_exc().split())
        )
    finally:
        calls = library.faults_disarm()
    return f"{calls} {text}"


def _work(count: int, names: list[str]) -> None:
    """All jobs and kinds; a line for each on stdout."""
    import torch

    from tests.reliability.jobs import JOBS, warm

    torch.set_num_threads(1)
    report = os.fdopen(os.dup(1), "w", buffering=1)
    for name in names or list(JOBS):
        job = JOBS[name]
        warm(job)
        with tempfile.TemporaryDirectory() as place:
            sound = Path(place) / "sound"
            sound.mkdir()
            assert _child(partial(_prepare, job, sound)) == "done"
            whole = Path(place) / "whole"
            shutil.copytree(sound, whole)
            first = _child(partial(_run, job, whole, 0, 0))
            assert first.endswith("completed"), first
            expected = job.result(whole)
            resumed: dict[str, tuple[str, str]] = {}
            for kind, number in KINDS.items():
                outcomes: Counter[str] = Counter()
                stride = STRIDE.get((name, kind), 1)
                n = 1 - stride
                while count == 0 or n < count:
                    n += stride
                    folder = Path(place) / "run"  # always the same, since files may say where they are
                    shutil.copytree(sound, folder)
                    what, detail = _trial(job, folder, number, n, expected, resumed)
                    shutil.rmtree(folder)
                    if what == "no call":
                        break
                    outcomes[what] += 1
                    if what not in OUTCOMES[:2]:
                        print(f"wrong\t{name}, {kind} {n}: {what}: {detail[-500:]}", file=report)
                call = kind if stride == 1 else f"{kind}, every {stride}th"
                row = [name, call, str(outcomes.total()), *(str(outcomes[what]) for what in OUTCOMES)]
                print("row", *row, sep="\t", file=report)


def _prepare(job: Any, folder: Path) -> str:
    job.prepare(folder)
    return "done"


def _trial(
    job: Any, folder: Path, kind: int, n: int, expected: Any, resumed: dict[str, tuple[str, str]]
) -> tuple[str, str]:
    """One fault: what came of it, what is left, and whether a resume completes it."""
    text = _child(partial(_run, job, folder, kind, n))
    calls, _, said = text.partition(" ")
    if calls.isdigit() and int(calls) < n:
        return "no call", ""
    state = _state(folder)
    if state not in resumed:
        resumed[state] = _left(job, folder, expected)
    what, detail = resumed[state]
    if what:
        return what, f"{text} / {detail}"
    return _judge(said if calls.isdigit() else text), text


def _state(folder: Path) -> str:
    """What a resume finds: names and contents of all files."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()


def _left(job: Any, folder: Path, expected: Any) -> tuple[str, str]:
    """What is wrong with what a fault left or with a resume of it; nothing where all is well."""
    from tests.reliability.jobs import same

    for output in job.outputs:
        if (folder / output).exists():
            now = _child(lambda: str(bool(job.result(folder))))
            if now != "True":
                return "not whole", now
    again = _child(partial(_run, job, folder, 0, 0))
    if not again.endswith("completed"):
        return "not resumed", again
    equal = _child(lambda: str(same(job.result(folder), expected)))
    if equal != "True":
        return "not resumed", f"other numbers {equal}"
    left = [path for path in folder.rglob(".*") if path.is_file()]
    return ("not whole", f"left {left[0].name}") if left else ("", "")


def _judge(text: str) -> str:
    return next((what for what in OUTCOMES if text.startswith(what)), "traceback")


if __name__ == "__main__":
    _work(int(sys.argv[1]), sys.argv[2:])
