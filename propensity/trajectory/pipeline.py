"""Several frames in work at once, handed on in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Starts work(item) and returns its future.
Submit = Callable[[Callable[[Item], Result], Item], "Future[Result]"]


def in_order(
    items: Iterator[Item],
    work: Callable[[Item], Result],
    submit: Submit[Item, Result],
    ahead: Callable[[], int],
) -> Iterator[Result]:
    """Yield work(item) in the order of the items, of which up to ``ahead()`` are in work meanwhile.

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
            flying.append(submit(work, item))
            while flying and (flying[0].done() or len(flying) >= ahead()):
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()
        if failure is not None:
            raise failure
    finally:
        for future in flying:
            future.cancel()


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
