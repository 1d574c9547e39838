"""What is missing is said before torch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

NO_TORCH = """
import sys
sys.modules["torch"] = None
from propensity.cli.main import run
sys.argv = ["propensity", *sys.argv[1:]]
run()
"""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("annotate none.dump -o out.dump", "none.dump doesn't exist"),
        ("annotate {here} -o out.dump -m none", "model 'none' is neither"),
        ("annotate {here} -o {there}", "choose another name, or overwrite it"),
        ("evaluate none data.h5", "model 'none' is neither"),
        ("evaluate ka-default none.h5", "none.h5 doesn't exist"),
        ("train none.h5 -o run", "none.h5 doesn't exist"),
        ("convert none.npz out.h5", "none.npz doesn't exist"),
        ("describe none.dump -o out.npz", "none.dump doesn't exist"),
        ("experiment lmax none.npz:more.npz -o out", "none.npz doesn't exist"),
        ("models none", "model 'none' is neither"),
        ("info none.dump", "none.dump is neither a file or folder"),
        ("view none.dump", "none.dump doesn't exist"),
        ("report none.dump", "none.dump doesn't exist"),
        ("analyse none.dump", "none.dump doesn't exist"),
    ],
)
def test_said_at_once(words, message, tmp_path):
    here, there = tmp_path / "here.dump", tmp_path / "there.dump"
    here.touch()
    there.touch()
    arguments = words.format(here=here, there=there).split()
    command = [sys.executable, "-c", NO_TORCH, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == [here, there]
