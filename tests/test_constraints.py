"""What CI installs at the oldest is what pyproject.toml promises, and at the newest what it allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def requirements() -> dict[str, Requirement]:
    """Direct dependencies of the package, its training and its tests, by name."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    core = re.search(r"(?ms)^dependencies = \[\n(.*?)^\]", text).group(1)
    extras = "".join(re.search(rf"(?m)^{extra} = \[(.*)\]", text).group(1) for extra in ("train", "test"))
    found = [Requirement(line) for line in re.findall(r'"([^"]+)"', core + extras)]
    return {r.name.lower().replace("_", "-"): r for r in found if r.name != "propensity"}


def pins(which: str) -> dict[str, Version]:
    """Versions of a file of constraints."""
    lines = (ROOT / ".ci" / f"constraints-{which}.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


REQUIREMENTS = requirements()


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_oldest_is_the_lower_bound(name):
    (lowest,) = (Version(s.version) for s in REQUIREMENTS[name].specifier if s.operator == ">=")
    assert pins("oldest")[name] == lowest


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_the_newest_is_allowed(name):
    newest = pins("newest")[name]
    assert newest in REQUIREMENTS[name].specifier and newest >= pins("oldest")[name]


def test_the_workflow_names_files_that_are_there():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    assert "constraints-${{ matrix.constraints }}" in workflow
    named = set(re.findall(r"constraints: \[?(\w+)", workflow))
    assert named == {path.stem.split("-")[1] for path in (ROOT / ".ci").glob("constraints-*.txt")}
