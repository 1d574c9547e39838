"""ρ, slope and means of a model of several temperatures beside models of one, for ``docs/temperatures.md``.

``python -m benchmarks.temperatures score MODEL DATA ... -o scores.json`` scores a model on labelled
structures of several state points: a conditioned one at their temperatures and times, any other one
(zero-shot) with each time of the data paired with the model's time at which, says the conditioned
``--clock`` model, motion has come as far.  ``refit MODEL DATA ... --on TRAIN ...`` fits a new readout at each
temperature by itself.  ``draw NAME=scores.json ... -o FILE`` makes the figure, ``table NAME=scores.json ...``
the table, ``means MODEL DATA ... -o FILE`` the figure of
mean displacements.  ``infer MODEL DATA ...`` prints how well temperatures are read from structures, ``clock
MODEL`` how well the other temperatures of a model tell the mean displacements of each.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from propensity.data import Dataset, open_dataset
from propensity.data.selection import select_by_state_point
from propensity.errors import InputError
from propensity.estimators.conditioned import ConditionedEstimator
from propensity.estimators.conditions import Conditions
from propensity.estimators.inputs import input_structure
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.storage import load_model
from propensity.evaluation.scores import Evaluation, evaluate
from propensity.plotting import new_figure, save_figure, styled
from propensity.statistics import bootstrap, mean_over_structures, moments, pearson_of_moments

#: Temperatures that were left out lie farther outside of the trained ones than users may ask for.
BEYOND = 10.0


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=["score", "refit", "draw", "table", "means", "infer", "clock"])
    parser.add_argument("what", nargs="+")
    parser.add_argument("--on", nargs="+", default=[])
    parser.add_argument("--clock", default="ka-liquid")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if given.part in ("score", "refit"):
        data = select_by_state_point(open_dataset(given.what[1:]))
        model = load_model(given.what[0]).to(given.device)
        found = {}
        for state in data.state_points():
            temperature = float(state.header(0).temperature or 0)
            if given.part == "refit":
                found[f"{temperature:g}"] = refitted(
                    model, select_by_state_point(open_dataset(given.on)), state
                )
            else:
                found[f"{temperature:g}"] = plain(scored(model, state, load_model(given.clock)))
            print(temperature, found[f"{temperature:g}"]["A"]["pearson"], flush=True)
        given.output.write_text(json.dumps(found, indent=1))
    elif given.part == "table":
        table({name: json.loads(Path(file).read_text()) for name, file in map(split, given.what)})
    elif given.part == "draw":
        draw(
            {name: json.loads(Path(file).read_text()) for name, file in map(split, given.what)}, given.output
        )
    elif given.part == "means":
        means(given.what[0], given.what[1:], given.output)
    elif given.part == "infer":
        infer(given.what[0], given.what[1:])
    else:
        clock(given.what[0])


def split(text: str) -> tuple[str, str]:
    """NAME=FILE."""
    name, _, file = text.partition("=")
    return name, file


def scored(model: Any, state: Dataset, clock: Any) -> Evaluation:
    """Scores at one state point, times paired by how far motion has come."""
    if isinstance(model, ConditionedEstimator):
        return evaluate(model.for_sample(state[0], beyond=BEYOND), state)
    assert isinstance(clock, ConditionedEstimator)
    header, c = state.header(0), clock.conditions
    here = c.stage(float(header.temperature or 0), header.times)
    ours = c.stage(float(model.card.temperature), np.array(model.card.times))
    pairs = [(int(np.argmin(np.abs(ours - stage))), d) for d, stage in enumerate(here)]
    return evaluate(model, state, pairs=pairs)


def plain(score: Evaluation) -> dict[str, Any]:
    """Numbers by species for JSON."""
    return {
        name: {
            "times": score.data_times.tolist(),
            "pearson": score.pooled[s].round(4).tolist(),
            "interval": score.pooled_interval[:, s].T.round(4).tolist(),
            "per_structure": score.per_structure[s].round(4).tolist(),
            "slope": score.slope[s].round(3).tolist(),
            "ratio": (1 / score.mean_ratio[s]).round(3).tolist(),
        }
        for s, name in enumerate(score.species)
    }


@torch.no_grad()
def features(model: SE3Estimator, structure: Any) -> np.ndarray:
    """All that the readouts of a network see, shape (N, F)."""
    return SE3Estimator.features(model, structure, None, None).values.double().cpu().numpy()


def refitted(model: Any, train: Dataset, state: Dataset) -> dict[str, Any]:
    """Scores of a readout fitted at this temperature alone."""
    temperature = state.header(0).temperature
    (own,) = [one for one in train.state_points() if one.header(0).temperature == temperature]
    weights: dict[int, Any] = {}
    sums: dict[int, Any] = {}
    for sample in own:
        x = features(model, input_structure(sample, "both"))
        for s in range(len(sample.species)):
            mask = sample.structure.types == s
            h = np.c_[x[mask], np.ones(mask.sum())]
            a, b = sums.get(s, (0, 0))
            sums[s] = a + h.T @ h, b + h.T @ sample.propensities[mask]
    for s, (a, b) in sums.items():
        weights[s] = np.linalg.solve(a + 1e-6 * np.trace(a) / len(a) * np.eye(len(a)), b)
    found: dict[str, Any] = {}
    every: dict[int, list[np.ndarray]] = {s: [] for s in weights}
    groups = []
    for sample in state:
        x = features(model, input_structure(sample, "both"))
        groups.append(sample.group or sample.name)
        for s in weights:
            mask = sample.structure.types == s
            predicted = np.c_[x[mask], np.ones(mask.sum())] @ weights[s]
            every[s].append(moments(predicted, np.asarray(sample.propensities[mask], dtype=float)))
    for s, name in enumerate(own[0].species):
        each = np.array(every[s])[:, None]
        interval, _ = bootstrap(each, groups=np.array(groups), n_resamples=1000, seed=0)
        found[name] = {
            "times": np.asarray(state.times).tolist(),
            "pearson": pearson_of_moments(each.sum(0))[0].round(4).tolist(),
            "interval": interval[:, 0].T.round(4).tolist(),
            "per_structure": mean_over_structures(pearson_of_moments(each))[0].round(4).tolist(),
        }
    return found


def table(models: dict[str, Any]) -> None:
    """Markdown: a row a temperature, species and model, with ρ at each time; slopes and ratios of means."""
    first = next(iter(models.values()))
    for temperature in sorted(first):
        print(
            f"\n| T = {temperature} | "
            + " | ".join(f"{t:g}" for t in first[temperature]["A"]["times"])
            + " |"
        )
        print("|---" * (1 + len(first[temperature]["A"]["times"])) + "|")
        for species in ("A", "B"):
            for name, scores in models.items():
                if temperature not in scores:
                    continue
                row = scores[temperature][species]
                intervals = row.get("interval") or [None] * len(row["times"])
                at = dict(zip(row["times"], zip(row["pearson"], intervals, strict=True), strict=True))
                cells = [_cell(*at[t]) if t in at else "–" for t in first[temperature]["A"]["times"]]
                print(f"| {species}, {name} | " + " | ".join(cells) + " |")
    print("\n| A and B, all times | slope of true on predicted | mean predicted / mean true |\n|---|---|---|")
    for name, scores in models.items():
        for temperature, by_species in sorted(scores.items()):
            rows = [row for row in by_species.values() if "slope" in row]
            if rows:
                ends = [
                    f"{min(min(row[key]) for row in rows):.2f}–{max(max(row[key]) for row in rows):.2f}"
                    for key in ("slope", "ratio")
                ]
                print(f"| {name} at {temperature} | " + " | ".join(ends) + " |")


def _cell(score: float, interval: tuple[float, float] | None) -> str:
    """A score, with half its interval where that is known."""
    return f"{score:.3f}" + (f" ± {(interval[1] - interval[0]) / 2:.3f}" if interval else "")


@styled
def draw(models: dict[str, Any], path: Path) -> None:
    """ρ of A against time, a panel a temperature (Fig. 6 of arXiv:2211.03226; arXiv:2603.13820)."""
    first = next(iter(models.values()))
    figure = new_figure(11, 3.2)
    panels = figure.subplots(1, len(first), sharey=True)
    for panel, temperature in zip(panels, sorted(first), strict=True):
        for k, (name, scores) in enumerate(models.items()):
            if temperature not in scores:
                continue
            row = scores[temperature]["A"]
            times = np.array(row["times"]) * 1.05 ** (k - (len(models) - 1) / 2)  # beside each other
            away = np.abs(np.transpose(row["interval"]) - row["pearson"])
            panel.errorbar(times, row["pearson"], away, fmt="o-", ms=3, lw=1.2, color=f"C{k}", label=name)
        panel.set(xscale="log", xlabel="time $t$", title=f"T = {temperature}")
    lowest = min(min(row["A"]["pearson"]) for scores in models.values() for row in scores.values())
    panels[0].set(ylabel="Pearson ρ, species A", ylim=(min(0.4, lowest - 0.03), 0.97))
    panels[-1].legend(fontsize=7)
    save_figure(figure, path)


@styled
def means(model: str, data: list[str], path: Path) -> None:
    """Measured mean displacement against time and the model's curve, between the trained temperatures too."""
    estimator = load_model(model)
    assert isinstance(estimator, ConditionedEstimator)
    c = estimator.conditions
    figure = new_figure(5.5, 4)
    axes = figure.add_subplot()
    for k, state in enumerate(select_by_state_point(open_dataset(data)).state_points()):
        temperature = float(state.header(0).temperature or 0)
        of = [sample.propensities[sample.structure.types == 0].mean(axis=0) for sample in state]
        measured = np.mean(of, axis=0)
        axes.plot(state.times, measured, "o", ms=4, color=f"C{k}", label=f"T = {temperature:g}, measured")
        fine = np.geomspace(*c.time_range(temperature), 100)
        axes.plot(fine, c.mean(temperature, fine)[0], "-", color=f"C{k}")
    for temperature in (0.455, 0.485, 0.53):
        fine = np.geomspace(*c.time_range(temperature), 100)
        axes.plot(fine, c.mean(temperature, fine)[0], ":", color="0.4")
    axes.plot([], [], ":", color="0.4", label="T = 0.455, 0.485, 0.53")
    axes.set(xscale="log", yscale="log", xlabel="time $t$", ylabel="mean displacement of A (σ)")
    axes.legend(fontsize=8)
    save_figure(figure, path)


def infer(model: str, data: list[str]) -> None:
    """Error of inferred temperatures, and what it does to the mean displacement of A at τ_α."""
    estimator = load_model(model)
    assert isinstance(estimator, ConditionedEstimator)
    c, away, factors, refused = estimator.conditions, [], [], 0
    for sample in open_dataset(data):
        true, tau = float(sample.temperature or 0), np.array([float(sample.tau_alpha or 0)])
        try:
            found = estimator.infer_temperature(input_structure(sample, "both"))
        except InputError as error:
            print(f"{sample.name}: {true:g}, refused: {error}")
            refused += 1
            continue
        away.append(found - true)
        factors.append(c.mean(found, tau)[0, 0] / c.mean(true, tau)[0, 0])
        print(f"{sample.name}: {true:g}, inferred {found:.4f}, mean displacement at τ_α × {factors[-1]:.3f}")
    rms, off = np.sqrt(np.mean(np.square(away))), np.sqrt(np.mean(np.square(np.log(factors))))
    print(
        f"{len(away)} inferred, {refused} refused: rms error {rms:.4f}; means at τ_α off by {100 * off:.0f} %"
    )


def clock(model: str) -> None:
    """Mean displacements at each temperature by a clock of the others, over the measured ones."""
    estimator = load_model(model)
    assert isinstance(estimator, ConditionedEstimator)
    c = estimator.conditions
    for point in c.state_points:
        others = Conditions(
            state_points=tuple(one for one in c.state_points if one is not point), composition=c.composition
        )
        times = np.array(point.times)
        first, last = others.time_range(point.temperature)
        known = (times > 0.99 * first) & (times < 1.01 * last)
        ratio = others.mean(point.temperature, times[known]) / np.array(point.mean)[:, known]
        shown = ", ".join(f"{t:g} {a:.3f} {b:.3f}" for t, a, b in zip(times[known], *ratio, strict=True))
        print(f"T = {point.temperature:g} left out: t, A, B: {shown}")


if __name__ == "__main__":
    main()
