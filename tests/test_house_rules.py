"""Rules that a formatter does not know: one purpose a file, and no line that it may not touch."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.sources import SOURCES

ROOT = Path(__file__).parents[1]
FILES = sorted(path for part in ("propensity", "lammps_bridge") for path in (SOURCES / part).rglob("*.py"))
#: Lines, docstrings aside, of a file of one purpose; one that outgrows them has two.
MAX_LINES = 350


def lines_of_code(path: Path) -> int:
    """Lines of a file without its docstrings."""
    text = path.read_text("utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    texts = [node.body[0] for node in nodes if ast.get_docstring(node)]
    return len(text.splitlines()) - sum(t.end_lineno - t.lineno + 1 for t in texts)


def test_files_are_small():
    lines = {str(path.relative_to(SOURCES)): lines_of_code(path) for path in FILES}
    assert not {path: n for path, n in lines.items() if n > MAX_LINES}


def test_no_line_escapes_the_formatter():
    escape = "fmt: " + "skip"
    everywhere = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert not [str(path) for path in everywhere if escape in path.read_text("utf-8")]


#: Names that several files share on purpose: one interface of many implementations.
INTERFACES = {"build", "command", "forward", "is_available", "main", "source", "sum_by_source", "total"}


def test_a_name_of_a_function_is_given_once():
    """Two public functions of one name do the same thing, and then one of them goes, or another, and then it
    says so."""
    places = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(SOURCES)))
    assert not {n: files for n, files in places.items() if len(files) > 1 and n not in INTERFACES}


def test_no_function_hides_another_of_its_file():
    """A linter says so only where the first is not used before the second."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for path in FILES:
        names = [node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, kinds)]
        assert len(names) == len({*names}), path
