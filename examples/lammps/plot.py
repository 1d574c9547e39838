"""Draw what in.kob-andersen left: mean propensity along the quench, and a slab of the last frame."""

from pathlib import Path

import ase.io
import numpy as np
from matplotlib.figure import Figure

from propensity import Structure
from propensity.plotting import SPECIES, draw_slab, new_figure, save_figure, styled


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


@styled
def draw(thermo: np.ndarray, structure: Structure, propensity: np.ndarray) -> Figure:
    """Two panels: against time, and in space; propensities of B are NaN, and B is grey."""
    figure = new_figure(9.6, 4.0)
    panels = figure.subplot_mosaic([["above", "slab"], ["below", "slab"]])
    above, below, slab = (panels[name] for name in ("above", "below", "slab"))
    time = 0.005 * thermo[:, 0]
    above.plot(time, thermo[:, 1], color=SPECIES[1])
    above.set(ylabel="temperature (ε/k)", title="melt and quench", xticklabels=[])
    below.plot(time, thermo[:, 4])
    below.set(xlabel="time (LJ units)", ylabel="mean propensity\nof A, predicted (σ)")
    discs = draw_slab(slab, structure, propensity)
    slab.set(xlabel="x (σ)", ylabel="y (σ)", title="slab of the last frame (B: grey)")
    figure.colorbar(discs, ax=slab, label="propensity (σ)", extend="both", shrink=0.86)
    return figure


def main() -> None:
    thermo = read_thermo(Path("log.lammps"))[1:]  # the run starts from a crystal
    atoms = ase.io.read("kob-andersen.lammpstrj", format="lammps-dump-text", index=-1)
    structure = Structure.from_ase(atoms, ("A", "B"), {"H": "A", "He": "B"})
    propensity = np.where(structure.types == 0, atoms.arrays["f_prop"].ravel(), np.nan)
    save_figure(draw(thermo, structure, propensity), "kob-andersen.png", dpi=110)


if __name__ == "__main__":
    main()
