"""Where calls are made: the surface, and processes of this machine."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from propensity.errors import PropensityError

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
