"""The README's three uses run as pasted in a clone."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USES = (ROOT / "README.md").read_text("utf-8").split("## Three short uses")[1].split("\n## ")[0]
PYTHON = re.findall(r"```python\n(.*?)```", USES, re.DOTALL)
SHELL = re.findall(r"```bash\n(.*?)```", USES, re.DOTALL)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(number, clone):
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="MDAnalysis")
        exec(compile(PYTHON[number], f"README.md, use {number}", "exec"), names)
    if "every_time" in names:
        assert names["every_time"].shape == (4096, 7) and (clone / "annotated.extxyz").exists()
    else:
        assert names["analysis"].results.propensities.shape == (3, 4096, 7)


@pytest.mark.slow
def test_shell(clone):
    (block,) = SHELL
    for line in block.strip().splitlines():
        words = line.partition("#")[0].split()
        assert words[0] == "propensity"
        subprocess.run([sys.executable, "-m", *words], check=True, cwd=clone)
    assert (clone / "labelled.extxyz").exists() and (clone / "runs/mine/model.json").exists()
