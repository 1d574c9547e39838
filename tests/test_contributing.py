"""CONTRIBUTING.md has the recipes; tests/test_import_contract.py holds its picture and its files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")


@pytest.mark.parametrize("thing", ["a data format", "an estimator", "a kernel", "an engine"])
def test_every_recipe_names_its_files_and_its_proof(thing):
    recipe = TEXT.split(f"## Add {thing}")[1].split("\n## ")[0]
    assert re.search(r"propensity/\w+/", recipe) and re.search(r"Proof: `python -m pytest tests/\w+", recipe)
