from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from propensity.data import StoreWriter
from tests.estimators.conftest import make_sample


@pytest.fixture(scope="session")
def stores(tmp_path_factory) -> dict[str, Path]:
    """Two state points with four training and three test structures each, times differing."""
    folder = tmp_path_factory.mktemp("stores")
    paths = {}
    for name, temperature, shift in (("hot", 0.6, 0), ("cold", 0.4, 50)):
        for part, seeds in (("train", range(4)), ("test", range(10, 13))):
            paths[f"{name}_{part}"] = folder / f"{name}_{part}.h5"
            with StoreWriter(paths[f"{name}_{part}"]) as writer:
                for seed in seeds:
                    sample = make_sample(seed + shift, n=64)
                    factor = 1 if name == "hot" else 10
                    writer.add(
                        dataclasses.replace(
                            sample,
                            temperature=temperature,
                            times=sample.times * factor,
                            tau_alpha=10.0 * factor,
                            name=f"{name}-{part}-{seed}",
                        )
                    )
    return paths


@pytest.fixture
def hot(stores) -> str:
    return f"{stores['hot_train']}:{stores['hot_test']}"


@pytest.fixture
def cold(stores) -> str:
    return f"{stores['cold_train']}:{stores['cold_test']}"
