"""Throughput of `propensity simulate` against bare LAMMPS running the same input, and of the ways to use the
cores.

python benchmarks/simulate_throughput.py [--n 4096] [--steps 400] [--repeats 3]

Peer: the `lmp` binary of the same wheel on the same input file, from start to end of the process; ours
includes writing
and reading the text files of a piece.  Ratios are of steps per second, above 1 where faster than the peer;
CPU seconds
tell more than the clock on a machine that others use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from propensity.errors import PropensityError
from propensity.simulate import Leg, load_preset, make_engine
from propensity.simulate.engine import Microstate
from propensity.simulate.lammps_engine import LammpsEngine
from propensity.simulate.lammps_input import write
from propensity.simulate.physics import generator, lattice, maxwell_boltzmann


def liquid(name: str, n: int) -> tuple:
    """A molten configuration at T = 1, shortly equilibrated."""
    model, engine = load_preset(name), make_engine("lammps")
    box = np.full(3, (n / model.density) ** (1 / 3))
    x, types = lattice(model.counts(n), box, 3, generator(0))
    (rest,) = engine.run([Leg(Microstate(x, 0 * x, types, box), model, "minimise", iterations=100)])
    v = maxwell_boltzmann(rest.microstate.masses, 1.0, 3, generator(1))
    start = replace(rest.microstate, velocities=v)
    (hot,) = engine.run([Leg(start, model, "nvt", steps=500, temperature=(1.0, 1.0))])
    return model, hot.microstate


def cost(call, repeats: int) -> tuple[float, float]:
    """Shortest wall time and CPU time (children included) of several calls, in seconds."""
    wall, cpu = [], []
    for _ in range(repeats):
        begin, before = time.perf_counter(), sum(os.times()[:4])
        call()
        wall.append(time.perf_counter() - begin)
        cpu.append(sum(os.times()[:4]) - before)
    return min(wall), min(cpu)


def bare_lammps(leg: Leg, engine: LammpsEngine) -> None:
    """The peer: the same files, run by the `lmp` binary."""
    with tempfile.TemporaryDirectory() as name:
        write(leg, Path(name), "suffix opt\n")
        words = [*engine.command(), "-in", "leg.in", "-log", "log.lammps", "-screen", "none"]
        subprocess.run(words, cwd=name, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="kob-andersen")
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model, microstate = liquid(options.model, options.n)
    frames = tuple(sorted({round(float(s)) for s in np.geomspace(1, options.steps, 10)}))
    leg = Leg(microstate, model, "nve", steps=options.steps, frames=frames)

    module, program = LammpsEngine(), LammpsEngine(exe="lmp", suffix="opt")

    def two_at_once() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(program.run, ([leg], [leg])))

    rows = {
        "peer: lmp -in": (lambda: bare_lammps(leg, program), 1),
        "propensity, one piece": (lambda: module.run([leg]), 1),
        "suffix none instead of opt": (lambda: LammpsEngine(suffix="none").run([leg]), 1),
        "suffix omp instead of opt": (lambda: LammpsEngine(suffix="omp").run([leg]), 1),
        "one run on two ranks": (lambda: LammpsEngine(ranks=2).run([leg]), 1),
        "two runs at once": (two_at_once, 2),
    }
    print(
        f"{options.model}, N = {options.n}, {options.steps} steps, {len(frames)} frames, load"
        f" {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':30s} {'steps/s':>9s} {'ratio':>6s} {'steps/CPU s':>12s} {'ratio':>6s}")
    peer: tuple[float, float] | None = None
    for name, (call, runs) in rows.items():
        try:
            seconds = cost(call, options.repeats)
        except PropensityError as error:
            print(f"{name:30s} {error}")
            continue
        peer = peer or seconds
        wall, cpu = (runs * options.steps / s for s in seconds)
        ratios = [runs * p / s for p, s in zip(peer, seconds, strict=True)]
        print(f"{name:30s} {wall:9.0f} {ratios[0]:6.2f} {cpu:12.0f} {ratios[1]:6.2f}")


if __name__ == "__main__":
    main()
