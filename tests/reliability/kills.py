"""kill −9 at random moments of each job; a resume must then complete it, to the same numbers.

One process imports everything and forks, so that moments fall into the work and not into the start of Python.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

#: Kills of each job.
COUNT = 50
#: Seconds of one run.
LIMIT = 300
OUTCOMES = ("resumed to the same", "killed", "over before", "not whole", "not resumed", "left behind")


def main(count: int, seed: int = 0, names: list[str] | None = None) -> tuple[list[list[str]], list[str]]:
    """Table of kills and what became of the jobs."""
    import torch

    from tests.reliability.jobs import JOBS, WITH_WORKERS

    torch.set_num_threads(1)
    jobs = {**JOBS, **WITH_WORKERS}
    rows, wrong = [["job", *OUTCOMES]], []
    for name in names or jobs:
        counts, bad = kill_at_random(jobs[name], count, random.Random(f"{seed} {name}"))
        rows.append([name, *(str(counts[what]) for what in OUTCOMES)])
        print(*rows[-1], sep="\t", flush=True)
        wrong += [f"{name}: {text}" for text in bad]
    return rows, wrong


def kill_at_random(job: Any, count: int, rng: random.Random) -> tuple[Counter[str], list[str]]:
    """``count`` kills of a job, several upon one run where it survives them; then its resume."""
    from tests.reliability.jobs import same, warm

    warm(job)
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        sound, whole = Path(place) / "sound", Path(place) / "whole"
        sound.mkdir()
        _end(_start(partial(job.prepare, sound)))
        shutil.copytree(sound, whole)
        began = time.monotonic()
        assert _end(_start(partial(job.run, whole))) == 0, "the job doesn't run"
        length = time.monotonic() - began
        expected = job.result(whole)
        while counts["killed"] < count:
            folder = Path(place) / "run"
            shutil.copytree(sound, folder)
            for _ in range(rng.choice((1, 1, 2, 4))):
                child = _start(partial(job.run, folder))
                time.sleep(rng.random() * 1.05 * length)
                os.kill(child, signal.SIGKILL)
                counts["killed" if os.WIFSIGNALED(os.waitpid(child, 0)[1]) else "over before"] += 1
                for output in job.outputs:
                    if (folder / output).exists() and _end(_start(partial(job.result, folder))):
                        wrong.append(f"{output} is there and not whole")
                        counts["not whole"] += 1
            if _end(_start(partial(job.run, folder))) or not same(job.result(folder), expected):
                counts["not resumed"] += 1
                wrong.append("a resume failed or gave other numbers")
            else:
                counts["resumed to the same"] += 1
            left = [path for path in folder.rglob(".*") if path.is_file()]
            if left:
                counts["left behind"] += 1
                wrong.append(f"{left[0].name} is left behind")
            shutil.rmtree(folder)
    return counts, wrong


def _start(work: Callable[[], Any]) -> int:
    """Number of a forked child that does some work, quietly."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        signal.alarm(LIMIT)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        warnings.simplefilter("ignore")
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def _end(child: int) -> int:
    """Wait; 0 where all went well."""
    return os.waitpid(child, 0)[1]
