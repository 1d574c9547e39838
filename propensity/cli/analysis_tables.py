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
        title = f"{name}, {found.n_frames} frame(s); ξ in {unit}, clusters in particles"
        table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
        for column in ("t", "ξ", "±", "S(q₁)", "fast", "largest", "slow", "largest"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in (row for row in found.rows if row.field == name):
            sizes = (row.fast_size, row.fast_largest, row.slow_size, row.slow_largest)
            table.add_row(
                f"{row.time:.4g}" if np.isfinite(row.time) else "–",
                *map(three_digits, (row.length.xi, row.length.error, row.s_smallest, *sizes)),
            )
        yield table


def relaxation_table(found: Relaxation, n_rows: int = 12) -> Table:
    """Decay of the trajectory at some of its time differences."""
    table = Table(title="trajectory", title_justify="left", box=box.SIMPLE)
    for column in ("Δt", "⟨Δr²⟩", "F_s", "Q", "χ₄", "starts"):
        table.add_column(column, justify="right")
    for k in sorted({round(x) for x in np.linspace(0, len(found.times) - 1, n_rows)}):
        values = (found.times[k], found.msd[k], found.fs[k], found.overlap[k], found.chi4[k])
        table.add_row(*map(three_digits, values), str(found.n_origins[k]))
    return table


def three_digits(value: float) -> str:
    """Three significant digits, or a dash where unknown."""
    return "–" if not np.isfinite(value) else f"{value:.3g}"
