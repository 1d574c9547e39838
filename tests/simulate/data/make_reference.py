"""Reference g_AA(r) of the plain Kob-Andersen liquid at T = 0.56 and its mean pressure, from the shared
configurations.

PROPENSITY_SHARED=... python -m tests.simulate.data.make_reference
"""

import os
from pathlib import Path

import numpy as np

from propensity.simulate import Leg, Microstate, load_preset, make_engine
from propensity.simulate.physics import generator, maxwell_boltzmann
from tests.simulate.liquid import EDGES, pair_distribution

if __name__ == "__main__":
    model, engine = load_preset("kob-andersen"), make_engine("lammps")
    g, energy, pressure = [], [], []
    for part in ("train", "valid"):
        file = np.load(Path(os.environ["PROPENSITY_SHARED"]) / "data" / f"ka3d_T0.56_{part}.npz")
        types, box = file["types"].astype(int), file["box"]
        for k, x in enumerate(file["positions"].astype(float)):
            g.append(pair_distribution(x[types == 0], box))
            v = maxwell_boltzmann(np.ones(len(x)), 0.56, 3, generator(0, k))
            (result,) = engine.run([Leg(Microstate(x, v, types, box), model, "nve", steps=0, sample_every=1)])
            energy.append(result.potential[0])
            pressure.append(result.pressure[0])
    g = np.array(g)
    for name, values in (("U/N", energy), ("P", pressure)):
        print(name, np.mean(values), "±", np.std(values) / np.sqrt(len(values)))
    table = np.column_stack([EDGES[:-1], g.mean(0), g.std(0) / np.sqrt(len(g))])
    np.savetxt(
        Path(__file__).with_name("g_AA_T0.56.txt"),
        table,
        fmt="%.4f",
        header="left edge, g_AA, error of the mean",
    )
