"""An analysis as tables on screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from propensity.analysis import Relaxation
    from propensity.viewing.heterogeneity import Heterogeneity


def time_table(found: Heterogeneity, unit: str) -> Iterator[Table]:
    """One table a field: a row for each time scale."""
    for name in dict.fromkeys(row.field for row in found.rows):
        table = Table(title=f"{name}, {found.n_frames} frame(s)", title_justify="left", box=box.SIMPLE)
        columns = (
            "t",
            f"ξ ({unit})",
            "χ",
            f"ξ of S(q) ({unit})",
            "fast clusters",
            "largest",
            "slow clusters",
            "largest",
        )
        for column in columns:
            table.add_column(column, justify="right")
        for row in (row for row in found.rows if row.field == name):
            table.add_row(
                number(row.time),
                f"{number(row.length.xi)} ± {number(row.length.error)}"
                if np.isfinite(row.length.xi)
                else "–",
                number(row.chi),
                number(row.xi_q),
                number(row.fast_size),
                number(row.fast_largest),
                number(row.slow_size),
                number(row.slow_largest),
            )
        yield table


def relaxation_table(found: Relaxation, n_rows: int = 12) -> Table:
    """Decay of the trajectory at some of its time differences."""
    table = Table(title="trajectory", title_justify="left", box=box.SIMPLE)
    for column in ("Δt", "⟨Δr²⟩", "F_s", "Q", "χ₄", "starts"):
        table.add_column(column, justify="right")
    for k in sorted({round(x) for x in np.linspace(0, len(found.times) - 1, n_rows)}):
        values = (found.times[k], found.msd[k], found.fs[k], found.overlap[k], found.chi4[k])
        table.add_row(*map(number, values), str(found.n_origins[k]))
    return table


def number(value: float) -> str:
    """Three significant digits, or a dash where unknown."""
    return "–" if not np.isfinite(value) else f"{value:.3g}"
