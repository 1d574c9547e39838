"""How far particles of a liquid move by a time at a temperature: the clock of a conditioned model.

Mean displacements were measured at a few temperatures, each at times of its own.  In thermal units, m/√T,
they start alike (harmonic motion scales so) and reach a given level the later the colder the liquid.  What is
interpolated in 1/T is therefore the logarithm of the time at which m/√T reaches a level: time–temperature
superposition without a law for τ_α(T).  The measured points are met exactly, and time never runs backwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

#: Levels between the lowest and the highest that occur, at which times are interpolated.
LEVELS = 1200


class Measured(NamedTuple):
    """Displacements of one species at one temperature: times, their mean and spread, each of shape (T,)."""

    temperature: float
    times: np.ndarray
    mean: np.ndarray
    std: np.ndarray


class Clock:
    """Mean displacement of one species as a function of temperature and time.

    Parameters
    ----------
    measured
        One a temperature, two at least, coldest first.
    """

    def __init__(self, measured: Sequence[Measured]) -> None:
        self.inverse = np.array([1 / one.temperature for one in measured])
        self._times, self._spreads, ends = [], [], []
        for one in measured:
            level = np.log(np.maximum.accumulate(one.mean) / np.sqrt(one.temperature))
            level += 1e-9 * np.arange(len(level))  # labels that stand still
            time = np.log(one.times)
            self._times.append(_Curve(level, time))
            self._spreads.append(_Curve(level, one.std / one.mean))
            ends.append((level[0], level[-1]))
        low, high = np.min(ends), np.max(ends)
        room = 0.25 * (high - low) + 0.1
        self._levels = np.linspace(low - room, high + room, LEVELS)

    def level(self, temperature: float, times: np.ndarray) -> np.ndarray:
        """Logarithm of m/√T at times, shape (T,)."""
        at = np.array([curve(self._levels) for curve in self._times])
        log_time = np.maximum.accumulate(between(self.inverse, at, 1 / temperature))
        log_time += 1e-12 * np.arange(len(log_time))
        return cast("np.ndarray", np.interp(np.log(times), log_time, self._levels))

    def mean(self, temperature: float, times: np.ndarray) -> np.ndarray:
        """Mean displacement at times, shape (T,)."""
        return cast("np.ndarray", np.sqrt(temperature) * np.exp(self.level(temperature, times)))

    def std(self, temperature: float, times: np.ndarray) -> np.ndarray:
        """Standard deviation of propensities among particles, shape (T,)."""
        level = self.level(temperature, times)
        ratio = np.array([spread.held(level) for spread in self._spreads])
        ratio = np.clip(between(self.inverse, ratio, 1 / temperature), 0.5 * ratio.min(0), 2 * ratio.max(0))
        return cast("np.ndarray", ratio * self.mean(temperature, times))


class _Curve:
    """Monotone cubics through points of rising x, shape (n,); straight on outside, or held."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        from scipy.interpolate import (
            PchipInterpolator,  # not for models of one temperature: it takes its time
        )

        self.x, self.y = x, y
        self._inside = PchipInterpolator(x, y) if len(x) > 1 else None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Value, on a straight line from the ends outside."""
        if self._inside is None:
            return np.full_like(x, self.y[0])
        low = (self.y[1] - self.y[0]) / (self.x[1] - self.x[0])
        high = (self.y[-1] - self.y[-2]) / (self.x[-1] - self.x[-2])
        value = self.held(x)
        value = value + low * np.minimum(x - self.x[0], 0) + high * np.maximum(x - self.x[-1], 0)
        return cast("np.ndarray", value)

    def held(self, x: np.ndarray) -> np.ndarray:
        """Value, that of the ends outside."""
        if self._inside is None:
            return np.full_like(x, self.y[0])
        return cast("np.ndarray", self._inside(np.clip(x, self.x[0], self.x[-1])))


def between(known: np.ndarray, values: np.ndarray, at: float) -> np.ndarray:
    """Values (n, ...) known at n points, at another one: monotone cubics between, straight on outside."""
    from scipy.interpolate import PchipInterpolator

    order = np.argsort(known)
    known, values = known[order], values[order]
    inside = float(np.clip(at, known[0], known[-1]))
    value = np.asarray(PchipInterpolator(known, values, axis=0)(inside))
    if inside == at:
        return value
    near, next_one = (0, 1) if at < known[0] else (-1, -2)
    slope = (values[near] - values[next_one]) / (known[near] - known[next_one])
    return cast("np.ndarray", value + slope * (at - inside))
