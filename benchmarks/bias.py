"""What a bias costs: a gradient against a prediction and against a step of LAMMPS, in turns in one process.

``OMP_NUM_THREADS=1 python -m benchmarks.bias [MODEL]``: 4096 particles, by default the network of
``examples/ka_T0.56_smooth``.  The last row is a step with ``fix propensity ... bias``, whose plugin
``propensity lammps build-plugin`` builds.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import BOX, liquid
from propensity import Predictor, load_lammps

MODEL, STEPS = Path(__file__).parents[1] / "examples" / "ka_T0.56_smooth", 20


def simulation() -> Any:
    """LAMMPS with a liquid."""
    structure, lmp = liquid(), load_lammps(("-screen", "none", "-log", "none"))
    lmp.commands_string(f"units lj\nregion box block 0 {BOX} 0 {BOX} 0 {BOX}\ncreate_box 2 box")
    positions = np.mod(structure.positions, BOX).ravel()
    lmp.create_atoms(len(structure), None, (structure.types + 1).tolist(), positions.tolist())
    lmp.commands_string(
        "mass * 1.0\npair_style lj/cut 2.5\npair_coeff 1 1 1.0 1.0 2.5\npair_coeff 1 2 1.5 0.8 2.0\n"
        "pair_coeff 2 2 0.5 0.88 2.2\nvelocity all create 0.56 1\nfix nve all nve\ntimestep 0.005"
    )
    return lmp


def main() -> None:
    """Median of each, in turns."""
    warnings.simplefilter("ignore")
    model = sys.argv[1] if len(sys.argv) > 1 else str(MODEL)
    predictor, structure = Predictor(model, device="cpu"), liquid()
    lmp, biased = simulation(), simulation()
    biased.command("group big type 1")
    biased.command(f"fix p big propensity 1 species A B model {model} device cpu bias linear 100")
    weights = np.full(len(structure), 1 / len(structure))
    jobs: dict[str, Callable[[], object]] = {
        "step of LAMMPS": lambda: lmp.command(f"run {STEPS} pre no post no"),
        "prediction": lambda: predictor.predict(structure),
        "gradient": lambda: predictor.gradient(structure, weights),
        "step with a bias": lambda: biased.command("run 1 pre no post no"),
    }
    lmp.command("run 0")
    biased.command("run 0")
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(7):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append((time.perf_counter() - start) / (STEPS if name == "step of LAMMPS" else 1))
    median = {name: statistics.median(times) for name, times in seconds.items()}
    for name, value in median.items():
        print(
            f"{name:16} {1e3 * value:8.1f} ms  {value / median['prediction']:6.3f} predictions"
            f"  {value / median['step of LAMMPS']:6.1f} steps"
        )


if __name__ == "__main__":
    main()
