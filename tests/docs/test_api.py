"""docs/api.rst lists what the public modules name as public, and nothing that isn't there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.sources import SOURCES

ROOT = Path(__file__).parents[2]


def listed() -> list[tuple[str, str]]:
    """Module and name of every entry."""
    found, module = [], ""
    for line in (ROOT / "docs" / "api.rst").read_text("utf-8").splitlines():
        if named := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = named[1]
        elif entry := re.fullmatch(r"   (\w+)", line):
            found.append((module, entry[1]))
    return found


def public_modules() -> list[str]:
    """Modules that say what is public in them."""
    files = [*(SOURCES / "propensity").rglob("*.py"), SOURCES / "lammps_bridge" / "__init__.py"]
    saying = [path for path in files if re.search(r"^__all__ = ", path.read_text("utf-8"), re.MULTILINE)]
    names = [".".join(path.relative_to(SOURCES).with_suffix("").parts) for path in saying]
    return sorted(name.removesuffix(".__init__") for name in names)


def objects() -> set[int]:
    return {id(getattr(importlib.import_module(module), name)) for module, name in listed()}


@pytest.mark.parametrize("module", public_modules())
def test_every_public_function_and_class_is_listed(module):
    public = importlib.import_module(module)
    found = {name: getattr(public, name) for name in public.__all__}
    shown = objects()
    assert not [name for name, value in found.items() if callable(value) and id(value) not in shown]


def test_every_entry_is_public_and_there_once():
    entries = listed()
    assert len(entries) > 100
    for module, name in entries:
        found = importlib.import_module(module)
        assert callable(getattr(found, name)), name
        assert name in getattr(found, "__all__", [name]), name
    names = [name for _, name in entries]
    assert len(names) == len({*names})
