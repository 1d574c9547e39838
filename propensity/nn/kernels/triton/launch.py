"""Compile and launch the kernels written by :mod:`propensity.nn.kernels.triton.source`."""

from __future__ import annotations

import hashlib
import linecache
from functools import lru_cache
from types import SimpleNamespace

import torch

from propensity.nn.kernels.triton import nodes as triton_nodes
from propensity.nn.kernels.triton import norms as triton_norms
from propensity.nn.kernels.triton import radial as triton_radial
from propensity.nn.kernels.triton import source as triton_source
from propensity.nn.kernels.triton.plan import Plan
from propensity.nn.layout import ConvolutionLayout

HEADER = "import triton\nimport triton.language as tl\n\n\n"


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
    # Triton reads the source of a function through linecache, so that it need not be a file.
    name = f"<propensity {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, object] = {"__name__": "propensity.nn.kernels.generated"}
    exec(compile(text, name, "exec"), space)
    return SimpleNamespace(**space)
