"""A LAMMPS trajectory annotated through MDAnalysis, in parallel.

The dump (4096 Kob–Andersen particles at T = 0.44, t = 0, 13 and 130, unwrapped) continues DeepMind's
published configuration.  Ends with a table, and a picture of the prediction from the first frame beside
what the particles then did.

    python examples/mdanalysis_trajectory.py
"""

import argparse
import warnings
from pathlib import Path

import MDAnalysis
import numpy as np

from propensity import PropensityAnalysis, Structure, plot_propensity

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--model", default="ka-default")
parser.add_argument("--output", type=Path, default=Path("."))
args = parser.parse_args()

dump = Path(__file__).with_name("ka_T0.44.lammpsdump.gz")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MDAnalysis would like masses and a time step.
    universe = MDAnalysis.Universe(str(dump), format="LAMMPSDUMP", topology_format="LAMMPSDUMP", dt=0.005)

species_map = {1: "A", 2: "B"}
analysis = PropensityAnalysis(universe, args.model, species_map=species_map).run(
    backend="multiprocessing", n_workers=2
)
propensities, times = analysis.results.propensities, analysis.results.times
steps = [ts.data["step"] * 0.005 for ts in universe.trajectory]
paths = np.stack([ts.positions.copy() for ts in universe.trajectory])
a = universe.atoms.types == "1"

print("  t of frame   <propensity> of A   ρ with first frame   ρ of first prediction and displacement")
last = len(times) - 1
for k, t in enumerate(steps):
    moved = np.linalg.norm(paths[k] - paths[0], axis=1)
    nearest = np.abs(np.log(times / t)).argmin() if t else last
    persistence = np.corrcoef(propensities[0, a, last], propensities[k, a, last])[0, 1]
    success = np.corrcoef(propensities[0, a, nearest], moved[a])[0, 1] if t else np.nan
    mean = propensities[k, a, last].mean()
    print(f"{t:12.1f}{mean:20.4f}{persistence:21.2f}{success:25.2f} (t = {times[nearest]:g})")

universe.trajectory[0]
first = Structure.from_mdanalysis(universe.atoms, ("A", "B"), species_map)
panels = {f"predicted for t = {times[nearest]:g}": propensities[0, :, nearest], f"moved by t = {t:g}": moved}
picture = plot_propensity(first, panels, relative=True, label="relative to the mean of the species")
picture.savefig(args.output / "mdanalysis_trajectory.png", dpi=150)
