"""The command: one line for every mistake, a readable data set at the end."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from propensity.cli.simulate import command
from propensity.data import open_dataset
from propensity.simulate import presets
from tests.commands import run_here
from tests.simulate.helpers import lammps_engine

GOOD = "kob-andersen --temperature 1.5 --times 0.1:1:3 -o {out}".split()


def call(*words, environment=None):
    """Run the program as a user does, in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-m", "propensity.cli.main", "simulate", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )


def assert_one_line(result, match):
    import re

    assert result.returncode in (1, 2) and result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1 and lines[0].startswith("propensity: error: "), result.stderr
    assert re.search(match, lines[0]), lines[0]


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (["--lammps-exe", "nolmp"], "'nolmp' is not a program"),
        (["--lammps-exe", "/bin/false"], "failed .code 1"),
        (["--suffix", "gpu"], "GPU package"),
        (["--scheduler", "nonsense"], "no Dask scheduler answers at nonsense"),
        (["--start-from", "absent.h5"], "absent.h5"),
        (["--temperature", "1e9"], "fly past their neighbours"),
        (["--density", "1e9"], "kob-andersen can't be run at density 1e.09, temperature 1.5"),
        (["--input", "absent.in"], "give either a model"),
    ],
)
def test_mistakes(tmp_path, extra, match):
    lammps_engine()
    words = [w.format(out=tmp_path / "a.h5") for w in GOOD]
    assert_one_line(run_here("simulate", *words, "--n-particles", 64, *extra), match)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("out", "match"),
    [("/proc/nowhere/a.h5", "can't be written"), ("{tmp}/a.npz", "end in .h5"), ("{tmp}", "is a folder")],
)
def test_unwritable_outputs(tmp_path, out, match):
    words = [w.format(out=out.format(tmp=tmp_path)) for w in GOOD]
    assert_one_line(run_here("simulate", *words), match)


def test_lammps_is_absent(tmp_path):
    (tmp_path / "lammps.py").write_text("raise ImportError('no')\n")
    words = [w.format(out=tmp_path / "a.h5") for w in GOOD]
    result = call(*words, environment={"PYTHONPATH": str(tmp_path)})
    assert_one_line(result, "LAMMPS is not installed: pip install")


@pytest.mark.parametrize("name", presets())
def test_show_is_a_template(tmp_path, name):
    from propensity.simulate import load_input, load_preset

    result = CliRunner().invoke(command, [name, "--show"])
    (tmp_path / "my.in").write_text(result.output)
    mine, theirs = load_input(tmp_path / "my.in"), load_preset(name)
    assert (mine.commands, mine.species, mine.density) == (theirs.commands, theirs.species, theirs.density)


def test_estimate_only(tmp_path):
    lammps_engine()
    result = run_here("simulate", *GOOD[:-2], "--estimate", "--n-particles", 64, "--workers", 1)
    assert result.returncode == 0 and "20 structures × 30 runs to t = 1" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_end_to_end(tmp_path):
    """Make structures of a user's 2D model with a user's binary, then label the first of them once more."""
    lammps_engine()
    show = CliRunner().invoke(command, ["kob-andersen-2d", "--show"]).output
    (tmp_path / "my.in").write_text(show.replace("melt 2.0", "melt 1.0"))
    out = tmp_path / "a.h5"
    result = call(
        "--input",
        tmp_path / "my.in",
        "--temperature",
        1.5,
        "--times",
        "0.1:1:3",
        "-o",
        out,
        "--n-particles",
        64,
        "--structures",
        2,
        "--runs",
        4,
        "--workers",
        1,
        "--lammps-exe",
        "lmp",
    )
    assert result.returncode == 0, result.stderr
    assert "tau_alpha" in result.stderr and "2 structure(s), 3 times, 4 runs each" in result.stdout
    data = open_dataset(out)
    sample = data[0]
    assert (
        len(data) == 2
        and (sample.structure.positions[:, 2] == 0).all()
        and sample.structure.pbc.tolist()[2] == 0
    )
    assert np.bincount(sample.structure.types).tolist() == [42, 22] and sample.tau_alpha > 0
    from propensity.graph import build_graph

    assert build_graph(sample.structure, 2.0).edge_index.shape[1] > 64 * 6
    again = tmp_path / "b.h5"
    result = run_here(
        "simulate",
        "--input",
        tmp_path / "my.in",
        "--temperature",
        1.5,
        "--times",
        "0.1:1:3",
        "-o",
        again,
        "--start-from",
        out,
        "--structures",
        1,
        "--runs",
        8,
        "--workers",
        1,
        "--seed",
        5,
    )
    assert result.returncode == 0, result.stderr
    other = open_dataset(again)[0]
    assert other.name == sample.name and other.n_runs == 8
    np.testing.assert_allclose(other.structure.positions, sample.structure.positions, atol=1e-6)
    np.testing.assert_allclose(other.propensities.mean(axis=0), sample.propensities.mean(axis=0), rtol=0.2)
