"""Long runs at flat memory: ten thousand frames annotated, a hundred thousand steps of LAMMPS."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

#: Frames of the trajectory; LAMMPS runs ten times as many steps.
COUNT = 10_000
#: MiB by which memory may grow between the first tenth and the end.
GROWTH = 24
ROOT = Path(__file__).parents[2]


def main(count: int, seed: int = 0, names: list[str] | None = None) -> tuple[list[list[str]], list[str]]:
    """Table of memory after a tenth of the way and at the end, in MiB."""
    rows, wrong = [["run", "length", "memory at a tenth", "at the end", "growth"]], []
    for name in names or ("annotate", "LAMMPS"):
        length = count if name == "annotate" else 10 * count
        program = [sys.executable, "-m", "tests.reliability.soak", name, str(length)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            wrong.append(f"{name} failed: {done.stderr[-400:]}")
            continue
        first, last = map(float, done.stdout.split()[-2:])
        rows.append([name, str(length), f"{first:.1f}", f"{last:.1f}", f"{last - first:+.1f}"])
        print(*rows[-1], sep="\t", file=sys.stderr, flush=True)
        if last - first > GROWTH:
            wrong.append(f"{name} grew by {last - first:.1f} MiB")
    return rows, wrong


def resident() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _annotate(frames: int) -> None:
    from propensity.predictor import Predictor
    from propensity.trajectory import annotate
    from tests.conftest import make_tiny_model
    from tests.reliability.readers import _dump_text

    with tempfile.TemporaryDirectory() as place:
        model = make_tiny_model(Path(place) / "model")
        with open(Path(place) / "t.dump", "w", encoding="utf-8") as stream:
            text = _dump_text(60, 10)
            for _ in range(-(-frames // 10)):
                stream.write(text)
        memory: list[float] = []

        def note(_: object, summary: object) -> None:
            if summary.n_frames in (frames // 10, frames):  # type: ignore[attr-defined]
                memory.append(resident())

        predictor = Predictor(model, device="cpu", species_map={1: "A", 2: "B"})
        for output in ("a.dump",):
            annotate(Path(place) / "t.dump", Path(place) / output, predictor, stop=frames, progress=note)
        print(*memory)


def _lammps(steps: int) -> None:
    from lammps_bridge import Annotator
    from propensity.simulate.lammps_library import load_lammps
    from tests.conftest import make_tiny_model
    from tests.lammps_bridge.support import CASES, system, write_data

    with tempfile.TemporaryDirectory() as place:
        model = make_tiny_model(Path(place) / "model")
        data = write_data(Path(place) / "in.data", CASES["periodic"], 60)
        lmp = load_lammps(("-screen", "none", "-log", "none"))
        lmp.commands_string(system(data, CASES["periodic"]))
        with Annotator(lmp, model, every=10, species_map={1: "A", 2: "B"}, device="cpu"):
            lmp.command(f"run {steps // 10}")
            first = resident()
            lmp.command(f"run {steps - steps // 10}")
            print(first, resident())
        lmp.close()


if __name__ == "__main__":
    (_annotate if sys.argv[1] == "annotate" else _lammps)(int(sys.argv[2]))
