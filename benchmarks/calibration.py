"""Standard errors of a model of several temperatures, from structures outside its training.

    python -m benchmarks.calibration MODEL DATA ... [--device cuda] [--into FOLDER] [-o coverage.json]

For each temperature, species and time √(a + b·p²) is fitted to the squared errors that label noise does not
explain (:func:`propensity.estimators.uncertainty.fit_error`).  Printed are the share of labels within one and
two standard errors, label noise included, and the rank correlation of error and standard error; also with
each structure left out of its own calibration.  ``--into`` writes both into the card of a model's folder.

Noise: the displacement varies over runs by κ p², of which a label has a part in n_runs.  κ is measured at
τ_α, .144 at the first time (the ceiling at T = 0.44, t = 0.13), and between follows ln p.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from propensity.data import Dataset, open_dataset
from propensity.data.selection import select_by_state_point
from propensity.estimators.conditioned import ConditionedEstimator
from propensity.estimators.inputs import input_structure
from propensity.estimators.storage import load_model, save_model
from propensity.estimators.uncertainty import fit_error

#: κ at the first time.
FIRST = 0.144


def main() -> None:
    """Fit and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--into", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(given.model).to(given.device)
    assert isinstance(model, ConditionedEstimator)
    points, found = list(model.conditions.state_points), {}
    for state in select_by_state_point(open_dataset(given.data)).state_points():
        temperature = float(state.header(0).temperature or 0)
        error, found[f"{temperature:g}"] = calibrated(model, state)
        (k,) = [k for k, point in enumerate(points) if abs(point.temperature - temperature) < 1e-6]
        points[k] = points[k].model_copy(update={"error": tuple(tuple(map(tuple, row)) for row in error)})
        print(temperature, json.dumps(found[f"{temperature:g}"]), flush=True)
    if given.output:
        given.output.write_text(json.dumps(found, indent=1))
    if given.into:
        stored = load_model(given.into)
        stored.card.conditions = model.conditions.model_copy(update={"state_points": tuple(points)})
        stored.card.metrics["uncertainty"] = {
            "note": (
                "share of labels within 1 and 2 standard errors, label noise included; rank correlation of"
                " |error| and standard error; left_out: each structure left out of its own calibration"
            ),
            "command": "python -m benchmarks.calibration " + " ".join([given.model, *given.data]),
            **found,
        }
        save_model(given.into, stored)


def calibrated(model: ConditionedEstimator, state: Dataset) -> tuple[list[Any], dict[str, Any]]:
    """Numbers a, b, c of each species and time, and how well they cover."""
    samples = list(state)
    one = model.for_sample(samples[0])
    p = np.array([one.predict(input_structure(x, one.card.input_positions)) for x in samples])
    y = np.array([np.asarray(x.propensities, dtype=float) for x in samples])
    types = samples[0].structure.types
    error, report = [], {}
    for s, name in enumerate(samples[0].species):
        ours, true = p[:, types == s], y[:, types == s]
        noise = label_noise(samples, types == s, true, ours)
        fits = [fitted(ours, true, noise, t) for t in range(ours.shape[2])]
        left = [
            [fitted(*(np.delete(x, k, axis=0) for x in (ours, true, noise)), t) for k in range(len(ours))]
            for t in range(ours.shape[2])
        ]
        error.append([fit.tolist() for fit in fits])
        every = [[fit] * len(ours) for fit in fits]
        report[name] = {**coverage(ours, true, noise, every), "left_out": coverage(ours, true, noise, left)}
    return error, report


def label_noise(samples: list[Any], mask: np.ndarray, true: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """Variance of the noise of each label, shape (M, n, T)."""
    number = int(samples[0].n_runs)
    square = np.array([np.asarray(x.squared_displacement, dtype=float)[mask] for x in samples])
    spread = (square - true**2).mean(axis=(0, 1)) * number / (number - 1)
    share, level = spread / np.square(true).mean(axis=(0, 1)), np.log(true.mean(axis=(0, 1)))
    known = np.isfinite(share)
    assert known.any(), "the spread over runs is known at no time"
    if not known[0]:
        share[0], known[0] = FIRST, True
    return np.interp(level, level[known], share[known]) * ours**2 / number


def fitted(ours: np.ndarray, true: np.ndarray, noise: np.ndarray, t: int) -> np.ndarray:
    """a, b and c = 0 of one time."""
    predicted, labels, variance = (x[..., t].ravel() for x in (ours, true, noise))
    return fit_error(predicted, labels, variance, np.zeros_like(predicted))


def coverage(
    ours: np.ndarray, true: np.ndarray, noise: np.ndarray, fits: list[list[np.ndarray]]
) -> dict[str, list[float]]:
    """Shares of labels within one and two standard errors, and rank correlation, time by time."""
    found: dict[str, list[float]] = {"within_1": [], "within_2": [], "rank": []}
    for t, of_each in enumerate(fits):
        square = np.array([f[0] + f[1] * x**2 for f, x in zip(of_each, ours[..., t], strict=True)])
        away, total = np.abs(true[..., t] - ours[..., t]), np.sqrt(square + noise[..., t])
        found["within_1"].append(round(float((away < total).mean()), 3))
        found["within_2"].append(round(float((away < 2 * total).mean()), 3))
        varies = bool(np.ptp(square) > 0)  # else it ranks nothing
        found["rank"].append(round(float(spearmanr(away.ravel(), square.ravel())[0]), 3) if varies else 0.0)
    return found


if __name__ == "__main__":
    main()
