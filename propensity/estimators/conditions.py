"""State points that one model was trained on, and what makes its outputs propensities between them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from propensity.errors import DataError, InputError
from propensity.estimators.clock import Clock, Measured, between

#: Splines along the stage of motion, and highest power of 1/T that each is multiplied by.
KNOTS, DEGREE = 7, 1
#: How far outside the trained temperatures a prediction is made, with a warning, in parts of their range.
BEYOND = 0.25
#: Relative distance of a time from the trained range that is taken for rounding.
ROUNDING = 0.01
#: Times that are predicted where none are asked for.
N_TIMES = 8


class StatePoint(BaseModel):
    """Labels of the training structures at one temperature; species by species, time by time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(gt=0, allow_inf_nan=False, description="k_B T/ε_AA.")
    potential: str | None = Field(None, description="Interaction.")
    times: tuple[float, ...] = Field(min_length=1, description="Times of the labels, rising.")
    tau_alpha: float | None = Field(None, gt=0, allow_inf_nan=False, description="Relaxation time.")
    mean: tuple[tuple[float, ...], ...] = Field(description="Mean propensity, (n_species, n_times).")
    std: tuple[tuple[float, ...], ...] = Field(description="Standard deviation, (n_species, n_times).")
    offset: tuple[float, float] | None = Field(
        None, description="Median length of the thermal offset: mean and spread over structures."
    )
    n_structures: int = Field(1, ge=1, description="Training structures.")
    error: tuple[tuple[tuple[float, float, float], ...], ...] | None = Field(
        None,
        description="Calibration of the standard error, see card.uncertainty, (n_species, n_times, 3).",
    )

    @model_validator(mode="after")
    def _consistent(self) -> StatePoint:
        times = np.array(self.times)
        if not np.isfinite(times).all() or times[0] <= 0 or (np.diff(times) <= 0).any():
            raise ValueError("times of a state point must be positive and rise")
        for name in ("mean", "std"):
            rows = getattr(self, name)
            if not rows or any(len(row) != len(times) for row in rows):
                raise ValueError(f"{name} of a state point must have a row a species and a column a time")
            if not (np.isfinite(rows).all() and np.min(rows) >= 0):
                raise ValueError(f"{name} of a state point must be finite and not negative")
        if self.error is not None:
            if np.shape(self.error) != (*np.shape(self.mean), 3):
                raise ValueError("error of a state point must have three numbers a species and time")
            if not (np.isfinite(self.error).all() and np.min(self.error) >= 0):
                raise ValueError("error of a state point must be finite and not negative")
        return self


class Elsewhere(BaseModel):
    """How a model does at another temperature or interaction, at times at which motion has come as far."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: float = Field(gt=0, allow_inf_nan=False, description="k_B T/ε_AA of the structures.")
    pearson: float = Field(ge=-1, le=1, description="ρ of the first species at τ_α.")
    potential: str | None = Field(None, description="Interaction, where that is what differs.")
    ratio: tuple[float, float] = Field(
        description="Mean predicted over mean true propensity of the first species: least and largest."
    )


class Conditions(BaseModel):
    """What a network of K outputs a particle, its modes y_k, needs to answer for any temperature and time:

    propensity(T, t) = m(T, t) + s(T, t) Σ_k b_k(T, t) y_k

    with mean m and spread s of each species by :class:`~propensity.estimators.clock.Clock`, and smooth b_k:
    cubic splines along the stage of motion, times powers of 1/T.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    state_points: tuple[StatePoint, ...] = Field(description="State points of the training, coldest first.")
    composition: tuple[float, ...] = Field(description="Fraction of each species.")
    knots: int = Field(KNOTS, ge=4, le=100, description="Splines along the stage of motion.")
    degree: int = Field(DEGREE, ge=0, le=3, description="Highest power of 1/T.")

    @model_validator(mode="after")
    def _consistent(self) -> Conditions:
        temperatures = [point.temperature for point in self.state_points]
        if len(temperatures) < 2 or (np.diff(temperatures) <= 0).any():
            raise ValueError("state_points must have two temperatures at least, coldest first")
        if any(len(point.mean) != len(self.composition) for point in self.state_points):
            raise ValueError("state_points and composition must have equally many species")
        return self

    @property
    def n_modes(self) -> int:
        """Outputs of the network, K."""
        return self.knots * (self.degree + 1)

    @property
    def most_times(self) -> int:
        """Largest number of times of a state point, T_max."""
        return max(len(point.times) for point in self.state_points)

    @property
    def temperatures(self) -> np.ndarray:
        """Those of the training, coldest first."""
        return np.array([point.temperature for point in self.state_points])

    @cached_property
    def _clocks(self) -> list[Clock | None]:
        """One a species; None of those without particles."""
        found: list[Clock | None] = []
        for s in range(len(self.composition)):
            rows = [(point, np.array(point.mean[s]), np.array(point.std[s])) for point in self.state_points]
            alive = all(mean.min() > 0 for _, mean, _ in rows)
            measured = [Measured(x.temperature, np.array(x.times), mean, std) for x, mean, std in rows]
            found.append(Clock(measured) if alive else None)
        if not any(found):
            raise DataError("no species has labels at every temperature: a clock needs one.")
        return found

    def mean(self, temperature: float, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """Mean propensity of each species, shape (n_species, T); 0 where a species has no particles."""
        times = np.asarray(times, dtype=float)
        return np.array(
            [np.zeros(len(times)) if c is None else c.mean(temperature, times) for c in self._clocks]
        )

    def std(self, temperature: float, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """Spread of propensities among particles of each species, shape (n_species, T); 1 likewise."""
        times = np.asarray(times, dtype=float)
        return np.array(
            [np.ones(len(times)) if c is None else c.std(temperature, times) for c in self._clocks]
        )

    def error(self, temperature: float, times: Sequence[float] | np.ndarray) -> np.ndarray | None:
        """Calibration of the standard error, shape (n_species, T, 3); None where a temperature has none.

        Between the trained points the parts of the spread that it is are interpolated along the stage, and in
        1/T.
        """
        parts = []
        for point in self.state_points:
            if point.error is None:
                return None
            rows = np.array(point.error)
            rows[..., 0] /= np.maximum(np.square(self.std(point.temperature, point.times)), 1e-300)
            known, here = self.stage(point.temperature, point.times), self.stage(temperature, times)
            parts.append([[np.interp(here, known, part) for part in row.T] for row in rows])
        found = np.moveaxis(between(1 / self.temperatures, np.array(parts), 1 / temperature), 1, 2)
        found[..., 0] *= np.square(self.std(temperature, times))
        return cast("np.ndarray", np.maximum(found, 0.0))

    def stage(self, temperature: float, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """How far motion has come, from 0 at the first trained time to 1 at the last, shape (T,).

        Logarithmic time within the range of trained times at this temperature.
        """
        first, last = np.log(self.time_range(temperature))
        return cast("np.ndarray", (np.log(np.asarray(times, dtype=float)) - first) / (last - first))

    def basis(self, temperature: float, times: Sequence[float] | np.ndarray) -> np.ndarray:
        """b_k(T, t), shape (K, T)."""
        from scipy.interpolate import BSpline  # not for models of one temperature: it takes its time

        stage = np.clip(self.stage(temperature, times), 0, 1)
        inner = np.linspace(0, 1, self.knots - 2)
        knots = np.concatenate([np.zeros(3), inner, np.ones(3)])
        splines = BSpline(knots, np.eye(self.knots), 3)(stage)
        inverse = 1 / self.temperatures
        middle, half = (inverse.max() + inverse.min()) / 2, (inverse.max() - inverse.min()) / 2
        z = (1 / temperature - middle) / half
        return np.concatenate([splines * z**power for power in range(self.degree + 1)], axis=1).T

    def bases(self) -> np.ndarray:
        """b_k at the times of each state point, shape (P, K, T_max), 0 beyond them."""
        found = np.zeros((len(self.state_points), self.n_modes, self.most_times))
        for own, point in zip(found, self.state_points, strict=True):
            own[:, : len(point.times)] = self.basis(point.temperature, point.times)
        return found

    def time_range(self, temperature: float) -> tuple[float, float]:
        """First and last time that is answered for at a temperature, between those of the training."""
        ends = np.log([(point.times[0], point.times[-1]) for point in self.state_points])
        first, last = np.exp(between(1 / self.temperatures, ends, 1 / temperature))
        return float(first), float(last)

    def tau_alpha(self, temperature: float) -> float | None:
        """Relaxation time, ln τ_α between those of the training in 1/T; None where one is unknown."""
        known = [point.tau_alpha for point in self.state_points]
        if any(tau is None for tau in known):
            return None
        return float(np.exp(between(1 / self.temperatures, np.log(np.array(known, float)), 1 / temperature)))

    def nearest(self, temperature: float) -> StatePoint:
        """State point of the training at the nearest temperature."""
        return self.state_points[int(np.argmin(np.abs(self.temperatures - temperature)))]

    def times_at(self, temperature: float | None) -> np.ndarray:
        """Times that are predicted where none are asked for: the trained ones of a trained temperature, else
        evenly spaced ones on a logarithmic scale; those of all temperatures where it is not known.
        """
        if temperature is not None and abs(self.nearest(temperature).temperature - temperature) < 1e-6:
            return np.array(self.nearest(temperature).times)
        asked = self.temperatures if temperature is None else np.array([temperature])
        ends = np.array([self.time_range(value) for value in asked])
        first, last = ends[:, 0].max(), ends[:, 1].min()
        if first >= last:
            raise InputError(
                "the temperatures of the training have no times in common: say which (temperature=)."
            )
        spaced = np.geomspace(first, last, N_TIMES)
        inside = [float(f"{t:.3g}") for t in spaced[1:-1]]
        return np.array([first, *inside, last])

    def check_temperature(self, temperature: float, beyond: float = BEYOND) -> str:
        """A sentence of warning for a temperature outside the trained ones, by ``beyond`` of their range at
        most; empty inside.

        Raises
        ------
        InputError
            For one far outside.
        """
        if not np.isfinite(temperature) or temperature <= 0:
            raise InputError(f"temperature is {temperature}: give k_B T/ε_AA, a positive number.")
        low, high = self.temperatures[[0, -1]]
        room = beyond * (high - low)
        if low - 1e-9 <= temperature <= high + 1e-9:
            return ""
        if not low - room <= temperature <= high + room:
            raise InputError(
                f"temperature is {temperature:g}: the model was trained at {low:g} to {high:g}, and answers"
                f" from {low - room:.3g} to {high + room:.3g}."
            )
        return (
            f"temperature {temperature:g} lies outside of those of the training, {low:g} to {high:g}:"
            " magnitudes are extrapolated there."
        )

    def temperature_like(self, offset: np.ndarray) -> float:
        """Temperature at which thermal offsets (N, 3) are as long as these, in their median.

        Raises
        ------
        InputError
            When they are far from those of the training.
        """
        sizes = np.array([point.offset[0] for point in self.state_points if point.offset is not None])
        found = median_offset(offset)
        temperature = float(between(sizes, self.temperatures, found))
        low, high = (float(end) for end in self.temperatures[[0, -1]])
        try:
            self.check_temperature(temperature)
        except InputError:
            raise InputError(
                f"the structure looks like one at temperature {temperature:.3g} (median thermal offset"
                f" {found:.3g} σ), and the model was trained at {low:g} to {high:g}: give temperature=... if"
                " you know better."
            ) from None
        # What is known to a hundredth is not said to a millionth.
        return float(np.clip(round(temperature, 4), low, high))

    def check_times(self, temperature: float, times: np.ndarray) -> None:
        """Refuse times outside of the trained range at a temperature.

        Raises
        ------
        InputError
            With the first such time.
        """
        first, last = self.time_range(temperature)
        for time in times:
            if not first * (1 - ROUNDING) <= time <= last * (1 + ROUNDING):
                raise InputError(
                    f"time {time:g} can't be predicted at temperature {temperature:.3g}: the model was"
                    f" trained on times that correspond to {first:.3g} to {last:.4g} there."
                )


def median_offset(offset: np.ndarray) -> float:
    """Median length of the vectors from inherent to thermal positions: rare large ones don't move it."""
    return float(np.median(np.linalg.norm(offset, axis=1)))
