"""Picture of what a bias left behind: changes against copies without one, at its end and later.

python -m benchmarks.steering_figure VALUES PICTURE, of the folder that `python -m benchmarks.steering measure
... --out VALUES` wrote.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from propensity.plotting.style import new_figure, save_figure, styled

#: File → τ_α since the end of the bias.
WHEN = {"end": 0.0, "free_0.25_tau": 0.25, "free_1_tau": 1.0}
PANELS = {
    0: "displacement of A in τ$_α$, run free (σ)",
    2: "energy of the minimum a particle (ε)",
    1: "predicted q (σ)",
}


@styled
def draw(folder: Path, picture: Path, strengths: tuple[float, ...] = (0.0, 1.0, -1.5)) -> None:
    """Mean change of each quantity, and its standard error over starts."""
    values = np.stack([np.load(folder / f"{name}.npy") for name in WHEN])
    change = values[:, 1:] - values[:, :1]
    mean, error = change.mean(axis=2), change.std(axis=2, ddof=1) / change.shape[2] ** 0.5
    figure = new_figure(9.6, 2.9)
    for axes, (column, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        axes.axhline(0.0, color="0.45", lw=1)
        for k, strength in enumerate(strengths[1:]):
            label = f"λ = {strength:+g}".replace("-", "−")
            place = np.array(list(WHEN.values())) + 0.012 * (2 * k - 1)
            axes.errorbar(place, mean[:, k, column], error[:, k, column], fmt="o-", capsize=3, label=label)
        axes.set(title=title, xlabel="time after the bias (τ$_α$)", xticks=list(WHEN.values()))
    axes.legend()
    figure.supylabel("change by the bias", fontsize=10)
    save_figure(figure, picture)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
