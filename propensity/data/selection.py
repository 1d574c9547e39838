"""Choosing times: by value, by index, by level of F_s, or τ_α."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np

from propensity.data.dataset import Dataset
from propensity.data.entry import Entry, Header, aligned
from propensity.errors import InputError
from propensity.sample import Sample

#: A value is matched by a stored time within this relative distance.
TOLERANCE = 0.01

TimeSpec = float | str
TimesSpec = TimeSpec | Iterable[TimeSpec] | None


def select_times(dataset: Dataset, times: TimesSpec = "all") -> Dataset:
    """Data set with the labels at some times only, and the same ``times`` in every sample.

    Parameters
    ----------
    dataset
        Any data set.
    times
        One choice or a list of them: a number is a time (matched within 1 %), ``"#2"`` an index,
        ``"fs=0.5"`` or ``"fs=1/e"`` a level of the self-intermediate scattering function,
        ``"tau_alpha"`` the relaxation time of each structure, ``"all"`` everything.  A string may
        hold several, separated by commas.

    Returns
    -------
    Dataset
        Columns in the order of the choices.  Where structures have times of their own (those at which
        F_s takes given levels, or τ_α), each sample's ``times`` are the medians over the data set.

    Raises
    ------
    InputError
        When a choice matches no time; the message lists those that exist.
    """
    choices = time_choices(times)
    headers = [dataset.header(i) for i in range(len(dataset))]
    # Times that vary with the structure are called by their medians, so values are matched against those.
    common = np.median([h.times for h in headers], axis=0) if aligned(headers) else None
    columns = [_columns(header, choices, common, dataset.source) for header in headers]
    chosen = [header.times[index] for header, index in zip(headers, columns, strict=True)]
    if len({len(values) for values in chosen}) > 1 or (common is None and choices == ["all"]):
        dataset.times  # noqa: B018  raises the error that lists the different times
    names = np.median(chosen, axis=0)
    entries = (
        _selected(dataset._entry(i), header, index, names)
        for i, (header, index) in enumerate(zip(headers, columns, strict=True))
    )
    return Dataset(entries, dataset.source)


def select_by_state_point(dataset: Dataset, times: TimesSpec = "all") -> Dataset:
    """As :func:`select_times` for each state point by itself: their times may differ.

    Parameters
    ----------
    dataset
        Of any state points.
    times
        As for :func:`select_times`.

    Returns
    -------
    Dataset
        Every structure, in the same order, with times of its state point.

    Raises
    ------
    InputError
        As :func:`select_times`.
    """
    chosen = [select_times(point, times) for point in dataset.state_points()]
    entries = {entry.name: entry for point in chosen for entry in point.entries}
    return Dataset((entries[name] for name in dataset.names), dataset.source)


def in_units(dataset: Dataset, length_scale: float) -> Dataset:
    """Data set with every length divided by ``length_scale``, that of σ in the units of its files.

    Parameters
    ----------
    dataset
        In the units of its files.
    length_scale
        Length of σ in these units.

    Returns
    -------
    Dataset
        Lengths in σ; samples that were divided by the same length stay.
    """
    return dataset.map(partial(_in_units, length_scale=length_scale))


def _in_units(sample: Sample, length_scale: float) -> Sample:
    return sample.in_units_of(length_scale)


def pick_times(sample: Sample, times: TimesSpec) -> Sample:
    """One sample at some times, matched against its own; ``times`` as in :func:`select_times`."""
    return sample.at_columns(_columns(Header.of(sample), time_choices(times), None, sample.name))


def time_choices(times: TimesSpec) -> list[TimeSpec]:
    """List of choices; numbers given as text become numbers."""
    if times is None:
        return ["all"]
    given: Sequence[Any] = [times] if isinstance(times, (str, int, float, np.number)) else list(times)
    choices: list[TimeSpec] = []
    for item in given:
        for part in item.split(",") if isinstance(item, str) else [item]:
            choices.append(_parse(part))
    if not choices:
        raise InputError("no time was chosen: give at least one, or 'all'.")
    return choices


def _parse(part: object) -> TimeSpec:
    if isinstance(part, (int, float, np.number)) and not isinstance(part, bool):
        return float(part)
    text = str(part).strip().lower().replace(" ", "")
    if text in ("all", "tau_alpha") or text.startswith(("#", "fs=")):
        _argument(text)
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"time {str(part)!r} isn't understood: give a value (412), an index (#2), a level (fs=0.5,"
            " fs=1/e), tau_alpha or all."
        ) from None


def _argument(text: str) -> float | int | None:
    """Number in ``#i`` or ``fs=x``."""
    try:
        if text.startswith("#"):
            return int(text[1:])
        if text.startswith("fs="):
            return math.exp(-1) if text[3:] == "1/e" else float(text[3:])
    except ValueError:
        raise InputError(
            f"time {text!r} isn't understood: write #2 for an index or fs=0.5 for a level."
        ) from None
    return None


def _columns(header: Header, choices: list[TimeSpec], common: np.ndarray | None, source: str) -> list[int]:
    columns: list[int] = []
    for choice in choices:
        found = _match(header, choice, common, source)
        columns += [k for k in found if k not in columns]
    return columns


def _match(header: Header, choice: TimeSpec, common: np.ndarray | None, source: str) -> list[int]:
    n = len(header.times)
    if choice == "all":
        return list(range(n))
    if choice == "tau_alpha":
        if header.tau_alpha is None:
            raise InputError(
                f"structures of {source} don't say what τ_α is: choose a time by value or index."
            )
        return [_nearest(header.times, header.tau_alpha, "τ_α = ", source)]
    if isinstance(choice, str):
        argument = _argument(choice)
        assert argument is not None
        if choice.startswith("#"):
            if not -n <= argument < n:
                raise InputError(
                    f"index {choice} is beyond the {n} times of {source}: choose #0 to #{n - 1}."
                )
            return [int(argument) % n]
        if np.isnan(header.fs).all():
            raise InputError(f"{source} doesn't say F_s at its times: choose a time by value or index.")
        distance = np.abs(np.nan_to_num(header.fs, nan=np.inf) - argument)
        if distance.min() > 0.005:
            levels = ", ".join(f"{level:.3g}" for level in header.fs if not np.isnan(level))
            raise InputError(f"no time of {source} has F_s = {argument:.3g}: choose among {levels}.")
        return [int(distance.argmin())]
    return [_nearest(header.times if common is None else common, choice, "", source)]


def _nearest(times: np.ndarray, value: float, label: str, source: str) -> int:
    distance = np.abs(times - value)
    if not (math.isfinite(value) and distance.min() <= TOLERANCE * abs(value)):
        listed = ", ".join(f"{time:g}" for time in times)
        raise InputError(f"no time of {source} is {label}{value:g}: choose among {listed}.")
    return int(distance.argmin())


def _selected(entry: Entry, header: Header, columns: list[int], times: np.ndarray) -> Entry:
    return replace(
        entry,
        load=partial(_load, entry.load, tuple(columns), times),
        header=replace(header, times=times, fs=header.fs[columns]),
    )


def _load(load: object, columns: tuple[int, ...], times: np.ndarray) -> Sample:
    return cast("Sample", load().at_columns(columns, times))  # type: ignore[operator]
