"""A Kob–Andersen liquid run in ASE while an observer predicts the propensity of its particles.

matscipy's pair potentials drive the dynamics and the observer only looks.  Ends with a table, and a
picture of the predicted propensities before and after beside the displacements of this one run.

    python examples/ase_kob_andersen.py
"""

import argparse
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.md.verlet import VelocityVerlet
from matscipy.calculators.pair_potential import LennardJonesCut, PairPotential

from propensity import PropensityObserver, load_demo, plot_propensity

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="ka-default")
parser.add_argument("--steps", type=int, default=260, help="of 0.005 each")
parser.add_argument("--output", type=Path, default=Path("."))
args = parser.parse_args()

# Equilibrated at T = 0.44.  Nickel stands for A and phosphorus for B; all in Lennard-Jones units.
liquid = load_demo().structure
symbols = np.array(["Ni", "P"])[liquid.types]
atoms = ase.Atoms(symbols, liquid.positions, cell=liquid.cell, pbc=True, masses=np.ones(len(liquid)))
atoms.set_momenta(np.random.default_rng(1).normal(scale=0.44**0.5, size=(len(atoms), 3)))
atoms.calc = PairPotential(
    {
        (28, 28): LennardJonesCut(epsilon=1.0, sigma=1.0, cutoff=2.5),
        (28, 15): LennardJonesCut(epsilon=1.5, sigma=0.8, cutoff=2.0),
        (15, 15): LennardJonesCut(epsilon=0.5, sigma=0.88, cutoff=2.2),
    }
)

file = args.output / "ase_kob_andersen.extxyz"
observer = PropensityObserver(atoms, args.model, file=file, species_map={"Ni": "A", "P": "B"})
dynamics = VelocityVerlet(atoms, timestep=0.005)
dynamics.attach(observer, interval=args.steps // 4)
dynamics.run(args.steps)

frames, a = ase.io.read(file, ":"), liquid.types == 0
first = frames[0].arrays["propensities"][:, 1]  # at the model's second time, t = 1.3
print("     t   kinetic T   potential energy   ρ of first prediction and displacement of A so far")
for k, frame in enumerate(frames):
    moved = np.linalg.norm(frame.positions - liquid.positions, axis=1)
    rho = np.corrcoef(first[a], moved[a])[0, 1] if k else np.nan
    kinetic, potential = frame.get_kinetic_energy() / len(a), frame.get_potential_energy() / len(a)
    print(f"{k * (args.steps // 4) * 0.005:6.3f}{kinetic / 1.5:12.3f}{potential:19.3f}{rho:22.2f}")

panels = {"predicted from the first frame": first, "displacement in this run": moved}
picture = plot_propensity(liquid, panels, relative=True, label="relative to the mean of the species")
picture.savefig(args.output / "ase_kob_andersen.png", dpi=150)
