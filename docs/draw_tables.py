"""Draw figures of two pages from the tables there: ``python docs/draw_tables.py``.

Tables keep ρ at τ_α; figures against time are those that ``propensity experiment`` left with the trainings.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from propensity.experiments import figures
from propensity.plotting import SPECIES, new_figure, save_figure, styled

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import temperatures

PAGE = Path(__file__).with_name("experiments.md")
TEMPERATURES = Path(__file__).with_name("temperatures.md")
IMAGES = Path(__file__).with_name("images")
NUMBER = re.compile(r"(0\.\d+)(?: \((0\.\d+)–(0\.\d+)\))?(?: \[(0\.\d+)\])?")
#: Pooled and within one structure, of A at τ_α, as ``propensity info`` prints them for the test structures.
CEILINGS = {"0.56": (0.909, 0.904), "0.5": (0.920, 0.912), "0.44 force-shifted": (0.881, 0.854)}


def table(heading: str, first: str) -> list[list[str]]:
    """Cells of the table under a heading whose head begins with this, without its head."""
    section = PAGE.read_text("utf-8").split(f"\n### {heading}\n", 1)[1].split("\n### ", 1)[0]
    lines = section[section.index(f"| {first} ") :].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def row(cell: str, *, label: str, x: float | None, at: str, per: str = "", **more: Any) -> dict[str, Any]:
    """One point: ``ρ (low–high) [ρ per structure]``, or the last from a cell of its own."""
    found = NUMBER.match(cell)
    assert found is not None, cell
    pooled, low, high, within = (np.nan if part is None else float(part) for part in found.groups())
    pooled_ceiling, ceiling = CEILINGS[at]
    return {
        "species": "A",
        "system": f"T={at}",
        "test": f"T={at}",
        "label": label,
        "x": x,
        "is_tau": True,
        "pooled": pooled,
        "pooled_low": low,
        "pooled_high": high,
        "per_structure": float(per) if per else within,
        "per_structure_low": np.nan,
        "per_structure_high": np.nan,
        "ceiling": pooled_ceiling,
        "ceiling_per_structure": ceiling,
        **more,
    }


def draw() -> None:
    """Write every figure whose numbers the page has."""
    sweep = [
        row(pooled, label="se3gnn", x=int(order), at="0.56", per=within)
        for order, pooled, within in table("l_max", "l_max")
    ]
    figures.against_value(sweep, IMAGES / "experiment-lmax.png", "$l_{max}$")
    sizes = [
        row(cell, label=label, x=int(n), at="0.56")
        for n, *cells in table("Number of training structures", "structures")
        for label, cell in zip(("se3gnn", "ridge"), cells, strict=True)
    ]
    figures.against_value(sizes, IMAGES / "experiment-data-efficiency.png", "training structures", log=True)
    kinds = ("se3gnn", "ridge", "softness", "energy", "density")
    warmer = [
        row(cell, label=label, x=float(at.split()[0]), at=at)
        for at, *cells, _ in table("Temperature and transfer", "T")
        for label, cell in zip(kinds, cells, strict=True)
    ]
    figures.against_value(warmer, IMAGES / "experiment-temperature.png", "temperature $T$")
    moved = [
        row(cell, label="zero-shot", x=None, at=source, test=f"T={target}")
        | ({"label": "readout refitted"} if readout == "refitted" else {})
        for source, readout, *cells in table("Temperature and transfer", "trained at")
        for target, cell in zip(CEILINGS, cells, strict=True)
        if cell
    ]
    figures.transfer_matrix(moved, [f"T={at}" for at in CEILINGS], IMAGES / "experiment-transfer.png")


@styled
def dots(panels: dict[str, tuple[list[tuple[str, str]], float]], path: Path) -> None:
    """A panel a title, a row a label: ρ pooled with its interval, in one structure (hollow), the ceiling."""
    longest = max(len(rows) for rows, _ in panels.values())
    figure = new_figure(3.2 * len(panels) + 2.2, 0.36 * longest + 1.2)
    for k, (title, (rows, ceiling)) in enumerate(panels.items(), 1):
        axis = figure.add_subplot(1, len(panels), k)
        for y, (_, cell) in enumerate(rows):
            pooled, low, high, within = map(float, NUMBER.match(cell).groups("nan"))
            axis.errorbar(
                pooled, y, xerr=[[pooled - low], [high - pooled]], fmt="o", color=SPECIES[0], capsize=2.5
            )
            axis.plot(within, y, "o", markerfacecolor="none", color=SPECIES[1])
        axis.axvline(ceiling, color="0.35", linestyle="--", linewidth=1.2)
        axis.set_yticks(range(len(rows)), [label for label, _ in rows])
        axis.set(ylim=(len(rows) - 0.5, -0.5), title=title, xlabel=r"ρ at $\tau_\alpha$")
    figure.axes[0].plot([], [], "o", color=SPECIES[0], label="pooled, 95 %")
    figure.axes[0].plot([], [], "o", markerfacecolor="none", color=SPECIES[1], label="within one structure")
    figure.axes[0].plot([], [], "--", color="0.35", linewidth=1.2, label="noise ceiling, pooled")
    figure.legend(loc="outside lower center", ncols=3)
    save_figure(figure, path)


def draw_dots() -> None:
    """Seeds, additions and kinds of model at τ_α."""
    seeds = [(f"seed {seed}", f"{pooled} [{within}]") for seed, pooled, within in table("Seeds", "seed")]
    dots({"A, T = 0.56": (seeds, CEILINGS["0.56"][0])}, IMAGES / "experiment-seeds.png")
    added = [
        (label.replace("`", "").replace("τ_α", r"$\tau_\alpha$"), of_a, of_b)
        for label, _, of_a, of_b in table("What the second version adds", "option")
    ]
    dots(
        {
            "A, T = 0.56": ([(label, cell) for label, cell, _ in added], CEILINGS["0.56"][0]),
            "B, T = 0.56": ([(label.removeprefix("inherent, "), b) for label, _, b in added if b], 0.916),
        },
        IMAGES / "experiment-additions.png",
    )
    panels = {}
    for at in ("0.56", "0.44 force-shifted"):
        *kinds, ceiling = table("All kinds of model", f"model, T = {at}")
        for species, column in (("A", 1), ("B", 2)):
            rows = [(kind[0], kind[column]) for kind in kinds if kind[column]]
            panels[f"{species}, T = {at}"] = (rows, float(ceiling[column]))
    dots({title: panels[title] for title in list(panels)[:2]}, IMAGES / "experiment-timescales.png")


def draw_temperatures() -> None:
    """ρ of A against time, a panel a temperature: without cage states, and with them."""
    page = TEMPERATURES.read_text("utf-8")
    without, _, with_cages = page.partition("\n## With cage states")
    temperatures.draw(_scores_of_tables(without), IMAGES / "temperatures.png")
    temperatures.draw(_scores_of_tables(with_cages), IMAGES / "temperatures-cage.png")


def _scores_of_tables(page: str) -> dict[str, dict[str, Any]]:
    """Model → temperature → scores of A, from the tables of a page."""
    models: dict[str, dict[str, Any]] = {}
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        head, _, *rows = (
            [cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()
        )
        if not head[0].startswith("T = "):
            continue
        times = [float(t) for t in head[1:]]
        for name, *cells in rows:
            species, _, model = name.partition(", ")
            if species == "A":
                known = [
                    (t, *map(float, cell.split(" ± ")))
                    for t, cell in zip(times, cells, strict=True)
                    if "±" in cell
                ]
                models.setdefault(model, {})[head[0].removeprefix("T = ")] = {
                    "A": {
                        "times": [t for t, _, _ in known],
                        "pearson": [value for _, value, _ in known],
                        "interval": [(value - half, value + half) for _, value, half in known],
                    }
                }
    return models


if __name__ == "__main__":
    draw()
    draw_dots()
    draw_temperatures()
