"""numba's decorators for us: compiled code is kept on disk where that is possible, and works elsewhere."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import sigutils
from numba.core.caching import FunctionCache, NullCache
from numba.core.ccallback import CFunc
from numba.np import linalg

from propensity.errors import PropensityWarning


def _imported_without_blas() -> None:
    """Import what numba compiles arrays with, before it does so and looks for BLAS by importing
    ``scipy.linalg``, which takes a tenth of a command's start: that scipy is there says as much.
    """
    original = linalg.ensure_blas

    def look() -> None:
        if importlib.util.find_spec("scipy") is None:
            original()

    linalg.ensure_blas = look
    try:
        from numba.np import arraymath  # noqa: F401
    finally:
        linalg.ensure_blas = original


_imported_without_blas()


def njit(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """``numba.njit(cache=True, **options)`` that survives folders in which nothing can be kept.

    Without options, for functions that only compiled ones call and that make no arrays: those are kept with
    their callers, and count no references, which threads that share arrays would wait for each other to do.
    """
    if function is not None:
        return numba.njit(function, _nrt=False)  # type: ignore[call-overload]

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**{**options, "cache": False})(function)
        if numba.config.DISABLE_JIT:
            return compiled
        compiled._cache = _cache(function)
        return compiled

    return decorate


def cfunc(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.cfunc(signature, cache=True)``, likewise."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = CFunc(function, sigutils.normalize_signature(signature), locals={}, options={})
        compiled._cache = _cache(function)
        compiled.compile()
        return compiled

    return decorate


class _Forgiving(FunctionCache):
    """Cache whose troubles cost time only: a disk that is full, an entry that is damaged or half written.

    It is renewed with the sources of all that is compiled into its functions, and with numbers, in other
    modules too.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = _sources(function.__module__)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Compiled code, or None to compile again."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever unpickling a damaged entry raises
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code where possible."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _say_once(error.strerror or str(error))
        except Exception:  # an index that is damaged: begin it anew
            try:
                self.flush()
                super().save_overload(sig, data)
            except Exception as error:  # beyond repair, and the code is compiled all the same
                _say_once(type(error).__name__)


@functools.cache
def _sources(name: str) -> bytes:
    """Of a module, and of those from which it takes compiled functions; and the numbers that it holds."""
    module = sys.modules[name]
    made = {
        value.__module__ for value in vars(module).values() if type(value).__module__.startswith("numba.")
    }
    digest = hashlib.sha256(inspect.getsource(module).encode())
    for other in sorted(made - {name}):
        digest.update(_sources(other))
    for key, value in sorted(vars(module).items()):
        if _is_number(value):
            digest.update(f"{key} {value.tolist() if isinstance(value, np.ndarray) else value!r}".encode())
    return digest.digest()


def _is_number(value: Any) -> bool:
    """Whether numba compiles a global value into functions: numbers, arrays, and tuples of them."""
    if isinstance(value, tuple):
        return all(map(_is_number, value))
    return isinstance(value, (int, float, complex, np.generic, np.ndarray))


def _cache(function: Callable[..., Any]) -> Any:
    try:
        return _Forgiving(function)
    except (RuntimeError, OSError):  # numba finds no folder that it may write to
        _say_once("no folder for it is writable")
        return NullCache()


#: Whether the user knows.
_said: list[str] = []


def _say_once(reason: str) -> None:
    if _said:
        return
    _said.append(reason)
    warnings.warn(
        f"compiled code can't be kept on disk ({reason}), so every start compiles again for some seconds: set"
        " NUMBA_CACHE_DIR to a writable folder.",
        PropensityWarning,
        stacklevel=2,
    )
