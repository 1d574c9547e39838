"""CONTRIBUTING.md shows the house as it is: the floors of the contract, and files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_import_contract import FLOORS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
#: Links, and names of files in code; those with NAME are the reader's own.
LINKED = set(re.findall(r"\]\(([^)#:]+)\)", TEXT))
NAMED = set(
    re.findall(r"(?:propensity|tests|docs|benchmarks|\.ci|\.github)/[\w./]+(?:\.\w+|/)(?=[\s`,;:)])", TEXT)
)
PLACES = sorted(place for place in LINKED | NAMED if "NAME" not in place)


def test_the_picture_is_the_contract():
    block = TEXT.split("## The floor plan")[1].split("```")[1]
    rows = [re.match(r" ?(\d+)  (.*)", line).groups() for line in block.strip("\n").splitlines()]
    # Rooms stand two blanks apart, and what they hold three or more.
    shown = {int(floor): tuple(re.split(r" {3,}", rooms)[0].split()) for floor, rooms in rows}
    assert shown == dict(enumerate(FLOORS))


@pytest.mark.parametrize("place", PLACES)
def test_files_that_it_names_exist(place):
    assert (ROOT / place).exists()


def test_there_are_recipes():
    for thing in ("data format", "estimator", "kernel", "engine"):
        recipe = TEXT.split(f"## Add a{'n' if thing[0] in 'e' else ''} {thing}")[1].split("\n## ")[0]
        assert "Proof:" in recipe and re.search(r"tests/\w+", recipe)
