"""Two and four processes fill one store at once, some killed: nothing that was done is lost or made twice."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

#: Rounds with two processes and as many with four.
COUNT = 50
OUTCOMES = ("rounds", "structures", "kills", "waited or refused in a sentence", "lost", "failed")
SAMPLES = 12


def main(count: int, seed: int = 0, names: list[str] | None = None) -> tuple[list[list[str]], list[str]]:
    """Table of rounds by the number of processes."""
    rows, wrong = [["processes on one store", *OUTCOMES]], []
    for processes in (2, 4):
        counts, bad = fill(processes, count, random.Random(f"{seed} {processes}"))
        rows.append([str(processes), *(str(counts[what]) for what in OUTCOMES)])
        print(*rows[-1], sep="\t", flush=True)
        wrong += [f"{processes} processes: {text}" for text in bad]
    return rows, wrong


def fill(processes: int, rounds: int, rng: random.Random) -> tuple[Counter[str], list[str]]:
    """Each round: all processes add a share, in half of the rounds one is killed; a last one finishes."""
    from propensity.data import StoreWriter, open_dataset
    from tests.training.conftest import make_sample

    assert StoreWriter and make_sample  # imported before the forks, so that writers meet at work
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for _ in range(rounds):
        counts["rounds"] += 1
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "s.h5"
            children = [_start(path, k, processes) for k in range(processes)]
            if rng.random() < 0.5:
                time.sleep(rng.random() * 0.3)
                victim = rng.choice(children)
                os.kill(victim, signal.SIGKILL)
            for child in children:
                status = os.waitpid(child, 0)[1]
                if os.WIFSIGNALED(status):
                    counts["kills"] += 1
                elif os.waitstatus_to_exitcode(status) == 3:
                    counts["waited or refused in a sentence"] += 1
                elif status:
                    counts["failed"] += 1
                    wrong.append("a process ended in a traceback")
            # Whoever was done said so: all of that must be there, before anyone makes it again.
            said = {line for file in Path(place).glob("said*") for line in file.read_text().splitlines()}
            status = os.waitpid(_start(path, None, processes, finish=True), 0)[1]
            found = set(open_dataset(path).names) if path.exists() else set()
            counts["structures"] += len(found)
            again = {line for file in Path(place).glob("again*") for line in file.read_text().splitlines()}
            lost = (said & again) | ({f"s{k}" for k in range(SAMPLES)} - found)
            if status or lost:
                counts["lost"] += len(lost)
                counts["failed"] += bool(status)
                wrong.append(f"lost {sorted(lost)}, the last process ended with {status}")
    return counts, wrong


def _start(path: Path, share: int | None, processes: int, finish: bool = False) -> int:
    """A process that adds every structure of its share that isn't done, and notes what it added."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = _add(path, range(SAMPLES) if share is None else range(share, SAMPLES, processes), finish)
    finally:
        os._exit(code)


def _add(path: Path, numbers: range, finish: bool) -> int:
    from propensity.data import StoreWriter
    from propensity.errors import PropensityError
    from tests.training.conftest import make_sample

    signal.alarm(600)
    note = path.with_name(f"{'again' if finish else 'said'}{os.getpid()}")
    try:
        with StoreWriter(path) as writer, note.open("w", encoding="utf-8", buffering=1) as said:
            done = writer.done()
            for k in numbers:
                if f"s{k}" not in done:
                    writer.add(make_sample(k, name=f"s{k}"))
                    said.write(f"s{k}\n")
    except PropensityError:
        return 3
    return 0
