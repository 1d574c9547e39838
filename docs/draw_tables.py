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
    draw_temperatures()
