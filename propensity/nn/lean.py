"""e3nn without torch's compiler and without sympy, each of which takes longer to import than a prediction.

A decorator of e3nn, which tells the compiler to leave a function alone, imports it; here it is told once it
is there.  Legendre polynomials, which no network here uses, import sympy; here they do so when asked for.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
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


class _Later(ModuleType):
    """In the place of a module: it has every name, each of which stands for itself until it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(name)


class _Name(str):
    """A name of :class:`_Later`."""


@contextmanager
def _without_sympy() -> Iterator[None]:
    """Have e3nn imported with names of sympy that become themselves where e3nn first uses them."""
    if "sympy" in sys.modules:
        yield
        return
    sys.modules["sympy"] = _Later("sympy")
    try:
        yield
    finally:
        del sys.modules["sympy"]
        for place, module in list(sys.modules.items()):
            if place.startswith("e3nn.") and any(isinstance(value, _Name) for value in vars(module).values()):
                _fill_when_used(module)


def _fill_when_used(module: ModuleType) -> None:
    """Give a module the names of sympy before the first call of what uses them, or now if that is unknown."""

    def fill() -> None:
        sympy = importlib.import_module("sympy")
        for name, value in list(vars(module).items()):
            if isinstance(value, _Name):
                setattr(module, name, getattr(sympy, value))

    entry = getattr(module, "_poly_legendre", None)
    if entry is None:
        fill()
        return

    @functools.wraps(entry)
    def polynomial(*args: Any, **kwargs: Any) -> Any:
        fill()
        return entry(*args, **kwargs)

    module._poly_legendre = polynomial  # type: ignore[attr-defined]


def import_e3nn() -> None:
    """Import e3nn, which imports torch's compiler and sympy no more than we do."""
    if "e3nn.o3" in sys.modules or "torch._dynamo" in sys.modules:
        return
    torch.compiler.disable = _once_there  # type: ignore[assignment]
    try:
        with _without_sympy():
            import e3nn.o3  # noqa: F401
    finally:
        torch.compiler.disable = _disable


import_e3nn()
