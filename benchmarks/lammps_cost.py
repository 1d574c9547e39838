"""Cost of annotating a running LAMMPS, beside the cost of its own steps.

``python benchmarks/lammps_cost.py --n-cells 10 --model ka-default`` runs a Kob–Andersen liquid of
4 n³ particles and prints, for `fix propensity` and for `Annotator`, the time of one call with the model,
that of the bridge alone (a model that returns zeros), and both in units of one MD step of the same run.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lammps_bridge import Annotator
from propensity.predictor import Predictor
from propensity.simulate.lammps_library import load_lammps

SYSTEM = """units lj
lattice fcc 1.2
region box block 0 {n} 0 {n} 0 {n}
create_box 2 box
create_atoms 1 box
set group all type/fraction 2 0.2 1
mass * 1
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.00 2.5
pair_coeff 1 2 1.5 0.80 2.0
pair_coeff 2 2 0.5 0.88 2.2
neigh_modify delay 5
timestep 0.005
velocity all create 2.0 1
fix nve all nvt temp 0.6 0.6 0.5
thermo 1000000
run 500
"""
SPECIES_MAP = {1: "A", 2: "B"}


class Zeros(Predictor):
    """A model that costs nothing."""

    def predict(self, structure: Any) -> np.ndarray:
        return np.zeros((len(structure), len(self.times)))


def free_server(folder: Path) -> str:
    """A Python whose server predicts zeros."""
    (folder / "free.py").write_text(
        "import sys\nimport numpy as np\nfrom lammps_bridge import serve\nfrom propensity.predictor import"
        " Predictor\nPredictor.predict = lambda self, structure: np.zeros((len(structure),"
        " len(self.times)))\nserve.main(sys.argv[1:])\n"
    )
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {folder / "free.py"} "$@"\n')
    path.chmod(0o755)
    return str(path)


def seconds(lmp: Any, steps: int, repeats: int) -> float:
    """Wall time of one step; the shortest of several runs, since other work only ever adds."""
    lmp.command("run 0 post no")
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        lmp.command(f"run {steps} pre no post no")
        times.append((time.perf_counter() - started) / steps)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-cells", type=int, default=10, help="fcc cells along an edge: N = 4 n³")
    parser.add_argument("--model", default="ka-default")
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--device", default=None)
    chosen = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))

    lmp = load_lammps(("-screen", "none", "-log", "none", "-nocite"))
    lmp.commands_string(SYSTEM.format(n=chosen.n_cells))
    step = seconds(lmp, 20, 20)
    device = f" device {chosen.device}" if chosen.device else ""
    fix = f"fix p all propensity 1 species A B model {chosen.model}{device}"
    costs: dict[str, float] = {}
    # The bridge alone takes less than a step: only many calls in one run show it.
    with_model, alone = (1, chosen.calls), (20, 20)

    with tempfile.TemporaryDirectory() as folder:
        for label, python, runs in (
            ("fix propensity", sys.executable, with_model),
            ("its bridge alone", free_server(Path(folder)), alone),
        ):
            os.environ["PROPENSITY_PYTHON"] = python
            lmp.command(fix)
            costs[label] = seconds(lmp, *runs) - step
            lmp.command("unfix p")
    for label, kind, runs in (("Annotator", Predictor, with_model), ("its bridge alone ", Zeros, alone)):
        predictor = kind(chosen.model, species_map=SPECIES_MAP, device=chosen.device)
        with Annotator(lmp, predictor, every=1):
            costs[label] = seconds(lmp, *runs) - step

    table = Table("", "ms", "MD steps", "slower at N = 100", box=None)
    table.add_row("one MD step", f"{1e3 * step:.2f}", "1", "")
    for label, cost in costs.items():
        table.add_row(label, f"{1e3 * cost:.2f}", f"{cost / step:.1f}", f"{cost / step:.1f} %")
    console = Console()
    console.print(
        f"{lmp.get_natoms()} particles, model {chosen.model}, LAMMPS on one core,"
        f" {os.environ['OMP_NUM_THREADS']} threads for the model"
    )
    console.print(table)
    lmp.close()


if __name__ == "__main__":
    main()
