"""Draw what in.kob-andersen left: mean propensity along the quench, and a slice of the last frame."""

from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np


def read_thermo(log: Path) -> np.ndarray:
    """Step, temperature, energy, pressure and mean propensity of every run in a log, shape (n, 5)."""
    rows = []
    for line in log.read_text().splitlines():
        words = line.split()
        try:
            rows.append([float(word) for word in words] if len(words) == 5 else [])
        except ValueError:
            continue
    return np.array([row for row in rows if row])


def main() -> None:
    thermo = read_thermo(Path("log.lammps"))[1:]  # the run starts from a crystal
    atoms = ase.io.read("kob-andersen.lammpstrj", format="lammps-dump-text", index=-1)
    propensity = atoms.arrays["f_prop"].ravel()
    is_a = atoms.numbers == 1
    middle = atoms.cell[2, 2] / 2
    here = np.abs(atoms.positions[:, 2] - middle) < 0.6

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    left.plot(thermo[:, 0] * 0.005, thermo[:, 4], color="C3")
    left.set_xlabel("simulation time [LJ]")
    left.set_ylabel("mean propensity of A, predicted [σ]", color="C3")
    temperature = left.twinx()
    temperature.plot(thermo[:, 0] * 0.005, thermo[:, 1], color="0.5", lw=1)
    temperature.set_ylabel("temperature [ε/k]", color="0.5")
    left.set_title("melt and quench")

    low, high = np.percentile(propensity[is_a], [2, 98])
    # Marker areas in points²: a particle of diameter 1 σ drawn to scale.
    points = 4.2 * 72 * 0.75 / atoms.cell[0, 0]
    x, y, _ = atoms.positions[here & is_a].T
    shown = right.scatter(
        x,
        y,
        s=points**2,
        c=propensity[here & is_a],
        cmap="coolwarm",
        vmin=low,
        vmax=high,
        edgecolors="k",
        lw=0.3,
    )
    x, y, _ = atoms.positions[here & ~is_a].T
    right.scatter(x, y, s=(0.88 * points) ** 2, facecolors="none", edgecolors="0.6", lw=0.6)
    right.set(aspect="equal", xticks=[], yticks=[], title="slice of the last frame (B: open circles)")
    figure.colorbar(shown, ax=right, label="propensity [σ]")
    figure.savefig("kob-andersen.png", dpi=110)


if __name__ == "__main__":
    main()
