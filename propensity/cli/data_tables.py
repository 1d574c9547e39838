"""A summary of a data set as tables on screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from propensity.data.summary import DatasetSummary
from propensity.statistics import score_text

if TYPE_CHECKING:
    from rich.table import Table


def overview(summary: DatasetSummary) -> Table:
    """Table of what is one number: structures, particles, box, state point."""
    from rich.table import Table

    shown = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    shown.add_column(style="bold")
    shown.add_column()
    for name, value in _facts(summary).items():
        if value:
            shown.add_row(name, value)
    return shown


def labels(summary: DatasetSummary) -> Table:
    """Table of the propensities: one row a species and time."""
    from rich.table import Table

    with_fs = not np.isnan(summary.fs).all()
    with_ceiling = not np.isnan(summary.ceiling).all()
    shown = Table(
        title="Propensity in σ",
        title_justify="left",
        caption=(
            "ceiling: largest ρ against these noisy labels, pooled and within one structure"
            if with_ceiling
            else None
        ),
        caption_justify="left",
    )
    names = ["species", "#", "time"] + ["F_s"] * with_fs + ["mean", "spread"]
    for name in names + ["ceiling", "in one"] * with_ceiling:
        shown.add_column(name, justify="left" if name == "species" else "right")
    for s, species in enumerate(summary.species):
        for t, time in enumerate(summary.times):
            row = [species if t == 0 else "", str(t), f"{time:.5g}"]
            # F_s is that of the first species.
            row += [score_text(summary.fs[t]) if s == 0 else ""] * with_fs
            row += [f"{summary.mean[s, t]:.4f}", f"{summary.std[s, t]:.4f}"]
            if with_ceiling:
                row += [score_text(summary.ceiling[s, t]), score_text(summary.ceiling_per_structure[s, t])]
            shown.add_row(*row, end_section=t == len(summary.times) - 1)
    return shown


def _facts(summary: DatasetSummary) -> dict[str, str]:
    composition = " ".join(
        f"{name} {share:.4g}" for name, share in zip(summary.species, summary.composition, strict=True)
    )
    splits = ", ".join(f"{count} {name}" for name, count in summary.splits.items())
    groups = (
        f" in {summary.n_groups} groups of correlated structures"
        if summary.n_groups < summary.n_structures
        else ""
    )
    per = "σ⁻²" if summary.dimension == 2 else "σ⁻³"
    inherent = {0: "no", summary.n_structures: "yes"}.get(
        summary.with_inherent, f"for {summary.with_inherent} structures"
    )
    return {
        "structures": f"{summary.n_structures}{f' ({splits})' if splits else ''}{groups}",
        "particles": f"{_range(summary.n_particles)} ({composition})",
        "box": f"{_range(summary.edges)} σ{' in two dimensions' if summary.dimension == 2 else ''}",
        "length scale": (
            "" if summary.length_scale == 1 else f"{summary.length_scale:g} (σ in the units of the source)"
        ),
        "density": "open boundaries" if summary.density is None else f"{_range(summary.density)} {per}",
        "temperature": "unknown or mixed" if summary.temperature is None else f"{summary.temperature:g}",
        "potential": summary.potential or "unknown or mixed",
        "runs": "unknown" if summary.n_runs is None else f"{_range(summary.n_runs)} for each structure",
        "τ_α": "unknown" if summary.tau_alpha is None else f"{summary.tau_alpha:.5g}",
        "inherent": inherent,
    }


def _range(values: tuple[float, float]) -> str:
    low, high = (f"{value:.6g}" for value in values)
    return low if low == high else f"{low} to {high}"
