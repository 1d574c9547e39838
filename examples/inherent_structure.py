"""What an energy minimum tells: one published configuration seen by a model of thermal positions and by one
of both.

DeepMind's configuration of 4096 Kob–Andersen particles at T = 0.44 is minimised; a particle that is far from
its minimum moves back soon, and later motion follows from where the minima are.  Ends with a table, and a
picture of the correlation with the published propensities of the A particles at every time.

    python examples/inherent_structure.py
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from propensity import Predictor, inherent_structure, load_demo

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--thermal-model", default="ka-default")
parser.add_argument("--model", default="ka-both")
parser.add_argument("--output", type=Path, default=Path("."))
args = parser.parse_args()

demo = load_demo()
thermal = demo.structure
minimum = inherent_structure(thermal, "lj/cut")  # the potential of these dynamics
both = thermal.at_minimum(minimum.positions)
distance = np.linalg.norm(both.thermal_offset, axis=1)

plain, full = Predictor(args.thermal_model), Predictor(args.model)
predicted = {
    f"{args.thermal_model}: thermal positions": plain.predict(thermal),
    f"{args.model}: minimum and thermal positions": full.predict(both),
    "distance to the minimum": np.repeat(distance[:, None], len(plain.times), axis=1),
}

a = thermal.types == 0
rho = {
    name: [np.corrcoef(values[a, k], demo.propensity_at(t)[a])[0, 1] for k, t in enumerate(plain.times)]
    for name, values in predicted.items()
}
print(f"{'ρ at t =':>50}" + "".join(f"{t:8g}" for t in plain.times))
for name, values in rho.items():
    print(f"{name:>50}" + "".join(f"{value:8.2f}" for value in values))

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name, values in rho.items():
    axes.semilogx(plain.times, values, "o-", label=name)
axes.set(xlabel="t (Lennard-Jones units)", ylabel="Pearson's ρ of A particles", ylim=(0, 1))
axes.legend(fontsize="small")
figure.savefig(args.output / "inherent_structure.png", dpi=150)
