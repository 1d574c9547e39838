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
        ("evaluate ka-default {here} -o {there}", "there.dump is a file: give the name of a folder"),
        ("evaluate ka-default {here} -o {there}/in", "can't be written (Not a directory)"),
        ("analyse {here} -o {there}", "there.dump is a file"),
        ("experiment lmax {here}:{here} -o {there}", "there.dump is a file"),
        ("demo -o {there}", "there.dump is a file"),
        ("view {here} -o {there}/a.png", "can't be written (Not a directory)"),
        ("report {here} -o {there}/a.html", "can't be written"),
        ("convert {here} {there}/a.h5", "can't be written"),
        ("describe {here} -o {there}/a.npz", "can't be written"),
        ("annotate {here} -o {there}/a.dump", "can't be written"),
        ("annotate {here} -o " + 300 * "a" + ".dump", "can't be written (File name too long)"),
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
