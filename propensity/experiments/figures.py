"""Figures of the experiments, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from propensity.plotting import new_figure, save_figure, styled

Rows = Sequence[dict[str, Any]]


@styled
def against_time(rows: Rows, path: Path) -> None:
    """ρ against time, a line a label; a column a test system, a row a species.  Bars are 95 % intervals."""
    species, tests, labels = (_distinct(rows, name) for name in ("species", "test", "label"))
    figure = new_figure(4.6 * len(tests) + 2.2, 3.6 * len(species))
    panels = figure.subplots(len(species), len(tests), squeeze=False, sharey="row")
    for (i, who), (j, test) in _pairs(species, tests):
        axes = panels[i, j]
        for k, label in enumerate(labels):
            own = _sorted(
                [r for r in rows if (r["species"], r["test"], r["label"]) == (who, test, label)], "time"
            )
            if own:
                _line(axes, own, "time", f"C{k}", label)
        _ceiling(axes, [r for r in rows if (r["species"], r["test"]) == (who, test)], "time")
        axes.set_xscale("log")
        axes.set(xlabel="time $t$ (LJ units)", title=f"{who} at {test}")
    for line in panels:
        line[0].set_ylabel("Pearson correlation ρ (pooled)")
        line[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


@styled
def against_value(rows: Rows, path: Path, xlabel: str, *, log: bool = False) -> None:
    """ρ at τ_α against what was varied, a line a label; pooled on the left, per structure on the right; a row
    a species.
    """
    at_tau = [r for r in rows if r["is_tau"]]
    species, systems, labels = (_distinct(at_tau, name) for name in ("species", "system", "label"))
    # Where every system is one point of the curve, the systems are not curves of their own.
    by_system = len({r["x"] for r in at_tau if (r["label"], r["system"]) == (labels[0], systems[0])}) > 1
    curves = [(label, system) for label in labels for system in (systems if by_system else [None])]
    figure = new_figure(9.5, 3.6 * len(species))
    panels = figure.subplots(len(species), 2, sharey="row", squeeze=False)
    columns = (("pooled", "ceiling", "pooled"), ("per_structure", "ceiling_per_structure", "per structure"))
    for line, who in zip(panels, species, strict=True):
        mine = [r for r in at_tau if r["species"] == who]
        for axes, (what, ceiling, title) in zip(line, columns, strict=True):
            for k, (label, system) in enumerate(curves):
                own = _sorted([r for r in mine if r["label"] == label and system in (None, r["system"])], "x")
                name = f"{label}, {system}" if system and len(systems) > 1 else label
                if own:
                    _line(axes, own, "x", f"C{k}", name, what=what)
            _ceiling(axes, mine, "x", ceiling)
            if log:
                axes.set_xscale("log", base=2)
                axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xticks(sorted({r["x"] for r in mine}))
            axes.minorticks_off()
            axes.set(xlabel=xlabel, title=f"{who} at τ$_α$, {title}")
        line[0].set_ylabel("Pearson correlation ρ")
        line[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


@styled
def transfer_matrix(rows: Rows, systems: Sequence[str], path: Path) -> None:
    """ρ at τ_α (pooled) with its 95 % interval: trained at the row's system, scored at the column's."""
    at_tau = [r for r in rows if r["is_tau"] and r["species"] == _distinct(rows, "species")[0]]
    figure = new_figure(2.0 * len(systems) * 2 + 1.6, 1.5 * len(systems) + 1.4)
    panels = figure.subplots(1, 2, sharey=True)
    table = np.full((2, len(systems), len(systems), 3), np.nan)
    for r in at_tau:
        i, j = systems.index(r["system"]), systems.index(r["test"])
        found = [r["pooled"], r["pooled_low"], r["pooled_high"]]
        if r["label"] == "readout refitted":
            table[1, i, j] = found
        else:
            table[0, i, j] = found
            if i == j:
                table[1, i, j] = found
    low, high = np.nanmin(table[..., 0]) - 0.05, np.nanmax(table[..., 0]) + 0.05
    for panel, values, title in zip(
        panels, table, ("zero-shot", "frozen network, readout refitted"), strict=True
    ):
        panel.imshow(values[..., 0], vmin=low, vmax=high, cmap="viridis")
        for i, j in np.ndindex(values.shape[:2]):
            value, *ends = values[i, j]
            color = "k" if value > low + 0.6 * (high - low) else "w"
            panel.text(j, i, f"{value:.3f}", ha="center", va="bottom", color=color, fontsize=10)
            if np.isfinite(ends).all():
                interval = f"{ends[0]:.3f}–{ends[1]:.3f}"
                panel.text(j, i + 0.04, interval, ha="center", va="top", color=color, fontsize=7)
        panel.grid(False)
        panel.set(title=title, xlabel="scored at", xticks=range(len(systems)), yticks=range(len(systems)))
        panel.set_xticklabels(systems, fontsize=8)
        panel.set_yticklabels(systems, fontsize=8)
    panels[0].set_ylabel("trained at")
    save_figure(figure, path)


@styled
def seed_spread(rows: Rows, path: Path) -> None:
    """ρ of every seed against time with the mean over seeds, a panel a system."""
    systems, labels = _distinct(rows, "system"), _distinct(rows, "label")
    species = _distinct(rows, "species")
    figure = new_figure(4.6 * len(systems) + 1.8, 3.6)
    panels = figure.subplots(1, len(systems), squeeze=False, sharey=True)[0]
    for panel, system in zip(panels, systems, strict=True):
        for k, (label, who) in enumerate((label, who) for label in labels for who in species):
            own = [r for r in rows if (r["system"], r["label"], r["species"]) == (system, label, who)]
            times = sorted({r["time"] for r in own})
            scores = [[r["pooled"] for r in own if r["time"] == t] for t in times]
            mean = np.array([np.mean(s) for s in scores])
            spread = np.array([np.std(s, ddof=1) if len(s) > 1 else np.nan for s in scores])
            name = f"{label}, {who}: mean of {len(scores[0])} seeds ± s.d."
            panel.errorbar(times, mean, spread, fmt="-", color=f"C{k}", capsize=3, label=name)
            for t, values in zip(times, scores, strict=True):
                panel.plot([t] * len(values), values, ".", color=f"C{k}", alpha=0.6)
        panel.set_xscale("log")
        panel.set(xlabel="time $t$ (LJ units)", title=system)
        panel.legend()
    panels[0].set_ylabel("Pearson correlation ρ (pooled)")
    save_figure(figure, path)


def _line(axes: Any, rows: Rows, x: str, color: str, label: str, what: str = "pooled") -> None:
    value = np.array([r[what] for r in rows])
    ends = np.array([[r[f"{what}_low"] for r in rows], [r[f"{what}_high"] for r in rows]])
    bars = np.abs(np.nan_to_num(ends - value))
    axes.errorbar(
        [r[x] for r in rows], value, bars, fmt="o-", ms=4, lw=1.4, capsize=2, color=color, label=label
    )


def _ceiling(axes: Any, rows: Rows, x: str, what: str = "ceiling") -> None:
    known = sorted({(r[x], r[what]) for r in rows if np.isfinite(r[what])})
    if known:
        axes.plot(*np.array(known).T, "k_", ms=12, mew=1.5, label="noise ceiling")


def _pairs(first: Sequence[str], second: Sequence[str]) -> list[tuple[tuple[int, str], tuple[int, str]]]:
    return [(a, b) for a in enumerate(first) for b in enumerate(second)]


def _distinct(rows: Rows, name: str) -> list[Any]:
    return list(dict.fromkeys(r[name] for r in rows))


def _sorted(rows: Rows, name: str) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda r: r[name])
