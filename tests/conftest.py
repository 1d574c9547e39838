"""Fixtures for every test: a small liquid, a tiny model on disk, the shared data where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from propensity.estimators.card import Card
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.storage import save_model
from propensity.nn import SE3GNN
from propensity.structure import Structure

SHARED = Path(os.environ.get("PROPENSITY_SHARED", Path(__file__).parents[2] / "shared"))

torch.set_num_threads(1)


@pytest.fixture
def shared() -> Path:
    """Folder of the large data sets; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the large data sets in {SHARED} (set PROPENSITY_SHARED)")
    return SHARED


def make_liquid(n: int = 120, density: float = 1.2, seed: int = 0) -> Structure:
    """Particles on a jittered cubic lattice: no two coincide, four of five are A."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(n ** (1 / 3)))
    length = (n / density) ** (1 / 3)
    sites = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = (sites[rng.permutation(len(sites))[:n]] + 0.3 * rng.random((n, 3))) * length / side
    return Structure(positions, rng.permutation(np.arange(n) % 5 == 4).astype(int), length)


@pytest.fixture
def liquid() -> Structure:
    """120 particles at the Kob–Andersen density and composition."""
    return make_liquid()


def make_tiny_model(folder: Path, seed: int = 0, envelope: bool = False, **card: object) -> Path:
    """Save a random network (l_max 1, two layers, three times) whose batch norm has seen a liquid."""
    from propensity.graph import build_graph

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = SE3GNN(
            2, 3, l_max=1, n_layers=2, readout="species", dropout=0.0, envelope=envelope, kernel="reference"
        )
        network.train()
        for k in range(3):
            network(build_graph(make_liquid(seed=k), network.cutoff))
    values = {
        "kind": "se3gnn",
        "name": "tiny",
        "config": network.config,
        "species": ("A", "B"),
        "cutoff": 2.0,
        "times": (1.0, 10.0, 100.0),
        "default_time_index": 2,
        "density": 1.2,
        "composition": (0.8, 0.2),
        "target_mean": [[0.1, 0.2, 0.4], [0.2, 0.4, 0.8]],
        "target_std": [[0.02, 0.05, 0.1], [0.05, 0.1, 0.2]],
    }
    return save_model(folder, SE3Estimator(network, Card(**{**values, **card})))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small random model with a complete card: two species, three times."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_committee(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model whose card names another one beside it, and their calibrated errors."""
    folder = tmp_path_factory.mktemp("committee")
    make_tiny_model(folder / "second", seed=1)
    error = np.array([[[0.01, 0.0, 0.0]] * 3, [[0.04, 0.0, 0.0]] * 3]).tolist()
    return make_tiny_model(folder / "first", committee=["second"], uncertainty={"error": error})
