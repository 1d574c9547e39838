"""Where we lean on what e3nn and torch do not promise: everything private or replaced of them stands here.

e3nn marks a function with ``torch.compiler.disable``, which imports torch's compiler at once, and that takes
longer than a prediction.  While e3nn is imported its functions are marked when they are called instead.
Spherical harmonics of angles, of which we use none, are made by sympy, whose import takes a tenth of a
command's start: it is imported when they are asked for.  ``tests/nn/test_e3nn_quirks.py`` looks whether that
is still so.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import operator
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import torch

#: Module → names of it that are replaced for the time of the import.
LEANS_ON: dict[str, tuple[str, ...]] = {"torch.compiler": ("disable",)}
#: Module of e3nn → names of sympy that its functions use.
OF_SYMPY: dict[str, tuple[str, ...]] = {
    "e3nn.o3._angular_spherical_harmonics": ("Integer", "Poly", "diff", "factorial", "pi", "sqrt", "symbols")
}
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
        with _without_compiler(), _without_sympy():
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


class _OfSympy:
    """A name of sympy, which is imported at the first use."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._real()(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)

    def _real(self) -> Any:
        return getattr(importlib.import_module("sympy"), self._name)


def _operator(name: str) -> Callable[..., Any]:
    return lambda self, other: getattr(operator, name)(self._real(), other)


def _turned_operator(name: str) -> Callable[..., Any]:
    return lambda self, other: getattr(operator, name)(other, self._real())


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(_OfSympy, f"__{_name}__", _operator(_name))
    setattr(_OfSympy, f"__r{_name}__", _turned_operator(_name))


class _SympyLater(MetaPathFinder, Loader):
    """Finds one module of e3nn as usual, and imports it with names of sympy that wait."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if name not in OF_SYMPY:
            return None
        found = PathFinder.find_spec(name, path, target)
        if found is not None and found.loader is not None:
            self._loader = found.loader
            found.loader = self
        return found

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See :class:`importlib.abc.Loader`."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """See :class:`importlib.abc.Loader`; no other module sees this ``import``."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        names = OF_SYMPY[module.__name__]

        def imported(name: str, *args: Any, **options: Any) -> Any:
            wanted = args[2] if len(args) > 2 else options.get("fromlist")
            if name == "sympy" and wanted and set(wanted) <= set(names):
                return SimpleNamespace(**{word: _OfSympy(word) for word in wanted})
            return builtins.__import__(name, *args, **options)

        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": imported}
        self._loader.exec_module(module)


@contextmanager
def _without_sympy() -> Iterator[None]:
    finder = _SympyLater()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


import_e3nn()
