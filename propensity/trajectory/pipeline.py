"""Several frames in work at once, handed on in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def _wait(future: Future[Any]) -> None:
    wait([future])


def in_order(
    items: Iterator[Item],
    submit: Callable[[Item], Future[Result]],
    ahead: Callable[[], int],
    wait_for: Callable[[Future[Result]], object] = _wait,
) -> Iterator[Result]:
    """Yield the results of submit(item) in the order of the items, up to ``ahead()`` in work meanwhile.

    What reading an item raises comes after the results of those before it.
    """
    flying: deque[Future[Result]] = deque()
    failure: Exception | None = None
    try:
        while failure is None:
            try:
                item = next(items)
            except StopIteration:
                break
            except Exception as error:  # whatever it is, it goes on below
                failure = error
                break
            flying.append(submit(item))
            while flying and (flying[0].done() or len(flying) >= ahead()):
                yield _first(flying, wait_for)
        while flying:
            yield _first(flying, wait_for)
        if failure is not None:
            raise failure
    finally:
        for future in flying:
            future.cancel()


def _first(flying: deque[Future[Result]], wait_for: Callable[[Future[Result]], object]) -> Result:
    while not flying[0].done():
        wait_for(flying[0])
    return flying.popleft().result()


@contextmanager
def threads_side_by_side(workers: int) -> Iterator[Callable[..., Future[Any]]]:
    """``submit`` of a pool of threads that share torch's threads between them.

    Small frames leave threads within them idle nine tenths of the time, and where cores are shared they wait
    for each other; a frame on each of them does not.
    """
    threads = torch.get_num_threads()
    each = max(1, threads // workers)
    # The number of threads belongs to the thread that sets it, and is also what later threads begin with.
    pool = ThreadPoolExecutor(workers, "propensity-frame", torch.set_num_threads, (each,))
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)
