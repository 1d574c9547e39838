"""Compile the kernels of a training step side by side, which its first run would do one after another."""

from __future__ import annotations

import copy
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch

from propensity.nn.kernels.triton.shapes import Shapes, shapes_of

if TYPE_CHECKING:
    from propensity.nn.kernels.base import Stack

#: Threads that compile: more wait for the interpreter, which reads the kernels.
MOST = 8
_DONE: set[Any] = set()


def compile_ahead(key: Any, stack: Stack, device: torch.device, dry: Callable[[int, Shapes], None]) -> None:
    """Compile what ``dry(number of the layer, its shapes)`` launches, for one layer of each layout, once for a
    ``key``; nothing runs on the device but what ``dry`` does beside launching.

    Errors are left to the launch that follows.
    """
    threads = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, MOST)
    if device.type != "cuda" or threads < 2 or key in _DONE or torch.cuda.is_current_stream_capturing():
        return
    _DONE.add(key)
    layouts = [convolution.layout for convolution, _ in stack]
    locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
    with ThreadPoolExecutor(threads) as pool, torch.random.fork_rng([device]):
        for number in sorted({layout: k for k, layout in enumerate(layouts)}.values()):
            shapes = copy.copy(shapes_of(layouts[number], device))
            shapes.kernels = _Kernels(shapes.kernels, pool, locks)
            dry(number, shapes)


class _Kernels:
    """Kernels that compile in other threads where they would be launched."""

    def __init__(self, kernels: Any, pool: ThreadPoolExecutor, locks: dict[str, threading.Lock]) -> None:
        self._kernels, self._pool, self._locks = kernels, pool, locks
        self._begun: dict[Any, Future[None]] = {}

    def __getattr__(self, name: str) -> Any:
        return _Kernel(self, name)

    def compile(self, name: str, grid: tuple[int, ...], arguments: Any, constants: dict[str, Any]) -> None:
        key = name, *sorted(constants.items())
        if key not in self._begun:
            kernel = getattr(self._kernels, name)
            # Layouts share some kernels, which are compiled for one and found by the other.
            lock = self._locks[kernel.cache_key]
            self._begun[key] = self._pool.submit(_compile, kernel, lock, grid, arguments, constants)


class _Kernel:
    def __init__(self, kernels: _Kernels, name: str) -> None:
        self.kernels, self.name = kernels, name

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *arguments, **constants: self.kernels.compile(self.name, grid, arguments, constants)


def _compile(
    kernel: Any, lock: threading.Lock, grid: tuple[int, ...], arguments: Any, constants: dict[str, Any]
) -> None:
    device = next(a.device for a in _flat(arguments) if isinstance(a, torch.Tensor))
    with lock, torch.cuda.device(device):
        compiled = kernel.warmup(*arguments, grid=grid, **constants)
        # Loads it, for which Triton up to 3.6 has a C compiler make what launches it.
        getattr(compiled, "run", None)


def _flat(arguments: Any) -> list[Any]:
    if not isinstance(arguments, tuple):
        return [arguments]
    return [each for argument in arguments for each in _flat(argument)]
