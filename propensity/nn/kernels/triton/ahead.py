"""Compile the kernels of a training step side by side, which its first run would do one after another."""

from __future__ import annotations

import copy
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from propensity.nn.kernels.triton.shapes import Shapes, shapes_of

if TYPE_CHECKING:
    from propensity.nn.kernels.base import Stack

#: Threads that compile; two fifths of the work are done by programs that they wait for.
MOST = 16
_DONE: set[Any] = set()


def compile_ahead(key: Any, stack: Stack, device: torch.device, dry: Callable[[int, Shapes], None]) -> None:
    """Compile what ``dry(number of the layer, its shapes)`` launches, for one layer of each layout, once for a
    ``key``; nothing runs on the device but what ``dry`` does beside launching.

    Errors are left to the launch that follows.
    """
    layouts = [convolution.layout for convolution, _ in stack]
    with noted(key, device) as wanted:
        if wanted is None:
            return
        for number in sorted({layout: k for k, layout in enumerate(layouts)}.values()):
            shapes = copy.copy(shapes_of(layouts[number], device))
            shapes.kernels = NotedKernels(number, shapes.kernels, wanted)
            dry(number, shapes)


@contextmanager
def noted(key: Any, device: torch.device) -> Iterator[dict[Any, Launch] | None]:
    """Room for launches that are noted within and compiled after; None where nothing is to be done for a key."""
    threads = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, MOST)
    if device.type != "cuda" or threads < 2 or key in _DONE or torch.cuda.is_current_stream_capturing():
        yield None
        return
    _DONE.add(key)
    wanted: dict[Any, Launch] = {}
    with torch.random.fork_rng([device]):
        yield wanted
    # Layouts share some kernels, which are compiled for one and found by the other.
    locks: dict[Any, threading.Lock] = defaultdict(threading.Lock)
    with ThreadPoolExecutor(threads) as pool:
        # The longest first: the others fill the time beside it.
        for launched, each in sorted(wanted.items(), key=lambda one: -len(one[1].kernel.src)):
            pool.submit(_compile, each, locks[each.kernel.cache_key, launched[1:]], device)


class Launch(NamedTuple):
    """A kernel, and with what it would be launched."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: Any
    constants: dict[str, Any]


class NotedKernels:
    """Kernels of a layout that are noted where they would be launched."""

    def __init__(self, number: int, kernels: Any, wanted: dict[Any, Launch]) -> None:
        self._number, self._kernels, self._wanted = number, kernels, wanted

    def __getattr__(self, name: str) -> Any:
        return _Kernel(self, name)

    def note(self, name: str, grid: tuple[int, ...], arguments: Any, constants: dict[str, Any]) -> None:
        """Note what would be launched."""
        launch = Launch(getattr(self._kernels, name), grid, arguments, constants)
        self._wanted.setdefault((self._number, name, _special(arguments), *sorted(constants.items())), launch)


def _special(argument: Any) -> Any:
    """What Triton compiles a kernel for anew: alignment, divisibility, ones and types of arguments."""
    if isinstance(argument, tuple):
        return tuple(map(_special, argument))
    if isinstance(argument, torch.Tensor):
        return argument.dtype, argument.data_ptr() % 16 == 0
    whole = isinstance(argument, int)
    return type(argument), whole and argument % 16 == 0, whole and argument == 1


class _Kernel:
    def __init__(self, kernels: NotedKernels, name: str) -> None:
        self.kernels, self.name = kernels, name

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *arguments, **constants: self.kernels.note(self.name, grid, arguments, constants)


def _compile(launch: Launch, lock: threading.Lock, device: torch.device) -> None:
    with lock, torch.cuda.device(device):
        compiled = launch.kernel.warmup(*launch.arguments, grid=launch.grid, **launch.constants)
        # Loads it, for which Triton up to 3.6 has a C compiler make what launches it.
        getattr(compiled, "run", None)
