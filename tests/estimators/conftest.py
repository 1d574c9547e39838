from __future__ import annotations

import numpy as np
import pytest

from propensity.neighbours import neighbour_list
from propensity.sample import Sample
from propensity.structure import Structure
from tests.conftest import make_liquid


def make_sample(seed: int, n_times: int = 2, n: int = 125) -> Sample:
    """Sample whose labels depend on the local density and on the species."""
    structure = make_liquid(n, seed=seed)
    (_, i), vectors = neighbour_list(structure, 2.0)
    weight = (1 - vectors.square().sum(dim=1).numpy() / 4) ** 2
    crowding = np.bincount(i.numpy(), weights=weight, minlength=len(structure))
    base = 1.5 - 0.1 * crowding + 0.2 * structure.types
    scale = np.arange(1, n_times + 1)
    rng = np.random.default_rng(seed + 1000)
    propensity = base[:, None] * scale + 0.005 * rng.normal(size=(len(structure), n_times))
    inherent = structure.positions + 0.01 * rng.normal(size=structure.positions.shape)
    return Sample(
        structure,
        10.0 ** np.arange(n_times),
        propensity,
        f"synthetic-{seed}",
        inherent_positions=inherent,
        temperature=0.5,
        tau_alpha=10.0,
        potential="lj/cut",
    )


@pytest.fixture(scope="session")
def structure() -> Structure:
    return make_liquid(125)


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return [make_sample(k) for k in range(4)]
