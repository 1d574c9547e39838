"""Open processes of this machine, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from propensity.errors import InputError
from propensity.workers import processes, remote
from propensity.workers.pool import LocalPool, Pool


@contextmanager
def open_pool(
    workers: int | None,
    scheduler: Any,
    cores: int = 1,
    check: remote.Check = remote.package_version,
    **cluster: Any,
) -> Iterator[Pool]:
    """Open a local process pool, or a Dask cluster when ``scheduler`` is an address or a client.

    Parameters
    ----------
    workers
        Local processes; None means the cores of this machine divided by ``cores``.
    scheduler
        Address such as ``tcp://host:8786``, or an open ``distributed.Client``.
    cores
        Cores that one call uses.
    check
        Tells the versions of what the work needs, see :class:`propensity.workers.cluster.ClusterPool`.
    cluster
        Further options of that class.

    Raises
    ------
    InputError, PropensityError, MissingDependencyError
        For a worker count below one or beside a scheduler, a cluster that doesn't answer, or no Dask.
    """
    if scheduler is not None:
        if workers is not None:
            raise InputError("--workers are processes of this machine and --scheduler a cluster: give one.")
        from propensity.workers.cluster import ClusterPool

        pool = ClusterPool(scheduler, check, **cluster)
        try:
            yield pool
        finally:
            pool.close()
        return
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}: give 1 or more.")
    number = workers or max(1, _available() // cores)
    with processes.scratch_folder("propensity-pool-") as leash:
        # A fresh interpreter each: LAMMPS and MPI don't survive a fork.
        executor = ProcessPoolExecutor(
            number,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=processes.end_with_parent,
            initargs=(os.getpid(), leash),
        )
        try:
            yield LocalPool(executor, number)
            executor.shutdown(wait=True)
        except BaseException:
            # Legs may have half an hour to go, of which nothing would be used: without their folder workers
            # stop.
            processes.let_go(leash)
            executor.shutdown(wait=True, cancel_futures=True)
            raise


def _available() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def on_stderr(line: str) -> None:
    """Say a line where the results of a program are not written: ``say`` of a pool."""
    print(line, file=sys.stderr, flush=True)
