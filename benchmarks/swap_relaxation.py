"""How much faster swaps of diameters relax a polydisperse liquid: τ_α with and without them.

    python benchmarks/swap_relaxation.py 0.14 --n-particles 300 --time 300

Prints both relaxation times (F_s at q = 7 falling to 1/e; "more than" the length of the run where it
doesn't), their ratio and the processor time of each, for one structure equilibrated with swaps.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from propensity.simulate import Leg, load_preset
from propensity.simulate.arguments import make_settings
from propensity.simulate.physics import generator, maxwell_boltzmann, relaxation_time, scattering
from propensity.simulate.starts import first_lattice
from propensity.simulate.swap_engine import SwapEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("temperature", type=float)
    parser.add_argument("--n-particles", type=int, default=300)
    parser.add_argument("--time", type=float, default=300.0)
    options = parser.parse_args()
    model, engine, T = load_preset("polydisperse"), SwapEngine(), options.temperature
    settings, _ = make_settings(model, temperature=T, times="1", n_particles=options.n_particles)
    steps = round(options.time / model.timestep)
    marks = tuple(sorted({round(float(s)) for s in np.geomspace(1, steps, 60)}))

    def leg(microstate, ensemble, hot, cold, frames=()):
        return engine.run([Leg(microstate, model, ensemble, steps, model.timestep, frames, (hot, cold))])[0]

    def kicked(microstate):
        v = maxwell_boltzmann(np.ones(len(microstate.types)), T, 3, generator(2))
        return replace(microstate, velocities=v)

    microstate = engine.run([Leg(first_lattice(settings, 0), model, "minimise", iterations=300)])[
        0
    ].microstate
    microstate = leg(kicked(microstate), "nvt", 0.5, T).microstate
    microstate = leg(microstate, "nvt", T, T).microstate
    found = {}
    for name, ensemble in (("with swaps", "nvt"), ("without", "nve")):
        began = time.process_time()
        result = leg(kicked(microstate), ensemble, T, T, marks)
        spent = time.process_time() - began
        distances = np.linalg.norm(result.frames - microstate.positions, axis=2)
        tau = relaxation_time(np.array(marks) * model.timestep, scattering(distances, 7.0, 3))
        found[name] = tau
        shown = f"more than {options.time:g}" if tau is None else f"{tau:.4g}"
        print(
            f"T = {T:g}, N = {options.n_particles}, {name}: tau_alpha = {shown} ({spent:.0f} s of processor)"
        )
    if found["with swaps"]:
        least = "" if found["without"] else "more than "
        print(f"ratio: {least}{(found['without'] or options.time) / found['with swaps']:.3g}")


if __name__ == "__main__":
    main()
