"""Results of an experiment as tables on screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.statistics import score_text

if TYPE_CHECKING:
    from rich.table import Table


def results_tables(rows: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """One table a test system and species: a column a time, the pooled ρ of a model above its ρ per
    structure.
    """
    for test, species in dict.fromkeys((row["test"], row["species"]) for row in rows):
        own = [row for row in rows if (row["test"], row["species"]) == (test, species)]
        yield _table(
            own, f"{species} at {test}, {own[0]['n_test']} structures: pooled, below it per structure"
        )


def _table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    from rich import box
    from rich.table import Table

    times = sorted({row["time"] for row in rows})
    shown = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        caption="95 % intervals are in results.csv",
        caption_justify="left",
    )
    for name in ("model", "trained on"):
        shown.add_column(name)
    for t in times:
        shown.add_column(f"{t:.4g}", justify="right")
    for head in dict.fromkeys(_head(row) for row in rows):
        own = {row["time"]: row for row in rows if _head(row) == head}
        for what in ("pooled", "per_structure"):
            cells = [score_text(own[t][what]) if t in own else "" for t in times]
            shown.add_row(
                *(head if what == "pooled" else ("", "")), *cells, style=None if what == "pooled" else "dim"
            )
    ceiling = {row["time"]: row["ceiling"] for row in rows if np.isfinite(row["ceiling"])}
    if ceiling:
        shown.add_section()
        shown.add_row("noise ceiling", "", *(score_text(ceiling[t]) if t in ceiling else "–" for t in times))
    return shown


def _head(row: dict[str, Any]) -> tuple[str, str]:
    seed = "" if row["seed"] is None else f", seed {row['seed']}"
    if row["refit"] is not None:  # n_train is then the number of structures for the readout
        return f"{row['label']}{seed}", f"{row['system']}, readout on {row['n_train']}"
    return f"{row['label']}{seed}", f"{row['n_train']} of {row['system']}"
