"""Everything a user needs comes from ``propensity`` itself, lazily, and keeps its meaning."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import propensity
from tests.sources import SOURCES

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", sorted(propensity._PUBLIC))
def test_every_public_name_is_an_object_with_a_docstring(name):
    found = getattr(propensity, name)
    assert callable(found) and found.__doc__


def test_types_and_names_agree():
    tree = ast.parse((SOURCES / "propensity" / "__init__.py").read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))
    typed = {a.name: s.module for s in block.body if isinstance(s, ast.ImportFrom) for a in s.names}
    assert typed == propensity._PUBLIC


def test_import_is_instant_and_names_survive_modules_of_like_names():
    code = (
        "import sys, propensity; assert not {'torch', 'numpy', 'ase'} & set(sys.modules);"
        "import propensity.simulate.simulation, propensity.predictor, propensity.evaluation;"
        "from propensity import simulate_propensities, evaluate, describe, annotate, convert;"
        "assert all(map(callable, (simulate_propensities, evaluate, describe, annotate, convert)))"
    )
    subprocess.run([sys.executable, "-W", "error::ImportWarning", "-c", code], check=True, cwd=ROOT)
