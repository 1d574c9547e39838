"""Compile and launch the kernels written by :mod:`propensity.nn.kernels.triton.source`."""

from __future__ import annotations

import hashlib
import linecache
import re
import threading
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch

from propensity.nn.kernels.triton import nodes as triton_nodes
from propensity.nn.kernels.triton import norms as triton_norms
from propensity.nn.kernels.triton import radial as triton_radial
from propensity.nn.kernels.triton import source as triton_source
from propensity.nn.kernels.triton.plan import Plan
from propensity.nn.layout import ConvolutionLayout

HEADER = "import triton\nimport triton.language as tl\n\n\n"
DECORATOR = "@triton.jit\n"
#: Name and arguments of a kernel, and names in its source.
HEAD, NAME = re.compile(r"def (\w+)\((.*?)\):\n", re.DOTALL), re.compile(r"[A-Za-z_]\w*")


def module_text(layout: ConvolutionLayout, ptx: bool) -> str:
    """Source of all kernels of a layout; ``ptx`` where they run on an NVIDIA GPU."""
    plan = Plan(layout)
    tensor_product, radial = triton_source.source(plan, ptx), triton_radial.source(plan, ptx)
    parts = [tensor_product, triton_nodes.source(plan), triton_norms.source(plan), radial]
    return HEADER + "\n\n".join(parts)


@lru_cache(maxsize=64)
def kernels(layout: ConvolutionLayout) -> SimpleNamespace:
    """Kernels of a layout by name."""
    import triton

    text = module_text(layout, not triton.knobs.runtime.interpret and torch.version.hip is None)
    space: dict[str, Any] = {"__name__": "propensity.nn.kernels.generated"}
    # Triton reads the source of a function through linecache, so that it need not be a file.
    name = f"<propensity {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    if triton.knobs.runtime.interpret or not hasattr(triton.JITFunction, "_unsafe_update_src"):
        _tell(name, text)
        exec(compile(text, name, "exec"), space)
    else:
        with _ONE_AT_A_TIME:
            _put_sources(text, name, space)
    return SimpleNamespace(**space)


def _put_sources(text: str, name: str, space: dict[str, Any]) -> None:
    """Make the kernels of a text, in ``space``, without reading it.

    Triton splits a kernel into tokens, parses it and follows what it calls before it looks whether it has been
    compiled, which takes longer than to load all of them.  So it is given empty functions, then sources.
    """
    import triton

    header, *sources = text.split(DECORATOR)
    heads = [match for source in sources if (match := HEAD.match(source))]
    # On the lines of the text, with what tells Triton that an empty function ends.
    empty = "\n" * header.count("\n")
    for head, source in zip(heads, sources, strict=True):
        stub = f"def {head[1]}({' '.join(head[2].split())}): pass\n0\n"
        empty += "\n" + stub + "\n" * (source.count("\n") - 2)
    _tell(name, empty)
    exec(header, space)
    exec(compile(empty, name, "exec"), space)
    known = {head[1]: source.rstrip() + "\n" for head, source in zip(heads, sources, strict=True)}
    keys = _keys(known)
    for kernel, source in known.items():
        space[kernel] = made = triton.jit(space[kernel])
        made._unsafe_update_src(source)
        made.hash = keys[kernel]
    _tell(name, text)


def _keys(sources: dict[str, str]) -> dict[str, str]:
    """What each kernel depends on, its own source and that of all it calls, as one hash."""
    calls = {name: set(NAME.findall(source)) & sources.keys() for name, source in sources.items()}

    def reached(name: str) -> set[str]:
        found, new = {name}, {name}
        while new := {other for one in new for other in calls[one]} - found:
            found |= new
        return found

    return {
        name: hashlib.sha256("".join(sources[one] for one in sorted(reached(name))).encode()).hexdigest()
        for name in sources
    }


def _tell(name: str, text: str) -> None:
    """Let linecache have it."""
    linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name


_ONE_AT_A_TIME = threading.Lock()
