"""The energy minimum of a thermal configuration of 4096 particles, on one core.

Peer of the force-shifted one, in the same run: ASE's L-BFGS with the same settings on matscipy's pair
potential.

    OMP_NUM_THREADS=1 python -m benchmarks.quench
"""

from __future__ import annotations

import time

import numpy as np
import torch
from ase import Atoms
from ase.optimize import LBFGS
from matscipy.calculators.pair_potential import LennardJonesLinear, PairPotential

from benchmarks.common import liquid
from propensity import inherent_structure
from propensity.lattice import minimum_image
from propensity.physics.interaction import CUT, EPSILON, SIGMA
from propensity.physics.quench import FORCE, MAX_STEPS, SETTINGS

PLAIN, SMOOTH = "lj/cut", "lj/cut force-shifted"


def peer(structure):
    """The minimum by matscipy, and the steps it took."""
    atoms = Atoms(structure.types + 1, structure.positions, cell=structure.cell, pbc=True)
    species = [(0, 0), (0, 1), (1, 1)]
    atoms.calc = PairPotential(
        {
            (a + 1, b + 1): LennardJonesLinear(EPSILON[a, b], SIGMA[a, b], CUT * SIGMA[a, b])
            for a, b in species
        }
    )
    search = LBFGS(atoms, logfile=None, **SETTINGS)
    search.run(fmax=FORCE, steps=MAX_STEPS)
    return atoms.positions, search.nsteps


def main():
    """Print the times and how far the minima are apart."""
    torch.set_num_threads(1)
    structure = liquid()
    inherent_structure(structure, SMOOTH, force=1.0)  # compiles
    for potential in (PLAIN, SMOOTH):
        start = time.perf_counter()
        ours = inherent_structure(structure, potential)
        middle = time.perf_counter()
        print(f"{potential}: {middle - start:.2f} s")
    theirs, steps = peer(structure)
    end = time.perf_counter()
    apart = np.linalg.norm(
        minimum_image(ours.positions - theirs, structure.cell, structure.pbc), axis=1
    ).max()
    print(
        f"inherent_structure {middle - start:.2f} s, matscipy {end - middle:.2f} s in {steps} steps: "
        f"{(end - middle) / (middle - start):.1f} times faster; minima {apart:.1e} σ apart"
    )


if __name__ == "__main__":
    main()
