"""Numbers behind the figures of a report: ρ(t) under its ceiling, colour ranges, spatial correlation."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.analysis import average_correlation, correlation_length, spatial_correlations
from propensity.analysis.pairs import as_structure, longest_distance
from propensity.statistics import moments, noise_ceiling, pearson_of_moments
from propensity.structure import Structure
from propensity.viewing.scene import Scene, evenly

#: Frames that enter the spatial correlation.
CORRELATED = 6
#: Reach of the spatial correlation in mean distances of particles, (V/N)^(1/d).
REACH = 6.0


def scores(scene: Scene) -> dict[str, Any]:
    """Curves of ρ(t) by species: from the model's card for a training, else of the labelled frames shown."""
    both = {"predicted", "simulated"} <= set(scene.fields)
    if scene.scores.get("species"):
        n = scene.scores.get("n_structures", "?")
        caption = f"pooled over {n} held-out structures of the model's card, 95 % intervals"
        curves = _of_card(scene)
    elif both:
        caption, curves = f"pooled over the {len(scene.frames)} structure(s) of this page", _of_frames(scene)
    else:
        caption, curves = "", []
    missing = "Simulated propensities and a model are needed for a score."
    return {"caption": caption, "curves": curves, "missing": missing}


def ranges(scene: Scene) -> dict[str, list[list[list[float] | None]]]:
    """Field → time → species → [2nd percentile, 98th, mean] over all frames; None without a finite value."""
    found: dict[str, list[list[list[float] | None]]] = {}
    types = np.concatenate([frame.structure.types for frame in scene.frames])
    for name in scene.fields:
        values = np.concatenate([frame.fields[name] for frame in scene.frames])
        found[name] = [
            [_range(values[types == kind, k]) for kind in range(len(scene.species))]
            for k in range(len(scene.times))
        ]
    return found


def correlations(scene: Scene) -> dict[str, Any]:
    """Spatial correlation of the predicted and simulated fields at each time, averaged over some frames."""
    names = [name for name in scene.fields if name != "uncertainty"]
    rows = [scene.frames[k] for k in evenly(len(scene.frames), CORRELATED)]
    reach = min(_reach(frame.structure) for frame in rows)
    parts: dict[tuple[str, int], list[Any]] = {}
    for frame in rows:
        structure, columns = frame.structure, [(name, k) for name in names for k in range(len(scene.times))]
        known = [(name, k) for name, k in columns if np.isfinite(frame.fields[name][:, k]).any()]
        values = np.stack([frame.fields[name][:, k] for name, k in known], axis=1)
        found = spatial_correlations(
            values,
            structure.positions,
            structure.cell,
            structure.pbc,
            types=structure.types,
            r_max=reach,
            bin_width=reach / 60,
        )
        for key, one in zip(known, found, strict=True):
            parts.setdefault(key, []).append(one)
    curves = []
    for (name, k), some in parts.items():
        mean = average_correlation(some)
        shown = mean.n_pairs >= 20
        length = correlation_length(mean, r_min=0.12 * reach)
        curves.append(
            {
                "field": name,
                "time": k,
                "r": _plain(mean.r[shown]),
                "c": _plain(mean.c[shown]),
                "xi": _number(length.xi),
                "xi_error": _number(length.error),
            }
        )
    caption = f"deviations from the species mean, {len(rows)} frame(s); ξ from exp(−r/ξ)"
    return {"caption": caption, "curves": curves, "missing": "No particle has a value at this time."}


def _reach(structure: Structure) -> float:
    structure, d = as_structure(structure.positions, structure.cell, structure.pbc)
    extent = np.ptp(structure.positions, axis=0)[:d]
    spacing = float(np.prod(np.maximum(extent, 1e-9)) / len(structure)) ** (1 / d)
    return float(min(longest_distance(structure), REACH * spacing))


def _of_card(scene: Scene) -> list[dict[str, Any]]:
    times = list(scene.scores.get("times", []))
    curves = []
    for name, values in scene.scores["species"].items():
        if name in scene.species:
            unknown = [None] * len(times)
            curves.append(
                {
                    "kind": scene.species.index(name),
                    "times": times,
                    "rho": values.get("pearson_pooled", unknown),
                    "interval": values.get("pearson_pooled_interval", [[None, None]] * len(times)),
                    "ceiling": values.get("noise_ceiling_pooled", unknown),
                }
            )
    return curves


def _of_frames(scene: Scene) -> list[dict[str, Any]]:
    curves = []
    for kind in range(len(scene.species)):
        ours, half = np.zeros((len(scene.times), 6)), np.zeros((len(scene.times), 6))
        for frame in scene.frames:
            mine = frame.structure.types == kind
            ours += moments(frame.fields["predicted"][mine], frame.fields["simulated"][mine])
            half += np.nan if frame.halves is None else moments(*frame.halves[:, mine])
        rho = pearson_of_moments(ours)
        if np.isfinite(rho).any():
            ceiling = noise_ceiling(pearson_of_moments(half), half[:, 0])
            times = _plain(scene.times)
            curves.append({"kind": kind, "times": times, "rho": _plain(rho), "ceiling": _plain(ceiling)})
    return curves


def _range(values: np.ndarray) -> list[float] | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, [2, 98])
    return [float(low), float(high), float(values.mean())]


def _plain(values: Any) -> list[float | None]:
    return [_number(value) for value in np.asarray(values, dtype=float)]


def _number(value: float) -> float | None:
    """JSON has no NaN; what is unknown is null there."""
    return float(value) if np.isfinite(value) else None
