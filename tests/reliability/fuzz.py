"""Damaged files by the thousand, each read within a limit of time and memory, outcomes counted.

One process a reader does the work; it is watched from outside, since a library may hang where no signal
reaches it, or take the process with it.
"""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

#: Seconds of the processor and bytes that one input may take; without a sign of life, seconds on the wall.
SECONDS, BYTES, SILENCE = 10.0, 2 * 2**30, 120.0
#: Inputs of the table in the docs.
COUNT = 100_000
#: What may come of an input, good ones first.
OUTCOMES = ("read", "refused", "traceback", "memory", "hang", "crash")
ROOT = Path(__file__).parents[2]


class _TooLong(BaseException):
    pass


def _raise(number: int, frame: Any) -> None:
    raise _TooLong


def damaged(name: str, index: int, seed: int, sound: bytes) -> bytes:
    """Input ``index`` of a reader: always the same."""
    from tests.reliability.readers import READERS

    rng = random.Random(f"{seed} {name} {index}")
    return READERS[name].damage(sound, rng)


def outcome(name: str, path: Path) -> tuple[str, str]:
    """Read one file; what came of it, and where a traceback came from."""
    from propensity.errors import PropensityError
    from tests.reliability.readers import READERS

    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            READERS[name].read(path)
        return "read", ""
    except PropensityError as error:
        text = str(error)
        return (
            ("refused", "")
            if "\n" not in text and len(text) < 2000
            else ("traceback", f"message {text[:80]!r}")
        )
    except _TooLong:
        return "hang", ""
    except MemoryError:
        return "memory", _where()
    except Exception:
        return "traceback", _where()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _where() -> str:
    kind, error, trace = sys.exc_info()
    frames = [
        f
        for f in traceback.extract_tb(trace)
        if "/propensity/" in f.filename or "lammps_bridge" in f.filename
    ]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-3:]))
    return f"{getattr(kind, '__name__', kind)}: {' '.join(str(error).split())[:100]} @ {places}"


def work(first: int, count: int, seed: int, names: list[str]) -> None:
    """Read ``count`` inputs of each reader, from number ``first`` of all on; a line for each on stdout."""
    import torch

    from tests.reliability.readers import READERS

    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, _raise)
    report, sound = sys.stdout, {}
    with tempfile.TemporaryDirectory() as scratch:
        # What is sound must be read, which imports everything before memory is bounded.
        for name in names:
            path = Path(scratch) / name / READERS[name].file
            path.parent.mkdir()
            READERS[name].make(path)
            sound[name] = path.read_bytes()
            READERS[name].read(path)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        place = Path(scratch) / "inputs"
        place.mkdir()
        print("ready", file=report, flush=True)
        for number in range(first, count * len(names)):
            name = names[number // count]
            file = place / READERS[name].file
            file.write_bytes(damaged(name, number % count, seed, sound[name]))
            # Above what there is now: gsd keeps some memory of each file that it refuses.
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.RLIM_INFINITY))
            what, where = outcome(name, file)
            print(f"{number}\t{what}\t{where}", file=report, flush=True)
            for left in place.iterdir():
                if left.is_file():
                    left.unlink()


def fuzz(
    names: list[str], count: int, seed: int = 0, seconds: float | None = None
) -> tuple[dict[str, Counter[str]], list[str]]:
    """Outcomes of ``count`` inputs of each reader, or of those that fit into ``seconds``; what went wrong."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    wrong: list[str] = []
    number, end, total = 0, None, count * len(names)

    def note(number: int, what: str, where: str) -> None:
        name = names[number // count]
        counts[name][what] += 1
        if what not in OUTCOMES[:2]:
            wrong.append(f"{name} #{number % count}: {what} {where}")
            print(wrong[-1], file=sys.stderr, flush=True)

    while number < total:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.fuzz", str(number), str(count), str(seed), *names],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            process.kill()
            raise AssertionError("a reader doesn't read its sound file: see above")
        end = end or (None if seconds is None else time.monotonic() + seconds)
        watch = _Watch(process)
        for line in process.stdout:
            watch.beat()
            text = line.rstrip("\n").split("\t")
            note(int(text[0]), text[1], text[2])
            number = int(text[0]) + 1
            if end is not None and time.monotonic() > end:
                total = number
                process.kill()
                break
        watch.stop()
        process.wait()
        if number < total:
            note(number, "hang" if watch.late else "crash", f"code {process.returncode}")
            number += 1
    return counts, wrong


class _Watch:
    """Kills a process that gives no sign of life: it waits for something, or a library doesn't come back."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.late, self.last = process, False, time.monotonic()
        self.ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def beat(self) -> None:
        self.last = time.monotonic()

    def stop(self) -> None:
        self.ended.set()

    def _watch(self) -> None:
        while not self.ended.wait(0.5):
            if time.monotonic() - self.last > SILENCE:
                self.late = True
                self.process.kill()
                return


def main(count: int, seed: int = 0, names: list[str] | None = None) -> tuple[list[list[str]], list[str]]:
    """Table of outcomes of all readers together with ``count`` inputs, and what went wrong."""
    from tests.reliability.readers import READERS

    names = names or list(READERS)
    counts, wrong = fuzz(names, -(-count // len(names)), seed)
    counts["all"] = sum(counts.values(), Counter())
    rows = [
        [name, str(found.total()), *(str(found[what]) for what in OUTCOMES)] for name, found in counts.items()
    ]
    return [["reader", "inputs", *OUTCOMES], *rows], wrong


if __name__ == "__main__":
    work(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
