"""Run the public structure of Bapst et al. (2020) again and compare with its published propensities; draws a
figure.

    python -m benchmarks.simulate_bapst test_large.pickle FIGURE [--engine gpu --runs 264]

Peer: DeepMind's labels (30 runs), made with their LAMMPS input, which was never published.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from propensity.data import open_dataset
from propensity.plotting.style import new_figure, save_figure, styled
from propensity.simulate import load_preset, make_engine, simulate_propensities
from propensity.simulate.arguments import make_settings


def reliability(correlation: float, of: float, wanted: float) -> float:
    """Correlation of two means over ``wanted`` runs, from that of means over ``of`` runs (Spearman-Brown)."""
    single = correlation / (of - (of - 1) * correlation)
    return wanted * single / (1 + (wanted - 1) * single)


@styled
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pickle", type=Path)
    parser.add_argument("figure", type=Path)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--times", default="0.132,0.435")
    parser.add_argument("--engine", default="lammps")
    options = parser.parse_args()
    settings, given = make_settings(
        load_preset("kob-andersen"),
        temperature=0.44,
        times=options.times,
        timestep=0.003,
        runs=options.runs,
        start_from=options.pickle,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.h5"
        simulate_propensities(settings, path, make_engine(options.engine), given=given, workers=1)
        ours, theirs = open_dataset(path)[0], given[0]
    a = ours.structure.types == 0
    figure = new_figure(3.9 * len(ours.times), 3.9)
    axes = figure.subplots(1, len(ours.times), squeeze=False)
    print("time   F_s    mean ratio  Pearson  expected from label noise (A particles)")
    for k, axis in enumerate(axes[0]):
        there = int(np.argmin(abs(np.log(theirs.times / ours.times[k]))))
        x, y = theirs.propensities[a, there], ours.propensities[a, k]
        r = np.corrcoef(x, y)[0, 1]
        half = np.corrcoef(ours.halves[:, a, k])[0, 1]
        expected = np.sqrt(
            reliability(half, options.runs / 2, options.runs) * reliability(half, options.runs / 2, 30)
        )
        print(
            f"{ours.times[k]:<6g} {ours.fs[k]:.3f}  {y.mean() / x.mean():.4f}      {r:.3f}    {expected:.3f}"
        )
        low, high = np.percentile(np.concatenate([x, y]), [0.2, 99.8])
        axis.hexbin(x, y, gridsize=45, extent=(low, high, low, high), bins="log", mincnt=1, linewidths=0.1)
        axis.plot([low, high], [low, high], color="0.3", linewidth=0.8)
        axis.set(
            xlim=(low, high),
            ylim=(low, high),
            xlabel="published propensity (σ)",
            ylabel="run again (σ)",
            aspect="equal",
            title=f"t = {ours.times[k]:g}: ρ = {r:.3f}, noise allows {expected:.3f}",
        )
    save_figure(figure, options.figure)


if __name__ == "__main__":
    main()
