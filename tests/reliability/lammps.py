"""LAMMPS with a model that raises, a server that dies and atoms that get lost, on one and two ranks.

Each run has a hard limit of time; it must end by itself, with the reason in its output.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

#: Runs of each case and number of ranks.
COUNT = 2
#: Seconds of one run.
LIMIT = 300
OUTCOMES = ("stopped with the reason", "ran to its end", "no reason", "hang")
ROOT = Path(__file__).parents[2]

#: Before and after the fix in the input, what the output must say; None: it must run to its end.
CASES: dict[str, tuple[str, str, str | None]] = {
    "nothing wrong": ("", "run 20", None),
    "lost atoms": (
        "velocity all scale 1e9\nunfix nve\nfix nve all nve\n",
        "run 200",
        "(?i)lost atoms|out of range|all are lost",
    ),
    "one lost atom": (
        "change_box all boundary f f f\ngroup one id 1\nvelocity one set 1e5 0 0\n",
        "run 200",
        "(?is)lost atoms.*no neighbour sees.*ERROR: Lost atoms",
    ),
    "two atoms at one place": (
        "displace_atoms all move 0 0 0\n",
        "set atom 2 x 0.5 y -1 z 2\nset atom 1 x 0.5 y -1 z 2\nrun 20",
        "coincide|same position|closer|distance",
    ),
    "an unknown type": ("set atom 3 type 3\n", "run 20", "type|species"),
    "a model that isn't there": ("", "run 20", "no-such-model"),
    "a server that dies": ("", "run 100000", "died|closed|connection"),
    "a server that isn't there": ("", "run 20", "can't reach"),
}


def main(count: int, seed: int = 0, names: list[str] | None = None) -> tuple[list[list[str]], list[str]]:
    """Table of cases; every run within its limit of time."""
    from propensity.files import replacing
    from tests.conftest import make_tiny_model

    rows, wrong = [["case", "ranks", "runs", *OUTCOMES]], []
    assert replacing
    with tempfile.TemporaryDirectory() as place:
        model = make_tiny_model(Path(place) / "model")
        environment = _environment(Path(place))
        for name in names or CASES:
            for ranks in (1, 2):
                counts: Counter[str] = Counter()
                for _ in range(count):
                    what, text = _run(name, ranks, Path(place), model, environment)
                    counts[what] += 1
                    good = OUTCOMES[1] if CASES[name][2] is None else OUTCOMES[0]
                    if what != good:
                        wrong.append(f"{name}, {ranks} rank(s): {what}: {' '.join(text.split())[-300:]}")
                rows.append([name, str(ranks), str(count), *(str(counts[what]) for what in OUTCOMES)])
                print(*rows[-1], sep="\t", flush=True)
    return rows, wrong


def _environment(place: Path) -> dict[str, str]:
    """Environment with a plugin built now."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(place / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
    environment.pop("LAMMPS_PLUGIN_PATH", None)
    program = "from lammps_bridge.build import build_plugin; print(build_plugin())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the plugin can't be built: {done.stderr[-500:]}")
    environment["LAMMPS_PLUGIN_PATH"] = str(Path(done.stdout.strip().splitlines()[-1]).parent)
    return environment


def _program(name: str) -> str:
    """Path of a program beside Python or else in the PATH."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise SystemExit(f"needs {name} beside Python or in the PATH")
    return found


def _run(name: str, ranks: int, place: Path, model: Path, environment: dict[str, str]) -> tuple[str, str]:
    import re
    import signal
    import threading
    import time

    from tests.lammps_bridge.support import CASES as GEOMETRIES
    from tests.lammps_bridge.support import system, write_data

    before, after, reason = CASES[name]
    case = GEOMETRIES["periodic"]
    data = write_data(place / "in.data", case)
    types, species = (3, "A B C") if "type" in name else (2, "A B")
    data.write_text(data.read_text().replace("2 atom types", f"{types} atom types"))
    start = system(data, case).replace(
        "pair_style lj/cut 2.5", "pair_style lj/cut 2.5\npair_coeff * * 1.0 1.0 2.5"
    )
    server, listener = "", None
    if "server that dies" in name:
        address = f"unix:{place}/socket"
        listener = subprocess.Popen(
            [sys.executable, "-m", "lammps_bridge.serve", "--listen", address, "--device", "cpu"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        assert listener.stdout is not None
        listener.stdout.readline()
        server = f"server {address}"
    elif "server that isn't" in name:
        server = f"server unix:{place}/nobody"
    chosen = "no-such-model" if "isn't there" in name and "model" in name else str(model)
    fix = f"fix p all propensity 5 species {species} model {chosen} {server}\n"
    script = place / "in.file"
    script.write_text(f"{start}{before}{fix}{after}\n")
    words = [_program("lmp"), "-in", str(script), "-log", "none"]
    if ranks > 1:
        words = [_program("mpiexec"), "-n", str(ranks), *words]
    process = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=place,
        start_new_session=True,
    )
    if listener is not None:
        assassin = threading.Thread(target=lambda: (time.sleep(8), listener.kill()))
        assassin.start()
    try:
        output, _ = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return "hang", output
    finally:
        if listener is not None:
            listener.kill()
            listener.wait()
    if process.returncode == 0:
        return "ran to its end", output
    said = re.search(reason or "$^", output) is not None
    return ("stopped with the reason" if said else "no reason"), output
