"""The ranks of a LAMMPS instance: work on the first, errors on all, so that none waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from propensity.errors import MissingDependencyError, PropensityError

T = TypeVar("T")


class Ranks:
    """Collective operations over the ranks of ``lmp``; every rank must call each of them.

    Raises
    ------
    MissingDependencyError
        When there are several ranks and no mpi4py, on all ranks.
    """

    def __init__(self, lmp: Any) -> None:
        self.comm = lmp.get_mpi_comm() if lmp.extract_setting("world_size") > 1 else None
        if lmp.extract_setting("world_size") > 1 and self.comm is None:
            raise MissingDependencyError(
                "several MPI ranks need mpi4py, built for the MPI of this LAMMPS: pip install mpi4py, or use"
                " one rank."
            )
        self.is_root = self.comm is None or self.comm.rank == 0

    def on_root(self, work: Callable[[], T]) -> T:
        """Result of ``work()`` on the first rank, everywhere; what it raises is raised on every rank."""
        result: Any = None
        error: BaseException | None = None
        if self.is_root:
            try:
                result = work()
            except BaseException as trouble:
                error = trouble
        if self.comm is not None:
            waiting = self.comm.Ibarrier()
            while not waiting.Test():
                time.sleep(1e-4)  # plain collectives spin, and take a core from the network
            kind, text = self.comm.bcast((type(error), str(error)) if error else (None, ""))
            if kind is not None and error is None:
                error = kind(text) if issubclass(kind, PropensityError) else RuntimeError(text)
            if error is None:
                result = self.comm.bcast(result)
        if error is not None:
            raise error
        return cast("T", result)

    def gather(self, array: np.ndarray) -> np.ndarray | None:
        """Concatenate along the first axis on the first rank, in the order of ranks; None elsewhere."""
        if self.comm is None:
            return array
        parts = self.comm.gather(np.ascontiguousarray(array))
        return np.concatenate(parts) if self.is_root else None

    def scatter(self, array: np.ndarray | None, n_local: int) -> np.ndarray:
        """Undo :meth:`gather` for ``n_local`` rows a rank."""
        if self.comm is None:
            assert array is not None
            return array
        counts = self.comm.gather(n_local)
        parts = np.split(array, np.cumsum(counts)[:-1]) if self.is_root else None  # type: ignore[arg-type]
        return cast("np.ndarray", self.comm.scatter(parts))
