"""A labelled toy liquid whose propensity follows from the neighbourhood, and a network that is quick to
train."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from propensity.data import Sample
from propensity.graph import build_graph
from tests.conftest import make_liquid

#: Options of a network that trains in about a second.
SMALL: dict[str, Any] = {
    "l_max": 1,
    "channels": 2,
    "n_layers": 2,
    "epochs": 4,
    "dropout": 0.3,
    "learning_rate": 1e-2,
    "milestones": (2,),
    "kernel": "reference",
    "device": "cpu",
    "progress": False,
}


def make_sample(seed: int, **changes: Any) -> Sample:
    """Propensities at two times: the number of near neighbours, with and without noise."""
    structure = make_liquid(seed=seed)
    shown = changes.get("structure", structure)  # whose minimum it is
    rng = np.random.default_rng(seed)
    graph = build_graph(structure, 1.3)
    degree = np.bincount(graph.edge_index[1].numpy(), minlength=len(structure)).astype(float)
    labels = np.stack([0.5 - 0.03 * degree + 0.1 * structure.types, 1.0 - 0.05 * degree], axis=1)
    labels[:, 1] += 0.05 * rng.normal(size=len(structure))
    values = {
        "structure": structure,
        "times": np.array([1.0, 10.0]),
        "propensities": labels,
        "name": f"toy/{seed}",
        "inherent_positions": shown.positions + 0.02 * rng.normal(size=(len(shown), 3)),
        "halves": labels + 0.02 * rng.normal(size=(2, *labels.shape)),
        "temperature": 0.5,
        "tau_alpha": 10.0,
        "source": "toy",
    }
    return Sample(**{**values, **changes})


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return [make_sample(seed) for seed in range(9)]
