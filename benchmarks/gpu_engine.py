"""Speed of the GPU engine: many systems, one large system, quenches, cage states, several devices.

python benchmarks/gpu_engine.py [--systems 264] [--steps 3000]
    [--devices 2] [--skins] [--lammps] [--command 600]

Prints particle-steps per second.  Neighbour lists are rebuilt as the dynamics asks for, energies recorded
every 100 steps.  `--lammps` runs one system with LAMMPS on one core of the same machine beside it.
`--command` runs `propensity simulate` whole, as long as this, beside the bare kernels (a fifth, scaled).
The liquid is the Kob-Andersen mixture at T = 0.5 and density 1.2, melted here.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from propensity.physics.gpu.batch import Batch
from propensity.physics.gpu.cage import cage_states
from propensity.physics.gpu.device import cuda_device
from propensity.physics.gpu.layout import Skins
from propensity.physics.gpu.quench import inherent_structures
from propensity.physics.interaction import named_interaction
from propensity.simulate import Leg, Microstate, load_preset, make_engine, simulate_propensities
from propensity.simulate.arguments import make_settings
from propensity.simulate.gpu_engine import GpuEngine
from propensity.simulate.physics import generator, lattice, maxwell_boltzmann
from propensity.structure import Structure

N, DENSITY, TEMPERATURE = 4096, 1.2, 0.5


def melt(systems: int, n: int = N) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions, types, box and velocities of liquids cooled to T = 0.5."""
    model, pairs, device = load_preset("kob-andersen"), named_interaction("lj/cut"), cuda_device()
    box = np.full(3, (n / DENSITY) ** (1 / 3))
    made = [lattice(model.counts(n), box, 3, generator(0, k)) for k in range(systems)]
    x, types = np.stack([m[0] for m in made]), np.stack([m[1] for m in made])
    v = np.stack([maxwell_boltzmann(np.ones(n), 2.0, 3, generator(1, k)) for k in range(systems)])
    first = Batch(device, pairs, x, types, box)
    first.minimise(1.0, 200)
    run = Batch(device, pairs, x + first.displacements(), types, box, v)
    seeds = np.arange(systems)
    run.dynamics(2000, 0.005, temperature=(2.0, 2.0), seeds=seeds)
    run.dynamics(8000, 0.005, temperature=(2.0, TEMPERATURE), seeds=seeds)
    run.dynamics(4000, 0.005, temperature=(TEMPERATURE, TEMPERATURE), seeds=seeds)
    return run.start + run.displacements(), types, box, run.velocities()


def rate(batch: Batch, steps: int) -> tuple[float, float]:
    """Particle-steps per second, and drift of the energy per particle."""
    batch.dynamics(20, 0.005)
    began = time.perf_counter()
    records = batch.dynamics(steps, 0.005, sample_every=100)
    seconds = time.perf_counter() - began
    total = (records.potential + records.kinetic) / batch.n
    return batch.s * batch.n * steps / seconds, float((total[:, -1] - total[:, 0]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", type=int, default=264)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--skins", action="store_true", help="other skins of the lists too")
    parser.add_argument("--lammps", action="store_true")
    parser.add_argument("--command", type=float, metavar="TIME")
    options = parser.parse_args()
    device, pairs = cuda_device(), named_interaction("lj/cut")
    print(f"{device.name}, {device.multiprocessors} multiprocessors", flush=True)
    x, types, box, v = melt(options.systems)
    skins = (
        Skins(),
        Skins(margin=0.12),
        Skins(0.17),
        Skins(0.23),
        Skins(outer=0.8),
        Skins(outer=1.0),
        Skins(outer=1.1),
    )
    for skin in skins if options.skins else skins[:1]:
        batch = Batch(device, pairs, x, types, box, v, skins=skin, grid=False)
        found = [rate(batch, options.steps) for _ in range(3)]
        reach = f"{skin.inner} {skin.outer}, margin {skin.margin}"
        print(
            f"{options.systems} systems, skins {reach}: {' '.join(f'{speed:.3e}' for speed, _ in found)}, "
            f"drift {found[0][1]:.1e}"
        )
    for few, grid in ((20, False), (1, False), (1, True)):
        batch = Batch(device, pairs, x[:few], types[:few], box, v[:few], grid=grid)
        speed, drift = rate(batch, 2 * options.steps)
        how = "on the whole device" if grid else f"on {batch.variant.cluster} blocks each"
        print(f"{few} system(s) of {N} {how}: {speed:.3e}, drift {drift:.1e}")
    tile = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3) * box
    large = (x[:1] + tile).reshape(1, -1, 3)
    kinds, speeds = np.tile(types[:1], (1, 27)), np.tile(v[:1], (1, 27, 1))
    speed, drift = rate(Batch(device, pairs, large, kinds, 3 * box, speeds, grid=True), options.steps // 3)
    print(f"one system of {27 * N}: {speed:.3e}, drift {drift:.1e}")

    structures = [Structure(p, t, box) for p, t in zip(x, types, strict=True)]
    for name in ("lj/cut", "lj/cut force-shifted"):
        inherent_structures(structures[:1], name)
        began = time.perf_counter()
        inherent_structures(structures[:1], name)
        one = time.perf_counter() - began
        inherent_structures(structures, name)  # other kernels than one alone takes
        began = time.perf_counter()
        inherent_structures(structures, name)
        all_of = time.perf_counter() - began
        print(f"quench, {name}: one {one:.3f} s, {60 * len(structures) / all_of:.0f} a minute in a batch")
    began = time.perf_counter()
    cage_states(structures[:33], "lj/cut", TEMPERATURE, radius=0.35)
    seconds = time.perf_counter() - began
    print(f"cage states: 33 structures x 16 replicas x 16,500 steps in {seconds:.1f} s, quench included")

    legs = engines(options, x, types, box, v)
    if options.command:
        command(options.command, x, types, box)
    if options.lammps:
        lammps_beside([replace(legs[0], steps=400, frames=())] * len(os.sched_getaffinity(0)))


def command(duration: float, x: np.ndarray, types: np.ndarray, box: np.ndarray, runs: int = 8) -> None:
    """``propensity simulate`` of stored structures over the kernels alone, which run a fifth of it."""
    structures = len(x) // runs
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "start.npz"
        np.savez(
            start,
            positions=x[:structures],
            types=types[:structures],
            box=box,
            temperature=TEMPERATURE,
            potential="lj/cut",
            times=[1.0],
            propensity=np.zeros((structures, 1, N)),
        )
        settings, given = make_settings(
            load_preset("kob-andersen"),
            temperature=TEMPERATURE,
            times=f"0.13:{duration:g}:8",
            runs=runs,
            start_from=start,
        )
        began = time.perf_counter()
        simulate_propensities(settings, Path(folder) / "out.h5", make_engine("gpu"), given=given, workers=1)
        whole = time.perf_counter() - began
    here = np.repeat(x[:structures], runs, axis=0), np.repeat(types[:structures], runs, axis=0)
    v = np.stack(
        [maxwell_boltzmann(np.ones(N), TEMPERATURE, 3, generator(2, k)) for k in range(len(here[0]))]
    )
    batch = Batch(cuda_device(), named_interaction("lj/cut"), *here, box, v, grid=False)
    speed, _ = rate(batch, settings.steps[-1] // 5)
    kernels = len(here[0]) * N * settings.steps[-1] / speed
    print(
        f"propensity simulate, {len(here[0])} runs to t = {duration:g}: {whole:.1f} s, start of its worker "
        f"included; its kernels alone {kernels:.1f} s: {whole / kernels:.3f}"
    )


def engines(
    options: argparse.Namespace, x: np.ndarray, types: np.ndarray, box: np.ndarray, v: np.ndarray
) -> list[Leg]:
    """The engine over its kernels, several devices over one; the legs that it ran."""
    model, pairs = load_preset("kob-andersen"), named_interaction("lj/cut")
    steps = 4 * options.steps
    legs = [
        Leg(Microstate(a, w, t, box, np.ones(N)), model, "nve", steps, 0.005, (steps,))
        for a, t, w in zip(x, types, v, strict=True)
    ]
    speeds: dict[int, list[float]] = {count: [] for count in sorted({1, options.devices})}
    bare: list[float] = []
    brief = [replace(leg, steps=20, frames=(20,)) for leg in legs]
    for count in speeds:  # kernels are compiled
        GpuEngine(devices=tuple(range(count))).run(brief * count)
    for _ in range(3):  # in turn
        bare.append(rate(Batch(cuda_device(), pairs, x, types, box, v, grid=False), steps)[0])
        for count, found in speeds.items():
            engine, work = GpuEngine(devices=tuple(range(count))), legs * count
            began = time.perf_counter()
            engine.run(work)
            found.append(len(work) * N * steps / (time.perf_counter() - began))
    one = float(np.median(speeds[1]))
    print(f"kernels alone, {steps} steps: in turn {' '.join(f'{v:.3e}' for v in bare)}")
    for count, found in speeds.items():
        print(
            f"engine on {count} device(s), {len(legs) * count} systems: {np.median(found):.3e}, "
            f"{np.median(found) / one:.2f} of one device; in turn {' '.join(f'{v:.3e}' for v in found)}"
        )
    print(f"kernels over engine, {steps} steps: {np.median(bare) / one:.3f}")
    return legs


def lammps_beside(legs: list[Leg]) -> None:
    """One system on one core by LAMMPS, then one on each core at once."""
    from propensity.simulate.lammps_engine import LammpsEngine

    engine = LammpsEngine()
    print(engine.describe())
    (result,) = engine.run(legs[:1])
    print(f"LAMMPS on one core: {N * legs[0].steps / result.seconds:.3e}")
    with ProcessPoolExecutor(len(legs), mp_context=get_context("spawn")) as pool:
        results = [r for (r,) in pool.map(engine.run, [[leg] for leg in legs])]
    rates = [N * leg.steps / r.seconds for leg, r in zip(legs, results, strict=True)]
    print(f"LAMMPS on {len(legs)} cores at once, one system on each: {sum(rates):.3e}")


if __name__ == "__main__":
    main()
