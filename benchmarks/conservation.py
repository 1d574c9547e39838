"""Energy of a biased liquid at constant energy: 265 Kob–Andersen particles, velocity Verlet.

    OMP_NUM_THREADS=1 python -m benchmarks.conservation --model MODEL --timestep 0.005 0.0025 0.00125
    OMP_NUM_THREADS=1 python -m benchmarks.conservation --model MODEL --engine lammps

Force-shifted interaction and a bias λq on the mean propensity of A, λ = strength × number of A: by
``PropensityBias`` in ASE's ``SumCalculator`` in float64, or by ``fix propensity ... bias`` in LAMMPS, whose
network has float32.  Every timestep begins at the same positions and velocities, equilibrated under the bias,
in a process of its own.  Printed are, a particle, the rms and the largest deviation of the total energy from
the first one over the same time, beside the fluctuation of the bias energy: forces without jumps have
deviations that fall as the square of the timestep, to a quarter from line to line.
"""

from __future__ import annotations

import argparse
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

MODEL = Path(__file__).parents[1] / "examples" / "ka_T0.56_smooth"
TEMPERATURE, EDGE = 0.56, 6.0
#: Positions and velocities of a start.
State = tuple[np.ndarray, np.ndarray]


def quiet() -> None:
    """One thread, and no doubts about a piece that was cut out."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def liquid_of_atoms() -> Any:
    """A piece of the liquid as periodic atoms."""
    from ase import Atoms

    from benchmarks.common import liquid

    whole = liquid()
    inside = np.flatnonzero((np.mod(whole.positions, whole.cell[0, 0]) < EDGE).all(axis=1))
    return Atoms(
        np.where(whole.types[inside] == 0, "H", "He"),
        np.mod(whole.positions[inside], whole.cell[0, 0]),
        cell=[EDGE] * 3,
        pbc=True,
        masses=np.ones(len(inside)),
    )


def calculators(model: str, strength: float) -> tuple[Any, Any, Any]:
    """Interaction, bias and their sum."""
    from ase.calculators.mixing import SumCalculator
    from matscipy.calculators.pair_potential import LennardJonesLinear, PairPotential

    from propensity import PropensityBias
    from propensity.bias import Linear
    from propensity.physics.interaction import CUT, EPSILON, SIGMA

    pairs = PairPotential(
        {
            (a + 1, b + 1): LennardJonesLinear(EPSILON[a, b], SIGMA[a, b], CUT * SIGMA[a, b])
            for a, b in ((0, 0), (0, 1), (1, 1))
        }
    )
    if not strength:
        return pairs, None, pairs
    pull = Linear(strength * int((liquid_of_atoms().numbers == 1).sum()))
    options: dict[str, Any] = {"species_map": {"H": "A", "He": "B"}, "device": "cpu", "dtype": "float64"}
    bias = PropensityBias(model, pull, group="A", **options)
    return pairs, bias, SumCalculator([pairs, bias])


def start(model: str, strength: float) -> State:
    """Equilibrated at the temperature, then under the bias."""
    from ase import units
    from ase.md.langevin import Langevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

    quiet()
    atoms, rng = liquid_of_atoms(), np.random.RandomState(1)
    pairs, _, both = calculators(model, strength)
    hot = {"temperature_K": TEMPERATURE / units.kB, "rng": rng}
    MaxwellBoltzmannDistribution(atoms, force_temp=True, **hot)
    atoms.calc = pairs
    # The faces of the cut met at random: part what overlaps, then come to the temperature.
    for _ in range(300):
        force = atoms.get_forces()
        atoms.positions += 0.01 * force / np.maximum(np.linalg.norm(force, axis=1, keepdims=True), 1.0)
    Langevin(atoms, 0.004, friction=1.0, **hot).run(2000)
    atoms.calc = both
    Langevin(atoms, 0.003, friction=2.0, **hot).run(200 if strength else 0)
    return atoms.get_positions(wrap=True), atoms.get_velocities()


def by_ase(model: str, strength: float, timestep: float, state: State, steps: int, minutes: float) -> Any:
    """Total energy and that of the bias after each step, shape (n, 2)."""
    from ase.md.verlet import VelocityVerlet

    atoms, (_, bias, both) = liquid_of_atoms(), calculators(model, strength)
    atoms.positions, atoms.calc = state[0], both
    atoms.set_velocities(state[1])
    dynamics, found, end = VelocityVerlet(atoms, timestep), [], time.perf_counter() + 60 * minutes
    while len(found) <= steps and time.perf_counter() < end:
        pull = bias.get_potential_energy(atoms) if bias else 0.0
        found.append((atoms.get_potential_energy() + atoms.get_kinetic_energy(), pull))
        dynamics.run(1)
    return np.array(found)


def by_lammps(model: str, strength: float, timestep: float, state: State, steps: int, minutes: float) -> Any:
    """The same by ``fix propensity``."""
    from propensity import load_lammps
    from propensity.physics.interaction import CUT, EPSILON, SIGMA

    atoms, lmp = liquid_of_atoms(), load_lammps(("-screen", "none", "-log", "none"))
    lmp.commands_string(
        f"units lj\natom_modify map array\nregion box block 0 {EDGE} 0 {EDGE} 0 {EDGE}\ncreate_box 2 box"
    )
    order = atoms.numbers.tolist()
    lmp.create_atoms(len(atoms), None, order, state[0].ravel().tolist(), state[1].ravel().tolist())
    cutoff = CUT * SIGMA
    lines = ["mass * 1.0", "pair_style lj/smooth/linear 2.5"]
    lines += [
        f"pair_coeff {a + 1} {b + 1} {EPSILON[a, b]} {SIGMA[a, b]} {cutoff[a, b]}"
        for a, b in ((0, 0), (0, 1), (1, 1))
    ]
    lines += [f"timestep {timestep}", "neigh_modify every 1 delay 0 check yes", "fix nve all nve"]
    if strength:
        pull = strength * order.count(1)
        lines += [
            "group big type 1",
            f"fix p big propensity 1 species A B model {model} device cpu bias linear {pull}",
            "fix_modify p energy yes",
        ]
    lmp.commands_string("\n".join([*lines, "thermo_modify norm no", "run 0"]))
    found, end = [], time.perf_counter() + 60 * minutes
    while len(found) <= steps and time.perf_counter() < end:
        found.append((lmp.get_thermo("etotal"), lmp.extract_fix("p", 0, 0) if strength else 0.0))
        lmp.command("run 1 pre no post no")
    return np.array(found)


def one(
    model: str, strength: float, timestep: float, state: State, *, length: float, minutes: float, engine: str
) -> str:
    """A line of the table."""
    quiet()
    began, steps = time.perf_counter(), round(length / timestep)
    run = by_lammps if engine == "lammps" else by_ase
    total, pulls = run(model, strength, timestep, state, steps, minutes).T / len(state[0])
    away = total - total[0]
    drift = np.polyfit(timestep * np.arange(len(total)), total, 1)[0]
    return (
        f"{strength:8g} {timestep:9g} {len(total) - 1:6d} {np.sqrt((away**2).mean()):12.2e}"
        f" {abs(away).max():9.2e} {drift:12.2e} {pulls.std():12.2e}"
        f" {(time.perf_counter() - began) / len(total):8.3f}"
    )


def main() -> None:
    """All cases side by side."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=str(MODEL))
    parser.add_argument("--engine", choices=("ase", "lammps"), default="ase")
    parser.add_argument("--strength", type=float, nargs="+", default=[2.0])
    parser.add_argument("--timestep", type=float, nargs="+", default=[0.005, 0.0025, 0.00125])
    parser.add_argument("--length", type=float, default=1.0, help="In LJ times.")
    parser.add_argument("--minutes", type=float, default=5.0, help="At most, for each case.")
    args = parser.parse_args()
    print("strength  timestep  steps  rms from E₀   largest  drift in 1  of the bias  s a step")
    with ProcessPoolExecutor(len(args.strength) * len(args.timestep)) as pool:
        states = pool.map(start, repeat(args.model), args.strength)
        for strength, state in zip(args.strength, states, strict=True):
            case = partial(one, length=args.length, minutes=args.minutes, engine=args.engine)
            times = sorted(args.timestep, reverse=True)
            for line in pool.map(case, repeat(args.model), repeat(strength), times, repeat(state)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
