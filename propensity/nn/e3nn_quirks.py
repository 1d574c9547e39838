"""Where we lean on what e3nn and torch do not promise: everything private or replaced of them stands here.

e3nn marks a function with ``torch.compiler.disable``, which imports torch's compiler at once, and that takes
longer than a prediction.  While e3nn is imported its functions are marked when they are called instead;
``tests/nn/test_e3nn_quirks.py`` looks whether that is still so.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

#: Module → names of it that are replaced for the time of the import.
LEANS_ON: dict[str, tuple[str, ...]] = {"torch.compiler": ("disable",)}
#: Held meanwhile.
_importing = threading.Lock()


def import_e3nn() -> None:
    """Import e3nn without torch's compiler, unless one of them is there already.

    ``torch.compiler.disable`` is itself for whoever else calls it meanwhile, in another thread too, and
    afterwards whatever the import brings; a replacement by others is left to them.
    """
    with _importing:
        if "e3nn.o3" in sys.modules or "torch._dynamo" in sys.modules:
            return
        with _without_compiler():
            import e3nn.o3  # noqa: F401


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Have functions of e3nn marked for torch's compiler when it is there."""
    original = torch.compiler.disable
    replacement = functools.partial(_disable, original)
    torch.compiler.disable = replacement
    try:
        yield
    finally:
        if torch.compiler.disable is replacement:
            torch.compiler.disable = original


def _disable(original: Callable[..., Any], fn: Any = None, *args: Any, **options: Any) -> Any:
    """``original``, but that of functions of e3nn waits until the compiler is there."""
    if not str(getattr(fn, "__module__", "")).startswith("e3nn.") or args or options:
        return original(fn, *args, **options)
    disabled = functools.cache(lambda: original(fn))

    @functools.wraps(fn)
    def call(*args: Any, **options: Any) -> Any:
        chosen = disabled() if "torch._dynamo" in sys.modules else fn
        return cast("Callable[..., Any]", chosen)(*args, **options)

    return call


import_e3nn()
