from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from propensity.data import Sample
from propensity.structure import Structure

DATA = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def data() -> Path:
    """Folder of the small files."""
    return DATA


def make_sample(
    name: str = "a", n: int = 40, times: tuple[float, ...] = (1.0, 10.0, 100.0), **changes
) -> Sample:
    """A sample with every field filled, different for every name."""
    rng = np.random.default_rng(sum(name.encode()))
    t = len(times)
    p = rng.gamma(4.0, 0.1, (n, t))
    noise = 0.05 * rng.standard_normal((n, t))
    positions = rng.random((n, 3)) * 5
    values = {
        "structure": Structure(positions, np.arange(n) % 5 // 4, 5.0),
        "times": np.array(times),
        "propensities": p,
        "name": name,
        "inherent_positions": positions + 0.1 * rng.standard_normal((n, 3)),
        "halves": np.stack([p + noise, p - noise]),
        "squared_displacement": p**2 * 1.2,
        "n_runs": 8,
        "temperature": 0.5,
        "potential": "lj/cut",
        "fs": np.linspace(0.9, 0.3, t),
        "tau_alpha": times[-1],
        "split": "train",
        "group": "g",
        "source": "made up",
    }
    return Sample(**{**values, **changes})
