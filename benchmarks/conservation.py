"""Energy of a biased liquid at constant energy: 500 Kob–Andersen particles in ASE, velocity Verlet.

    OMP_NUM_THREADS=1 python -m benchmarks.conservation --strength 0 2 8 --timestep 0.0025 0.005 --minutes 5

Interaction (force-shifted, by matscipy) and ``PropensityBias`` by ``SumCalculator``; λ = strength × number
of A.  Each case in a process of its own.  Printed are, a particle, the drift of the total energy (slope of a
line, in 100 LJ times) and its fluctuation about the line, beside the fluctuation of the bias energy.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

MODEL = Path(__file__).parents[1] / "examples" / "ka_T0.56_smooth"


def one(strength: float, timestep: float, steps: int, minutes: float) -> str:
    """A line of the table."""
    import torch
    from ase import Atoms, units
    from ase.calculators.mixing import SumCalculator
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet
    from matscipy.calculators.pair_potential import LennardJonesLinear, PairPotential

    from benchmarks.common import liquid
    from propensity import PropensityBias
    from propensity.bias import Linear
    from propensity.physics.interaction import CUT, EPSILON, SIGMA

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    whole, edge = liquid(), 7.5
    inside = np.flatnonzero((np.mod(whole.positions, whole.cell[0, 0]) < edge).all(axis=1))
    atoms = Atoms(
        np.where(whole.types[inside] == 0, "H", "He"),
        np.mod(whole.positions[inside], whole.cell[0, 0]),
        cell=[edge] * 3,
        pbc=True,
        masses=np.ones(len(inside)),
    )
    names = (1, 2)  # atomic numbers
    pairs = PairPotential(
        {
            (names[a], names[b]): LennardJonesLinear(EPSILON[a, b], SIGMA[a, b], CUT * SIGMA[a, b])
            for a, b in ((0, 0), (0, 1), (1, 1))
        }
    )
    n_a = int((atoms.numbers == 1).sum())
    bias = PropensityBias(
        MODEL, Linear(strength * n_a), group="A", time=23.775, species_map={"H": "A", "He": "B"}, device="cpu"
    )
    MaxwellBoltzmannDistribution(atoms, temperature_K=0.56 / units.kB, force_temp=True)
    atoms.calc = pairs
    # The faces of the cut met at random: part what overlaps, then come to the temperature.
    for _ in range(300):
        force = atoms.get_forces()
        atoms.positions += 0.01 * force / np.maximum(np.linalg.norm(force, axis=1, keepdims=True), 1.0)

    rng = np.random.RandomState(1)
    Langevin(atoms, 0.004, temperature_K=0.56 / units.kB, friction=1.0, rng=rng).run(2000)
    atoms.calc = SumCalculator([pairs, bias]) if strength else pairs
    Langevin(atoms, 0.004, temperature_K=0.56 / units.kB, friction=1.0, rng=rng).run(100)
    dynamics, found, end = VelocityVerlet(atoms, timestep), [], time.perf_counter() + 60 * minutes
    began = time.perf_counter()
    while len(found) <= steps and time.perf_counter() < end:
        pull = strength * n_a * bias.mean if strength else 0.0
        found.append((atoms.get_potential_energy() + atoms.get_kinetic_energy(), pull))
        dynamics.run(1)
    total, pulls = np.array(found).T / len(atoms)
    times = timestep * np.arange(len(total))
    slope, height = np.polyfit(times, total, 1)
    rest = (total - slope * times - height).std()
    return (
        f"{strength:8g} {timestep:9g} {len(total):8d} {100 * slope:12.2e} {rest:12.2e} {pulls.std():12.2e}"
        f" {(time.perf_counter() - began) / len(total):8.3f}"
    )


def main() -> None:
    """All cases side by side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--strength", type=float, nargs="+", default=[0.0, 2.0])
    parser.add_argument("--timestep", type=float, nargs="+", default=[0.0025, 0.005])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    args = parser.parse_args()
    cases = [(*case, args.steps, args.minutes) for case in itertools.product(args.strength, args.timestep)]
    print("strength  timestep    steps  drift in 100  fluctuation  of the bias   s a step")
    with ProcessPoolExecutor(len(cases)) as pool:
        for line in pool.map(one, *zip(*cases, strict=True)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
