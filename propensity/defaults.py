"""Torch's defaults kept out: results depend on the arguments of a call alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])

_lock = threading.Lock()
#: How many blocks are open, and the default dtype before the first: it is one for all threads.
_open: list[torch.dtype] = []


@contextmanager
def own_defaults() -> Iterator[None]:
    """Have torch make float32 on the CPU where it is told nothing, without autocast or inference mode; as
    before afterwards.

    The default dtype belongs to the process, so other threads see float32, too, while a block is open.
    """
    with _lock:
        _open.append(_open[0] if _open else torch.get_default_dtype())
        torch.set_default_dtype(torch.float32)
    try:
        with ExitStack() as stack:
            if torch.empty(0).device.type != "cpu":
                stack.enter_context(torch.device("cpu"))
            for kind in ("cpu", "cuda"):
                if torch.is_autocast_enabled(kind):
                    stack.enter_context(torch.autocast(kind, enabled=False))
            if torch.is_inference_mode_enabled():  # no gradient could follow what is kept from it
                stack.enter_context(torch.inference_mode(False))
            yield
    finally:
        with _lock:
            before = _open.pop()
            if not _open:
                torch.set_default_dtype(before)


def with_own_defaults(function: F) -> F:
    """Have a function run under :func:`own_defaults`."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        with own_defaults():
            return function(*args, **kwargs)

    return cast("F", guarded)
