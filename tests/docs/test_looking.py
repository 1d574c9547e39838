"""The Python of docs/looking.md runs as it stands, with a tiny model in place of the shipped one."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from propensity.errors import PropensityWarning
from tests.conftest import make_liquid, make_tiny_model
from tests.trajectory.conftest import write_dump

PAGE = (Path(__file__).parents[2] / "docs" / "looking.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_tiny_model(tmp_path / "ka-default")
    liquid = make_liquid(200)
    write_dump(tmp_path / "trajectory.dump", [liquid])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PropensityWarning)
        exec(compile(SNIPPETS[number], f"looking.md snippet {number}", "exec"), {"structure": liquid})
    assert (tmp_path / "slab.png").exists() or capsys.readouterr().out.count("\n") >= 2


def test_every_option_that_the_page_names_exists():
    from click import Option

    from propensity.cli import analyse, report, view

    known = {
        flag
        for verb in (view, report, analyse)
        for parameter in verb.command.params
        if isinstance(parameter, Option)
        for flag in parameter.opts
    }
    named = set(re.findall(r"`(?:propensity [a-z]+ )?(--[a-z-]+)", PAGE))
    assert named and named <= known
