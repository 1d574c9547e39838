"""What polydisperse structures sampled with swaps cost: lists by cells beside all pairs, and whole steps.

    python benchmarks/swap_engine.py --n-particles 1000 3000 10000

For each number of particles: processor time of one list by cells and by all pairs (the same lists, checked),
of one step of dynamics with swaps either way, and of one deeply supercooled structure (melt, cooling to T =
0.075, where the mode-coupling temperature is 0.104, and ``--time`` of sampling there).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from propensity.compiling import njit
from propensity.simulate import Leg, load_preset, soft_spheres
from propensity.simulate.arguments import make_settings
from propensity.simulate.physics import generator, maxwell_boltzmann
from propensity.simulate.swap_engine import SwapEngine
from propensity.simulate.workflow import first_lattice

COLD = 0.075


@njit(cache=True, nogil=True)
def all_pairs(x, box, reach, counts, listed):
    """The lists of :func:`propensity.simulate.soft_spheres.list_neighbours` from all N(N − 1)/2 distances."""
    n = len(x)
    counts[:] = 0
    for i in range(n):
        for j in range(i + 1, n):
            d2 = 0.0
            for k in range(3):
                d = x[i, k] - x[j, k]
                d -= box[k] * np.rint(d / box[k])
                d2 += d * d
            if d2 < reach * reach:
                listed[i, counts[i]] = j
                counts[i] += 1
                listed[j, counts[j]] = i
                counts[j] += 1


def seconds(work, rounds: int) -> float:
    """Least processor time of one round."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def measure(n: int, steps: int, sampling: float) -> None:
    """Print the line of one number of particles."""
    model, engine = load_preset("polydisperse"), SwapEngine()
    settings, _ = make_settings(model, temperature=COLD, times="1", n_particles=n)
    microstate = engine.run([Leg(first_lattice(settings, 0), model, "minimise", iterations=300)])[
        0
    ].microstate
    microstate = replace(microstate, velocities=maxwell_boltzmann(np.ones(n), 0.3, 3, generator(2)))
    microstate = engine.run([Leg(microstate, model, "nvt", 500, model.timestep, temperature=(0.3, COLD))])[
        0
    ].microstate
    x, box, sizes = (
        soft_spheres.as_float(a) for a in (microstate.positions, microstate.box, microstate.diameters)
    )
    reach = soft_spheres.CUT * sizes.max() + soft_spheres.SKIN
    lists = [(np.zeros(n, np.int64), np.zeros((n, 300), np.int64)) for _ in range(2)]
    cells = seconds(lambda: soft_spheres.list_neighbours(x, box, reach, *lists[0]), 3)
    pairs = seconds(lambda: all_pairs(x, box, reach, *lists[1]), 3)
    ours, theirs = ([set(a[:m]) for m, a in zip(*each, strict=True)] for each in lists)
    assert ours == theirs, "the lists differ"
    leg = Leg(microstate, model, "nvt", steps, model.timestep, temperature=(COLD, COLD))
    step = seconds(lambda: engine.run([leg]), 2) / steps
    before = step + (pairs - cells) * rebuilds(leg) / steps
    whole = (settings.melt_time + settings.cool_time + sampling) / model.timestep * step
    print(
        f"N = {n}: list {1e3 * cells:.3g} ms by cells, {1e3 * pairs:.3g} ms by all pairs"
        f" (ratio {pairs / cells:.1f}); step {1e3 * step:.3g} ms, with all pairs {1e3 * before:.3g} ms"
        f" (ratio {before / step:.2f}); one structure {whole / 60:.3g} min"
    )


def rebuilds(leg: Leg) -> int:
    """Lists that a leg makes, from its frames."""
    every = replace(leg, frames=tuple(range(1, leg.steps + 1)))
    frames = SwapEngine().run([every])[0].frames
    at, count = leg.microstate.positions, 1
    for frame in frames:
        if np.square(frame - at).sum(axis=1).max() > (soft_spheres.SKIN / 2) ** 2:
            at, count = frame, count + 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-particles", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--time", type=float, default=1000.0, help="sampling at the low temperature")
    options = parser.parse_args()
    for n in options.n_particles:
        measure(n, options.steps, options.time)


if __name__ == "__main__":
    main()
