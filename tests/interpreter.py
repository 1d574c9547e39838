"""Triton's interpreter, without the half of its time in which it does again what it has done."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any


def patch_once() -> None:
    """Put the interpreter's functions in the place of the language's once a kernel.

    It looks through all of ``triton.language`` at every call of a function within a kernel, though the
    kernel's own start has put them there.
    """
    if os.environ.get("TRITON_INTERPRET") != "1" or find_spec("triton") is None:
        return
    import triton.language as tl
    from triton.runtime import interpreter

    patch = interpreter._patch_lang
    if patch.__module__ == __name__:
        return

    def patch_where_needed(fn: Any) -> Any:
        known = [value for value in fn.__globals__.values() if value is tl or value is tl.core]
        if any(tl.core.is_builtin(language.load) for language in known):
            return patch(fn)
        return getattr(interpreter, "_LangPatchScope", lambda: None)()

    interpreter._patch_lang = patch_where_needed
