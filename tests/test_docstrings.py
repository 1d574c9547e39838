"""Public docstrings say what goes in, what comes out and what is raised, by the rules of numpydoc."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import propensity

#: Modules whose functions users call by their full name, beside those behind the names of ``propensity``.
MODULES = sorted({*propensity._PUBLIC.values(), "propensity.model_options", "propensity.experiments"})

#: Methods that a library calls, with the meaning that it documents.
INHERITED = {"setup", "forward", "calculate", "model_post_init"}


def _sections(doc: str) -> dict[str, str]:
    """Section → its text, of a docstring without common indent."""
    parts = re.split(r"(?m)^(\w[\w ]*)\n-{3,}\n", doc)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _named(section: str) -> set[str]:
    """Names that a section of parameters describes."""
    lines = [line for line in section.splitlines() if line and not line[0].isspace()]
    return {name.strip(" *") for line in lines for name in line.split(" : ")[0].split(",")}


def _parameters(function: Any) -> set[str]:
    return {name for name in inspect.signature(function).parameters if name not in ("self", "cls")}


def _raises(function: Any) -> set[str]:
    """Exceptions that a function's own lines raise."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return set()
    found = {
        node.exc.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
    }
    return {name for name in found if name in propensity._PUBLIC}


def _callables() -> Iterator[tuple[str, Any, str]]:
    """(name, callable, docstring) of everything public."""
    seen: set[int] = set()
    for module in MODULES:
        room = importlib.import_module(module)
        names = getattr(room, "__all__", None) or [n for n in vars(room) if not n.startswith("_")]
        for name in names:
            thing = getattr(room, name)
            where = getattr(thing, "__module__", "")
            if id(thing) in seen or not where.startswith(module) or not callable(thing):
                continue
            seen.add(id(thing))
            yield from _of(f"{where}.{name}", thing)


def _of(path: str, thing: Any) -> Iterator[tuple[str, Any, str]]:
    if not inspect.isclass(thing):
        yield path, thing, inspect.getdoc(thing) or ""
        return
    about = thing.__doc__ or ""
    if not issubclass(thing, Exception | Warning) and not hasattr(thing, "__total__"):
        yield path, thing, inspect.cleandoc(about)
    for name, member in vars(thing).items():
        method = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(method) and not name.startswith("_") and name not in INHERITED:
            yield f"{path}.{name}", method, inspect.getdoc(getattr(thing, name)) or ""


CALLABLES = {path: (thing, doc) for path, thing, doc in _callables()}


@pytest.mark.parametrize("path", CALLABLES)
def test_parameters_results_and_errors_are_described(path):
    thing, doc = CALLABLES[path]
    assert doc, "no docstring"
    sections = _sections(doc)
    described = _named(sections.get("Parameters", "")) | _named(sections.get("Other Parameters", ""))
    # Fields of pydantic's models are described where they are declared.
    described |= {name for name, field in getattr(thing, "model_fields", {}).items() if field.description}
    missing = _parameters(thing) - described
    assert not missing, f"Parameters lacks {sorted(missing)}"
    if inspect.isclass(thing):
        return
    result = inspect.signature(thing).return_annotation
    if result not in (None, "None", inspect.Signature.empty):
        assert {"Returns", "Yields"} & set(sections), f"no section Returns for {result}"
    unsaid = {name for name in _raises(thing) if name not in sections.get("Raises", "")}
    assert not unsaid, f"Raises lacks {sorted(unsaid)}"
