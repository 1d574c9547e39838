"""Compiled functions take at most eight arguments: more go into named tuples that say what each array is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOST = 8

#: What still takes more, and how many; no number may grow.
MORE = {
    "nn/kernels/triton/templates/radial.py:radial_input": 11,
    "nn/kernels/triton/templates/radial.py:radial_statistics": 10,
}


def compiled() -> dict[str, int]:
    """Arguments of each compiled function; capitals are constants of Triton's, known when it compiles."""
    found = {}
    for path in sorted((ROOT / "propensity").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef):
                continue
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            if any(word in decorators for word in ("njit", "triton.jit", "cfunc")):
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                variable = [a for a in names if "triton" not in decorators or not a.isupper()]
                found[f"{path.relative_to(ROOT / 'propensity').as_posix()}:{node.name}"] = len(variable)
    return found


COMPILED = compiled()


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_functions_take_few_arguments(name):
    assert COMPILED[name] <= MORE.get(name, MOST)


def test_exceptions_are_still_needed():
    assert not [name for name in MORE if COMPILED.get(name, 0) <= MOST]
