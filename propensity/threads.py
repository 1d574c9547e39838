"""Blocks of work for the threads of the CPU kernel, and turns for threads that share one object."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from threading import RLock
from typing import Any

import torch

#: Most blocks that work is cut into; a fixed number, so that sums do not depend on the number of threads.
BLOCKS = 64


class Turns:
    """Context that one thread holds at a time, as often as it likes; a copy is a new one."""

    def __init__(self) -> None:
        self._lock = RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[Turns], tuple[()]]:
        return Turns, ()


def blocks_of(work: int) -> int:
    """Blocks for so many tiles, slot rows or particles."""
    return max(min(work, BLOCKS), 1)


def share(function: Callable[..., None], blocks: int, *arguments: Any) -> None:
    """Call function(first, last, blocks, ...) for ranges of blocks on as many threads as torch has."""
    threads = min(torch.get_num_threads(), blocks)
    pending = iter([(0, blocks)] if threads == 1 else _pieces(blocks, threads))

    def work(_: int = 0) -> None:
        for first, last in pending:
            function(first, last, blocks, *arguments)

    # The caller is one of the threads.
    others = _pool(threads - 1).map(work, range(threads - 1)) if threads > 1 else ()
    work()
    list(others)


@lru_cache(maxsize=64)
def _pieces(blocks: int, threads: int) -> list[tuple[int, int]]:
    """Ranges of blocks, each half of what is left for a thread, so that all end at about the same time where
    other programs share the processor.
    """
    ends = [0]
    while ends[-1] < blocks:
        ends.append(ends[-1] + max((blocks - ends[-1]) // (2 * threads), 1))
    return list(pairwise(ends))


@lru_cache(maxsize=1)
def survive_fork() -> None:
    """From now on, let a forked child predict on one thread.

    The threads of OpenMP and ours don't come along into a child, which would wait for them for ever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_alone)


def _alone() -> None:
    _pool.cache_clear()
    torch.set_num_threads(1)


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads beside the caller's, kept for the next call."""
    return ThreadPoolExecutor(threads, "propensity")
