"""What docs/lammps.md and examples/lammps show runs as it stands, with a tiny model and a small system."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import matplotlib
import pytest

from tests.lammps_bridge.support import CASES, read_dump, run, system, write_data

ROOT = Path(__file__).parents[2]
LMP = Path(sys.executable).parent / "lmp"
PAGE = (ROOT / "docs" / "lammps.md").read_text()


def block(start: str) -> str:
    """The code block of the page that begins with ``start``."""
    return next(text for text in re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL) if text.startswith(start))


def test_annotator(
    lammps_works: None, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.system").write_text(
        system(write_data(tmp_path / "in.data", CASES["periodic"]), CASES["periodic"])
    )
    code = block("from lammps_bridge import Annotator")
    code = (
        code.replace("ka-default", str(tiny_model))
        .replace("run 10000", "run 100")
        .replace('["-log",', '["-screen", "none", "-log",')
    )
    exec(compile(code, "docs/lammps.md", "exec"), {})
    assert len(read_dump(tmp_path / "out.lammpstrj")) == 2


def test_fix(plugin: dict[str, str], server: str, tiny_model: Path, tmp_path: Path) -> None:
    text = block("fix          prop").replace(
        "species A B", f"species A B model {tiny_model} server {server}"
    )
    script = tmp_path / "in.file"
    head = system(write_data(tmp_path / "in.data", CASES["periodic"]), CASES["periodic"])
    script.write_text(f"{head}group groupA type 1\n{text}thermo 100\nrun 100\n")
    done = run([LMP, "-in", script, "-log", "none"], env=plugin, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert (read_dump(tmp_path / "out.lammpstrj")[0].values > 0).all()


def test_example(
    plugin: dict[str, str], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "examples" / "lammps" / "in.kob-andersen").read_text()
    text = re.sub(
        r"(?m)^run( +)\d+",
        r"run\g<1>500",
        text.replace("0 8 0 8 0 8", "0 4 0 4 0 4").replace("subset 2 410", "subset 2 51"),
    )
    (tmp_path / "in.file").write_text(text)
    done = run([LMP, "-in", "in.file", "-var", "model", tiny_model], env=plugin, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "lammps" / "plot.py"), run_name="__main__")
    assert (tmp_path / "kob-andersen.png").stat().st_size > 10000
