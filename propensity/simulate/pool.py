"""Where legs run: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from propensity.errors import InputError, MissingDependencyError, PropensityError
from propensity.simulate import processes


@dataclass(frozen=True)
class Pool:
    """An executor, how many legs run at once, how many to keep in flight, and its name."""

    executor: Executor
    workers: int
    slots: int
    name: str


@contextmanager
def open_pool(workers: int | None, scheduler: str | None, cores: int) -> Iterator[Pool]:
    """Open a local process pool, or a Dask cluster when ``scheduler`` is an address.

    Parameters
    ----------
    workers
        Local processes; None means the cores of this machine divided by ``cores``.
    scheduler
        Address such as ``tcp://host:8786``.
    cores
        Cores that one leg uses.

    Raises
    ------
    InputError, PropensityError, MissingDependencyError
        For a worker count below one, a cluster that doesn't answer, or no Dask.
    """
    if scheduler is not None:
        with _dask(scheduler) as pool:
            yield pool
        return
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}: give 1 or more.")
    number = workers or max(1, _available() // cores)
    # A fresh interpreter each: LAMMPS and MPI don't survive a fork.
    leash = Path(tempfile.mkdtemp(prefix="propensity-pool-"))
    executor = ProcessPoolExecutor(
        number,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=processes.end_with_parent,
        initargs=(os.getpid(), leash),
    )
    try:
        yield Pool(executor, number, 2 * number, f"{number} process{'es' if number > 1 else ''}")
        executor.shutdown(wait=True)
    except BaseException:
        # Legs may have half an hour to go, of which nothing would be used: without their folder workers stop.
        shutil.rmtree(leash, ignore_errors=True)
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        shutil.rmtree(leash, ignore_errors=True)


@contextmanager
def _dask(address: str) -> Iterator[Pool]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError(
            "--scheduler needs Dask: pip install 'propensity[dask]', here and on the workers."
        ) from None
    try:
        client = Client(address, timeout="15s")
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PropensityError(
            f"no Dask scheduler answers at {address} ({reason}): start one with `dask scheduler` and give its"
            " address, such as tcp://host:8786."
        ) from None
    with client:
        threads = sum(client.nthreads().values())
        # Clusters that grow with their queue start empty, so some work must wait there.
        yield Pool(
            client.get_executor(pure=False),
            max(1, threads),
            max(2 * threads, 64),
            f"Dask at {address} ({threads} threads now)",
        )


def _available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
