"""Every experiment runs on the data in the box, by the commands of docs/experiments.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from propensity.experiments import NAMES
from tests.docs.pages import ROOT, text_of

BLOCK = text_of("experiments.md").split("## On the data in the box")[1].split("```sh\n")[1].split("```")[0]
SETTINGS = [line for line in BLOCK.splitlines() if not line.startswith("propensity ")]
COMMANDS = {line.split()[2]: line for line in BLOCK.splitlines() if line.startswith("propensity ")}


def test_every_experiment_has_a_command():
    assert list(COMMANDS) and set(COMMANDS) == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NAMES))
def test_it_runs(name, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", "\n".join([*SETTINGS, COMMANDS[name]])],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "wrote results.csv and figure.png" in done.stdout
    for file in ("results.csv", "figure.png"):
        assert (tmp_path / "runs" / name / file).stat().st_size > 100
