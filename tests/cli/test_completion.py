"""Completion of verbs, options and files in the shells that the docs name, where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: What is typed into each shell; the last lines are completions of ``propensity an``.
TYPED = {
    "bash": 'eval "$(_PROPENSITY_COMPLETE=bash_source propensity)"; complete -p propensity;'
    ' COMP_WORDS="propensity an" COMP_CWORD=1 _PROPENSITY_COMPLETE=bash_complete propensity',
    "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$(_PROPENSITY_COMPLETE=zsh_source propensity)";'
    " print ${_comps[propensity]};"
    ' COMP_WORDS="propensity an" COMP_CWORD=1 _PROPENSITY_COMPLETE=zsh_complete propensity',
    "fish": '_PROPENSITY_COMPLETE=fish_source propensity | source; complete -C "propensity an"',
}
#: Options that keep a shell from its user's own files.
PLAIN = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}


@pytest.mark.parametrize("shell", TYPED)
def test_a_shell_completes(shell, tmp_path):
    command = Path(sys.executable).parent / "propensity"
    if shutil.which(shell) is None or not command.exists():
        pytest.skip(f"{shell} or the command itself is not installed")
    environment = {
        **os.environ,
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [shell, *PLAIN[shell], "-c", TYPED[shell]],
        env=environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "annotate" in done.stdout and "analyse" in done.stdout and "simulate" not in done.stdout
    if shell != "fish":
        assert "_propensity_completion" in done.stdout
