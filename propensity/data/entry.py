"""Entry: where one structure of a data set is and how to load it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from propensity.data.sample import Sample


@dataclass(frozen=True, eq=False)
class Entry:
    """What is known of a sample without loading it; pickles, so that workers can load.

    Parameters
    ----------
    name
        Unique within a data set.
    load
        Function without arguments that returns the sample.
    times, fs
        Times and F_s levels of its labels, shape (T,); None where only loading tells.
    split, group
        As in :class:`~propensity.data.Sample`.
    """

    name: str
    load: Callable[[], Sample]
    times: np.ndarray | None = None
    fs: np.ndarray | None = None
    split: str | None = None
    group: str | None = None
