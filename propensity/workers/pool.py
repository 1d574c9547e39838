"""Where calls are made: the surface, and processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from propensity.errors import InputError, PropensityError
from propensity.workers import processes, remote

#: Seconds without any worker that can work, after which a run on a cluster is given up.
WAIT = 3600.0


class Pool:
    """Calls side by side.

    Attributes
    ----------
    name : str
        For the user.
    versions : str or None
        What the workers have, where they were asked.
    say : callable
        Told what the user should know while waiting.
    """

    name: str
    versions: str | None = None
    say: Callable[[str], None]

    def at_once(self) -> int:
        """Calls made at once, which may change."""
        raise NotImplementedError

    def slots(self) -> int:
        """Calls to have in flight now, so that nobody waits for work."""
        raise NotImplementedError

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Begin a call of a function of a module."""
        raise NotImplementedError

    def wait(self, futures: Collection[Future[Any]]) -> set[Future[Any]]:
        """Wait until at least one is done, and return those that are.

        Raises
        ------
        PropensityError
            When nobody can work any more.
        """
        return wait(futures, return_when=FIRST_COMPLETED).done

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Make one call and wait for it."""
        future = self.submit(function, *arguments)
        self.wait([future])
        return future.result()


class LocalPool(Pool):
    """Calls on an executor of this machine."""

    def __init__(self, executor: Executor, number: int) -> None:
        self._executor, self._number = executor, number
        self.say = lambda line: None
        self.name = f"{number} process{'es' if number > 1 else ''}"

    def at_once(self) -> int:
        """See :class:`Pool`."""
        return self._number

    def slots(self) -> int:
        """See :class:`Pool`."""
        return 2 * self._number

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """See :class:`Pool`."""
        try:
            return self._executor.submit(function, *arguments)
        except BrokenProcessPool:
            raise worker_died() from None


def worker_died() -> PropensityError:
    """What is said when a process of a pool is gone."""
    return PropensityError(
        "a worker process died (out of memory, or a crash); what finished is kept, so run the same command"
        " again."
    )


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
    with processes.scratch("propensity-pool-") as leash:
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
