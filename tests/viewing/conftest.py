"""Scenes of small liquids, annotated files, and a run folder."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.structure import Structure
from propensity.viewing import Scene, SceneFrame
from tests.conftest import make_liquid


def make_scene(
    n_frames: int = 3, n: int = 200, times: tuple[float, ...] = (1.0, 10.0, 100.0), source: str = "made.h5"
) -> Scene:
    """Predictions and labels that correlate at .8, with halves; one B particle is unknown."""
    frames = []
    for k in range(n_frames):
        structure = make_liquid(n, seed=k)
        rng = np.random.default_rng(k)
        simulated = 0.1 + rng.random((n, len(times))) * (1 + structure.types[:, None])
        predicted = 0.8 * simulated + 0.2 * rng.random((n, len(times)))
        predicted[np.flatnonzero(structure.types == 1)[0]] = np.nan
        halves = simulated + 0.05 * rng.standard_normal((2, n, len(times)))
        fields = {"predicted": predicted, "simulated": simulated}
        sizes = np.array([1.0, 0.88])[structure.types]
        frames.append(SceneFrame(f"frame {k}", structure, np.arange(n) + 1, fields, sizes, float(k), halves))
    return Scene(source, ("A", "B"), np.array(times), 1, frames)


@pytest.fixture
def scene() -> Scene:
    """Three frames of 200 particles at three times."""
    return make_scene()


def planar(n: int = 100) -> Structure:
    """Particles in a plane, two species."""
    rng = np.random.default_rng(0)
    side = int(np.sqrt(n))
    sites = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)
    return Structure(sites + 0.2 * rng.random((n, 2)), rng.integers(0, 2, n), float(side))
