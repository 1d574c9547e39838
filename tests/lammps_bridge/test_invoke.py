"""The callback for LAMMPS with an embedded Python: needs such a LAMMPS, for instance Debian's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from propensity.predictor import Predictor
from tests.lammps_bridge.support import CASES, dump, read_dump, run, system, write_data

DEBIAN = Path("/usr/lib/python3/dist-packages")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A program `lmp` with the package PYTHON, and the environment in which its Python finds everything."""
    candidates = [Path(os.environ.get("PROPENSITY_LMP_PYTHON", "/usr/bin/lmp"))]
    reason = (
        "needs a LAMMPS with the package PYTHON (apt install lammps python3-lammps, or"
        " PROPENSITY_LMP_PYTHON=path)"
    )
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        pytest.skip(reason)
    try:
        shown = subprocess.run([path, "-h"], capture_output=True, text=True, timeout=120, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        shown = ""
    if "PYTHON" not in shown.split():
        pytest.skip(reason)
    # Its own Python module goes before the one of the wheel, which is of another version.
    first = tmp_path_factory.mktemp("modules")
    for name in ("lammps", "mpi4py", *(found.name for found in DEBIAN.glob("lammps-*.egg-info"))):
        if (DEBIAN / name).exists():
            (first / name).symlink_to(DEBIAN / name)
    folders = [
        first,
        *(folder for folder in sys.path if folder.endswith("site-packages")),
        Path(__file__).parents[2],
    ]
    env = {
        "PYTHONPATH": os.pathsep.join(map(str, folders)),
        "PATH": "/usr/bin:/bin",  # an embedded Python finds its library by the first python3 in PATH
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }
    probe = first / "probe.in"
    probe.write_text(
        'python f input 0 format i return v_f here "import lammps, propensity.predictor; f = lambda: 1"\n'
    )
    if subprocess.run(
        [path, "-in", probe, "-log", "none"],
        env={**os.environ, **env},
        capture_output=True,
        timeout=1200,
        check=False,
    ).returncode:
        pytest.skip(f"the Python in {path} can't import lammps and propensity")
    yield path, env


def annotated(
    tmp_path: Path, model: Path, species: str = "AB", columns: str = "d_propensity", times: str = "None"
) -> Path:
    """Input file that annotates and dumps."""
    case = CASES["triclinic"]
    several = " 3" if columns.startswith("d2") else ""
    script = tmp_path / "in.file"
    script.write_text(
        system(write_data(tmp_path / "in.data", case), case).replace("loop geom", "loop local")
        + f"fix values all property/atom {columns.split('[')[0]}{several}\npython annotate input 1 SELF"
        f" format p here \"from lammps_bridge.invoke import callback; annotate = callback('{model}',"
        f" species='{species}', times={times})\"\npython annotate invoke\nfix p all python/invoke 10"
        f" post_force annotate\n{dump(tmp_path / 'd', columns)}run 20\n"
    )
    return script


def execute(
    program: tuple[Path, dict[str, str]], script: Path, ranks: int
) -> subprocess.CompletedProcess[str]:
    path, env = program
    launcher: list[object] = []
    if ranks > 1:
        mpirun = "/usr/bin/mpirun"
        if shutil.which(mpirun) is None or not (DEBIAN / "mpi4py").exists():
            pytest.skip("needs mpirun and mpi4py of the same MPI as this LAMMPS (apt install python3-mpi4py)")
        launcher = [mpirun, "--oversubscribe", "-n", ranks]
    return run([*launcher, path, "-in", script, "-log", "none"], env=env, cwd=script.parent)


@pytest.mark.parametrize("ranks", [1, 2])
def test_dump_equals_predictor(ranks: int, program: tuple, tiny_model: Path, tmp_path: Path) -> None:
    done = execute(program, annotated(tmp_path, tiny_model), ranks)
    assert done.returncode == 0, done.stdout
    frames = read_dump(tmp_path / "d")
    assert [frame.step for frame in frames] == [0, 10, 20]
    predictor = Predictor(tiny_model)
    for frame in frames:
        expected = predictor.predict(frame.structure)[:, predictor.default_time_index]
        assert np.abs(frame.values[:, 0] - expected).max() <= 1e-6


@pytest.mark.parametrize("ranks", [1, 2])
def test_wrong_species_stops_lammps(ranks: int, program: tuple, tiny_model: Path, tmp_path: Path) -> None:
    done = execute(program, annotated(tmp_path, tiny_model, species="AC"), ranks)
    assert done.returncode != 0
    assert "InputError: species_map sends '2' to 'C', but the model knows ['A', 'B']" in done.stdout


def test_missing_property_is_named(program: tuple, tiny_model: Path, tmp_path: Path) -> None:
    done = execute(program, annotated(tmp_path, tiny_model, times="'all'"), 1)
    assert done.returncode != 0
    assert (
        "LAMMPS has no property d2_propensity: define it by `fix ID all property/atom d2_propensity 3`"
        in done.stdout
    )
