"""Run public structures 1 to 10 of BOTAN (force-shifted, T = 0.44) again and compare with their published
propensities at tau_alpha.

    python -m benchmarks.simulate_botan ka3d_fs_T0.44_valid.npz [--runs 26] [--time 4120]

Peer: labels of Shiba, Hanai, Suzumura and Shimokawabe, J. Chem. Phys. 158, 084503 (2023), 32 runs, by
LAMMPS.  The file holds their structures and labels (`published_propensity_tau`, `published_tau_halves`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.simulate_bapst import reliability
from propensity.data import open_dataset
from propensity.simulate import load_preset, make_engine, simulate_propensities
from propensity.simulate.arguments import make_settings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=int, default=26)
    parser.add_argument("--time", type=float, default=4120.0)
    parser.add_argument("--engine", default="gpu")
    options = parser.parse_args()
    settings, given = make_settings(
        load_preset("kob-andersen-force-shifted"),
        temperature=0.44,
        times=f"{options.time:g}",
        runs=options.runs,
        start_from=options.data,
    )
    with np.load(options.data) as file:
        published, halves = file["published_propensity_tau"], file["published_tau_halves"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.h5"
        simulate_propensities(settings, path, make_engine(options.engine), given=given, workers=1)
        again = list(open_dataset(path))
    names = [sample.name for sample in given]
    again.sort(key=lambda sample: names.index(sample.name))
    a = again[0].structure.types == 0
    ours = np.stack([sample.propensities[a, 0] for sample in again])
    own = np.stack([sample.halves[:, a, 0] for sample in again])  # structures, halves, particles
    theirs, halves = published[: len(ours), a], halves[: len(ours)][..., a]
    each = [np.corrcoef(x, y)[0, 1] for x, y in zip(ours, theirs, strict=True)]
    print("by structure: " + " ".join(f"{r:.3f}" for r in each))
    ceilings = [
        reliability(np.corrcoef(h[:, 0].ravel(), h[:, 1].ravel())[0, 1], n / 2, n)
        for h, n in ((own, options.runs), (halves, 32))
    ]
    print(
        f"pooled: {np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]:.3f}; noise of {options.runs} and 32 runs "
        f"allows {np.sqrt(np.prod(ceilings)):.3f}; means {ours.mean():.4f} and {theirs.mean():.4f}"
    )


if __name__ == "__main__":
    main()
