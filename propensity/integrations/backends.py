"""Backends for MDAnalysis's parallel analyses: processes that may die, and the workers of a Dask cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from MDAnalysis.analysis.backends import BackendBase, BackendDask, BackendMultiprocessing

from propensity.errors import PropensityError
from propensity.workers.opening import on_stderr, open_pool
from propensity.workers.pool import WAIT

#: Times that parts of a run are begun whose process died.
ATTEMPTS = 3


class ProcessesBackend(BackendMultiprocessing):
    """Fresh worker processes: forked ones hang once the parent has computed with OpenMP or CUDA.

    Parts that are done when a process dies are kept, the others are begun again.
    """

    def apply(self, func: Callable[..., Any], computations: list[Any]) -> list[Any]:
        """Call ``func`` on every part, in order."""
        done: dict[int, Any] = {}
        for _ in range(ATTEMPTS):
            with ProcessPoolExecutor(self.n_workers) as executor:
                futures: dict[Any, int] = {}
                with suppress(BrokenProcessPool):  # one may die while others are begun
                    for k, part in enumerate(computations):
                        if k not in done:
                            futures[executor.submit(func, part)] = k
                for future in as_completed(futures):
                    with suppress(BrokenProcessPool):
                        done[futures[future]] = future.result()
            if len(done) == len(computations):
                return [done[k] for k in range(len(computations))]
        raise PropensityError(
            f"processes of the analysis died {ATTEMPTS} times (out of memory, or a crash), with {len(done)}"
            f" of {len(computations)} parts done: use fewer n_workers, or more n_parts so that less is lost."
        )


class ClusterBackend(BackendBase):
    """The workers of a Dask cluster, for ``run(backend=ClusterBackend(client), unsupported_backend=True)``.

    ``run(backend="dask")`` of our analyses takes it by itself where a ``distributed.Client`` is open;
    MDAnalysis's own backend of that name starts processes on one machine whatever client there is.  Workers
    read the trajectory themselves, so it lies where they see it.

    Parameters
    ----------
    scheduler
        Address, or an open client.
    n_workers
        Parts at once; None takes what the cluster has.
    wait
        Seconds to wait where no worker can work.
    """

    def __init__(self, scheduler: Any, n_workers: int | None = None, wait: float = WAIT) -> None:
        self.scheduler, self.patience = scheduler, wait
        if n_workers is None:
            with open_pool(None, scheduler, wait=wait, say=on_stderr) as pool:
                n_workers = pool.at_once()
        super().__init__(n_workers=n_workers)

    def apply(self, func: Callable[..., Any], computations: list[Any]) -> list[Any]:
        """Call ``func`` on every part, in order; what a dying worker had is begun again elsewhere."""
        with open_pool(None, self.scheduler, wait=self.patience, say=on_stderr) as pool:
            futures = [pool.submit(func, part) for part in computations]
            waiting = set(futures)
            while waiting:
                waiting -= pool.wait(waiting)
            return [future.result() for future in futures]


def chosen(backend: BackendBase) -> BackendBase:
    """Our backend in the place of one of MDAnalysis's."""
    if type(backend) is BackendMultiprocessing:
        return ProcessesBackend(backend.n_workers)
    client = _open_client() if type(backend) is BackendDask else None
    return backend if client is None else ClusterBackend(client, backend.n_workers)


def _open_client() -> Any:
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.default_client()
    except ValueError:
        return None
