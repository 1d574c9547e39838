"""e3nn without torch's compiler.

A decorator of e3nn, which tells the compiler to leave a function alone, imports it, and that takes longer
than a prediction.  Here it is told once it is there.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, cast

import torch

_disable = torch.compiler.disable


def _once_there(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compiler.disable`` for when something is compiled."""

    @functools.cache
    def disabled() -> Callable[..., Any]:
        return cast("Callable[..., Any]", _disable(function))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        chosen = disabled() if "torch._dynamo" in sys.modules else function
        return chosen(*args, **kwargs)

    return call


def import_e3nn() -> None:
    """Import e3nn, which imports torch's compiler no more than we do."""
    if "e3nn.o3" in sys.modules or "torch._dynamo" in sys.modules:
        return
    torch.compiler.disable = _once_there  # type: ignore[assignment]
    try:
        import e3nn.o3  # noqa: F401
    finally:
        torch.compiler.disable = _disable


import_e3nn()
