"""Dynamic heterogeneity of a scene: correlation, susceptibility and clusters at each time scale."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from propensity import analysis
from propensity.analysis.pairs import as_structure, longest_distance
from propensity.errors import InputError
from propensity.files import replacing
from propensity.numeric import positive
from propensity.plotting import SPECIES, new_figure, save_figure, styled
from propensity.viewing.scene import Scene, SceneFrame

#: Mean spacings (V/N)^(1/d) up to which C(r) reaches, and within which particles are neighbours: the first
#: minimum of g(r) lies at 1.4 σ in the Kob–Andersen liquid, whose spacing is 0.94 σ.
REACH, NEIGHBOURS = 6.4, 1.49


@dataclass(frozen=True, eq=False)
class Row:
    """One field at one time scale.

    ``s_smallest`` is S(q) of the field at the smallest wave vector, a lower bound of the susceptibility;
    ``chi`` and ``xi_q`` are those of the fit, NaN where it does not settle since the box is small.  Sizes of
    clusters are Σn²/Σn averaged over frames, and the largest of all.
    """

    field: str
    time: float
    correlation: analysis.SpatialCorrelation
    length: analysis.CorrelationLength
    s_smallest: float
    chi: float
    xi_q: float
    fast_size: float
    fast_largest: float
    slow_size: float
    slow_largest: float
    persistence: np.ndarray | None = None
    events: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Heterogeneity:
    """What :func:`analyse` finds: rows by field and time, and the relaxation of a trajectory."""

    source: str
    n_frames: int
    rows: list[Row]
    relaxation: analysis.Relaxation | None
    fraction: float
    neighbours: float
    notes: list[str]


def analyse(
    scene: Scene,
    *,
    fraction: float = 0.1,
    neighbours: float | None = None,
    r_max: float | None = None,
    q: float = 7.2,
    overlap_radius: float = 0.3,
) -> Heterogeneity:
    """Correlation lengths, susceptibilities and clusters of every field and time scale of a scene.

    Parameters
    ----------
    scene
        From :func:`propensity.viewing.load_scene`; the frames of one trajectory are followed through time.
    fraction
        Share of each species that counts as fast, and as slow.
    neighbours
        Distance within which particles belong to one cluster; None: 1.49 (V/N)^(1/d).
    r_max
        Largest distance of C(r); None: half the box, at most 6.4 (V/N)^(1/d).
    q, overlap_radius
        See :func:`propensity.analysis.relaxation`.
    """
    q = positive(q, "q", "a wave number in 1/σ")
    overlap_radius = positive(overlap_radius, "overlap_radius", "a length in σ")
    plain = [_plain_frame(frame) for frame in scene.frames]
    spacing = float(np.mean([_spacing(positions, cell, pbc) for positions, cell, pbc in plain]))
    neighbours = NEIGHBOURS * spacing if neighbours is None else neighbours
    longest = min(longest_distance(as_structure(*each)[0]) for each in plain)
    reach = min(longest, REACH * spacing) if r_max is None else r_max
    followed = _followed(scene)
    rows = [
        _row(scene, plain, name, k, fraction, neighbours, reach, followed)
        for name in scene.fields
        if name != "uncertainty"
        for k in range(len(scene.times))
        if all(np.isfinite(frame.fields[name][:, k]).any() for frame in scene.frames)
    ]
    if not rows:
        raise InputError(f"{scene.source} has no finite values to analyse.")
    relaxation = _relaxation(scene, plain, q, overlap_radius) if followed else None
    return Heterogeneity(
        scene.source,
        len(plain),
        rows,
        relaxation,
        fraction,
        neighbours,
        _notes(scene, fraction, neighbours, relaxation),
    )


def write_analysis(found: Heterogeneity, path: str | os.PathLike[str]) -> None:
    """Everything as JSON; unknown values are null."""
    values = {
        "source": found.source,
        "n_frames": found.n_frames,
        "fraction": found.fraction,
        "neighbours": found.neighbours,
        "rows": [
            {**asdict(row), "correlation": {"r": row.correlation.r, "c": row.correlation.c}}
            for row in found.rows
        ],
        "relaxation": None if found.relaxation is None else asdict(found.relaxation),
    }
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(_jsonable(values), indent=1, ensure_ascii=False) + "\n", "utf-8", "backslashreplace"
        )


@styled
def plot_analysis(found: Heterogeneity, path: str | os.PathLike[str], *, unit: str = "σ") -> None:
    """C(r) by time, lengths and cluster sizes against time, and the relaxation where known, as a picture."""
    from matplotlib import colormaps

    n = 3 if found.relaxation is None else 4
    figure = new_figure(3.9 * n, 3.4)
    panels = figure.subplots(1, n)
    names = list(dict.fromkeys(row.field for row in found.rows))
    times = sorted({row.time for row in found.rows})
    for s, name in enumerate(names):
        mine = [row for row in found.rows if row.field == name]
        style, marker = ("-", "--", ":")[s % 3], "os^"[s % 3]
        for row in mine:
            shown = row.correlation.n_pairs >= 20
            colour = (
                colormaps["viridis"](0.9 * times.index(row.time) / max(len(times) - 1, 1))
                if times
                else SPECIES[0]
            )
            label = f"{name}, t = {row.time:.4g}" if np.isfinite(row.time) else name
            panels[0].plot(
                row.correlation.r[shown], row.correlation.c[shown], style, color=colour, label=label
            )
        at = [row.time if np.isfinite(row.time) else 1.0 for row in mine]
        panels[1].errorbar(
            at,
            [r.length.xi for r in mine],
            [r.length.error for r in mine],
            fmt=marker + style,
            label=f"{name}, C(r)",
        )
        if np.isfinite([r.xi_q for r in mine]).any():  # else a legend speaks of what isn't there
            panels[1].plot(at, [r.xi_q for r in mine], marker + style, mfc="w", label=f"{name}, S(q)")
        panels[2].plot(
            at, [r.fast_size for r in mine], marker + style, color=SPECIES[1], label=f"{name}, fast"
        )
        panels[2].plot(
            at, [r.slow_size for r in mine], marker + style, color=SPECIES[0], label=f"{name}, slow"
        )
    panels[0].axhline(0, color="0.5", lw=0.8)
    panels[0].set(xlabel=f"distance r ({unit})", ylabel="C(r)", title="spatial correlation")
    panels[1].set(xlabel="time scale t", ylabel=f"ξ ({unit})", title="correlation length")
    panels[2].set(
        xlabel="time scale t", ylabel="Σn²/Σn", title=f"clusters of the extreme {found.fraction:.0%}"
    )
    for axes in panels[1:3]:
        if len(times) > 1:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
    if found.relaxation is not None:
        decay = found.relaxation
        panels[3].plot(decay.times, decay.fs, label="F_s")
        panels[3].plot(decay.times, decay.overlap, label="Q")
        if np.isfinite(decay.chi4).any():
            panels[3].plot(
                decay.times, decay.chi4 / np.nanmax(decay.chi4), ":", label=f"χ₄/{np.nanmax(decay.chi4):.3g}"
            )
        panels[3].set(xscale="log", xlabel="time difference Δt", title="relaxation of the trajectory")
    for axes in panels:
        if len(axes.get_legend_handles_labels()[1]) <= 10:
            axes.legend()
    save_figure(figure, path)


def _row(
    scene: Scene,
    plain: list[Any],
    name: str,
    k: int,
    fraction: float,
    neighbours: float,
    reach: float,
    followed: bool,
) -> Row:
    correlations, factors, sizes = [], [], {"fast": [], "slow": []}  # type: ignore[var-annotated]
    masks = {"fast": [], "slow": []}  # type: ignore[var-annotated]
    for frame, (positions, cell, pbc) in zip(scene.frames, plain, strict=True):
        values, types = frame.fields[name][:, k], frame.structure.types
        correlations.append(
            analysis.spatial_correlation(
                values, positions, cell, pbc, types=types, r_max=reach, bin_width=reach / 60
            )
        )
        if np.all(pbc):
            factors.append(
                analysis.field_structure_factor(values, positions, cell, types=types, q_max=_q_max(plain))
            )
        for which in ("fast", "slow"):
            chosen = analysis.extreme_particles(values, fraction, types, which=which)
            sizes[which].append(analysis.find_clusters(chosen, positions, cell, pbc, cutoff=neighbours))
            masks[which].append(chosen)
    mean = analysis.average_correlation(correlations)
    s_smallest, chi, xi_q = _small_q(factors)
    events, persistence = {}, None
    if followed:
        positions, cells, pbc = (
            np.array([p for p, _, _ in plain]),
            np.array([c for _, c, _ in plain]),
            plain[0][2],
        )
        for which in ("fast", "slow"):
            found = analysis.space_time_clusters(
                np.array(masks[which]), positions, cells, pbc, cutoff=neighbours
            )
            weights = found.sizes / max(found.sizes.sum(), 1)
            events[f"{which}_particles"] = float((weights * found.n_particles).sum())
            events[f"{which}_frames"] = float((weights * found.durations).sum())
        persistence = analysis.persistence(np.array(masks["fast"]))
    weighted = {which: float(np.nanmean([c.weighted_size for c in all_])) for which, all_ in sizes.items()}
    largest = {which: float(max(c.sizes.max(initial=0) for c in all_)) for which, all_ in sizes.items()}
    return Row(
        field=name,
        time=float(scene.times[k]),
        correlation=mean,
        length=analysis.correlation_length(mean, r_min=0.85 * neighbours / NEIGHBOURS),
        s_smallest=s_smallest,
        chi=chi,
        xi_q=xi_q,
        fast_size=weighted["fast"],
        fast_largest=largest["fast"],
        slow_size=weighted["slow"],
        slow_largest=largest["slow"],
        persistence=persistence,
        events=events,
    )


def _q_max(plain: list[Any]) -> float:
    """Six times the smallest wave vector of the largest cell, enough for a fit and quick."""
    largest = max(plain, key=lambda each: abs(np.linalg.det(each[1])))[1]
    return float(6.5 * 2 * np.pi / np.linalg.norm(largest, axis=1).max())


def _small_q(factors: list[analysis.FieldStructureFactor]) -> tuple[float, float, float]:
    """S at the smallest wave vector, and χ and ξ of the fit, of all frames together on common shells."""
    if not factors:
        return np.nan, np.nan, np.nan
    q = np.concatenate([f.q for f in factors])
    s, n = np.concatenate([f.s for f in factors]), np.concatenate([f.n_vectors for f in factors])
    edges = np.linspace(0, q.max() * (1 + 1e-9), 13)
    shell = np.digitize(q, edges) - 1
    total = np.bincount(shell, n, 12)
    filled = total > 0
    merged = analysis.FieldStructureFactor(
        np.bincount(shell, n * q, 12)[filled] / total[filled],
        np.bincount(shell, n * s, 12)[filled] / total[filled],
        total[filled],
    )
    return (float(merged.s[0]), *analysis.ornstein_zernike(merged, q_fit=float(q.max())))


def _plain_frame(frame: SceneFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    structure, d = as_structure(frame.structure.positions, frame.structure.cell, frame.structure.pbc)
    return structure.positions[:, :d], structure.cell[:d, :d], structure.pbc[:d]


def _spacing(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> float:
    d = positions.shape[1]
    volume = (
        abs(np.linalg.det(cell))
        if np.all(pbc)
        else float(np.prod(np.maximum(np.ptp(positions, axis=0), 1e-9)))
    )
    return float((volume / len(positions)) ** (1 / d))


def _followed(scene: Scene) -> bool:
    """Whether the frames are those of one trajectory: more than two, alike, with increasing times."""
    frames = scene.frames
    times = [frame.time for frame in frames]
    return (
        len(frames) > 2
        and all(time is not None for time in times)
        and bool((np.diff(np.array(times, dtype=float)) > 0).all())
        and all(np.array_equal(frame.ids, frames[0].ids) for frame in frames)
    )


def _relaxation(scene: Scene, plain: list[Any], q: float, radius: float) -> analysis.Relaxation:
    positions = analysis.unwrap([p for p, _, _ in plain], np.array([c for _, c, _ in plain]), plain[0][2])
    positions = positions - positions.mean(axis=1, keepdims=True)
    times = np.array([frame.time for frame in scene.frames], dtype=float)
    return analysis.relaxation(positions, times - times[0], q=q, a=radius)


def _notes(scene: Scene, fraction: float, neighbours: float, relaxation: Any) -> list[str]:
    notes = [
        "ξ: C(r) ∝ exp(−r/ξ), deviations within each species; S(q₁): smallest wave vector; clusters: Σn²/Σn "
        f"of the extreme {fraction:.0%} of each species, neighbours within {neighbours:.3g} {scene.unit}."
    ]
    if relaxation is not None:
        notes.append("Frames are unwrapped from one to the next: none may move a particle by half the box.")
    return notes


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, np.ndarray):
        return _jsonable(value.tolist())
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
