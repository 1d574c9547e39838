"""Compiled functions can be read: they take at most eight arguments (more go into named tuples that say what
each array is), say what they read and write, and have a table of their symbols.
"""

from __future__ import annotations

import ast
import re

import pytest

from propensity.nn.kernels.triton.launch import module_text
from propensity.nn.layout import ConvolutionLayout
from tests.sources import SOURCES

ROOT = SOURCES / "propensity"
MOST = 8


def arguments(text: str) -> dict[str, int]:
    """Arguments of each compiled function; capitals are constants of Triton's, known when it compiles."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef):
            continue
        decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
        if any(word in decorators for word in ("njit", "triton.jit", "cfunc")):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            found[node.name] = sum("triton" not in decorators or not name.isupper() for name in names)
    return found


def compiled() -> dict[str, int]:
    """Those of all files and of the source that is generated for Triton."""
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))
    }
    texts["generated for Triton"] = module_text(ConvolutionLayout(4, 2, 4, 1), ptx=True)
    return {f"{name}:{each}": n for name, text in texts.items() for each, n in arguments(text).items()}


COMPILED = compiled()


def kernels() -> dict[str, tuple[str, str]]:
    """Docstrings of functions that work through blocks of a task and of public ones of the network's kernels,
    each with that of its file.
    """
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or f"{name}:{node.name}" not in COMPILED:
                continue
            public = name.startswith(("nn/kernels/", "neighbours/")) and not node.name.startswith("_")
            if public or [a.arg for a in node.args.args[:3]] == ["first", "last", "blocks"]:
                documents = ast.get_docstring(node) or "", ast.get_docstring(tree) or ""
                found[f"{name}:{node.name}"] = documents
    return found


KERNELS = kernels()


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_functions_take_few_arguments(name):
    assert COMPILED[name] <= MOST


@pytest.mark.parametrize("name", [name for name in KERNELS if not name.endswith(":scratch")])
def test_kernels_say_what_they_read_and_write(name):
    text, head = KERNELS[name]
    assert re.search(r"Reads   \S.*Writes  \S.*[Oo]ne (call|lane|thread|program) is ", text, re.S)
    assert re.search("^Symbols|symbols as in", head, re.M)


def test_functions_are_found_wherever_they_are():
    assert {
        "nn/kernels/cpu/tiles.py:backward",
        "neighbours/cell_kernels.py:fill",
        "generated for Triton:backward",
    } <= set(COMPILED)
