"""Standard errors of predictions, calibrated on structures outside training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from propensity.estimators.card import Card


def standard_error(
    calibration: dict[str, Any], types: np.ndarray, mean: np.ndarray, spread: np.ndarray | None
) -> np.ndarray:
    """Standard error of the true propensity, √(a + b·p² + c·s²) with numbers for each species and time.

    Parameters
    ----------
    calibration
        ``"error"``: a, b and c, shape (n_species, n_times, 3), as :func:`fit_error` gives them.
    types
        Species of the particles, shape (N,).
    mean
        Predictions p, shape (N, n_times), in σ.
    spread
        Standard deviation s between the models of the committee, shape (N, n_times); None: of one model.

    Returns
    -------
    Shape (N, n_times), in σ.
    """
    a, b, c = np.moveaxis(np.asarray(calibration["error"], dtype=float)[types], -1, 0)
    return cast("np.ndarray", np.sqrt(a + b * mean**2 + (0.0 if spread is None else c * spread**2)))


def error_of_mean(
    card: Card, types: np.ndarray, members: np.ndarray, columns: Sequence[int] | np.ndarray
) -> np.ndarray | None:
    """Standard error of the mean of several models, shape (N, n_times), in σ.

    Parameters
    ----------
    card
        Of the first.
    types
        Species of the particles, shape (N,).
    members
        Predictions of each model at some times, shape (M, N, n_times), in σ.
    columns
        Those times among all of the card, shape (n_times,).

    Returns
    -------
    numpy.ndarray or None
        Calibrated where they are the models that the card speaks of, else the spread between them; None of
        one model that doesn't know its errors.
    """
    spread = members.std(axis=0, ddof=1) if len(members) > 1 else None
    if not is_calibrated(card, len(members)):
        return spread
    error = np.asarray(card.uncertainty["error"], dtype=float)[:, columns]
    return standard_error({"error": error}, types, members.mean(axis=0), spread)


def is_calibrated(card: Card, n_models: int) -> bool:
    """Whether the errors of so many models, of which this is the card of the first, were measured."""
    return bool(card.uncertainty) and n_models == 1 + len(card.committee)


def displacement_spread(calibration: dict[str, Any], types: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Standard deviation of the displacement itself over isoconfigurational runs, √(a·p + b·p²), shape (N,).

    Parameters
    ----------
    calibration
        ``"displacement"``: a and b for each species, shape (n_species, 2), at the default time.
    types
        Species of the particles, shape (N,).
    mean
        Predictions at the default time, shape (N,), in σ.
    """
    a, b = np.asarray(calibration["displacement"], dtype=float)[types].T
    return cast("np.ndarray", np.sqrt(np.maximum(a * mean + b * mean**2, 0.0)))


def fit_error(
    predictions: np.ndarray, labels: np.ndarray, noise: np.ndarray, spread: np.ndarray
) -> np.ndarray:
    """Numbers a, b, c ≥ 0 of one species at one time, from structures outside training.

    Parameters
    ----------
    predictions, labels, spread
        Of any number of particles, shape (M,), in σ.
    noise
        Variance of the noise of each label, shape (M,): it is no error of the prediction.
    """
    from scipy.optimize import nnls

    terms = np.stack([np.ones_like(predictions), predictions**2, spread**2], axis=1)
    square = (labels - predictions) ** 2 - noise
    # Squares scatter in proportion to what they estimate: weigh them so, and leave outliers their due.
    # Those of the few predictions near zero must not count for all others.
    weight = 1 / np.maximum(predictions**2, max(predictions.mean() ** 2 / 16, 1e-12))
    scale = terms.mean(axis=0)
    scale[scale == 0] = 1.0  # of one model, without a spread: c is 0
    found, _ = nnls(terms / scale * weight[:, None], square * weight)
    return cast("np.ndarray", found / scale)
