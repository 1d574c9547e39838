"""Frames annotated by the workers of a Dask cluster: the same file, in order, whatever dies."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.errors import InputError
from propensity.predictor import Predictor
from propensity.trajectory import BrokenFrameError, annotate, open_trajectory
from propensity.trajectory import work as module
from tests.conftest import make_liquid, make_tiny_model
from tests.trajectory.conftest import write_dump
from tests.workers.cluster import Cluster


@pytest.fixture
def cluster(tmp_path):
    found = Cluster(tmp_path)
    yield found
    found.close()


def trajectory(path, n):
    random = np.random.default_rng(0)
    frame = make_liquid(120)
    return write_dump(
        path, [frame.with_positions(frame.positions + 0.02 * random.normal(size=(120, 3))) for _ in range(n)]
    )


def test_a_killed_worker_changes_nothing(cluster, tmp_path, tiny_model, monkeypatch):
    """Models travel: workers see no file of this machine."""
    monkeypatch.setattr(module, "_FRAMES", 2)
    path = trajectory(tmp_path / "t.dump", 40)
    models = [tiny_model, make_tiny_model(tmp_path / "other", seed=1)]
    predictor = Predictor(models, species_map={1: "A", 2: "B"}, device="cpu")
    annotate(path, tmp_path / "here.dump", predictor)
    first = cluster.worker("one")
    seen = []

    def kill_one(frames, summary):
        if summary.n_frames == 1:
            cluster.worker("two")
            first.kill()
        seen.append(summary.n_frames)

    annotate(path, tmp_path / "there.dump", predictor, scheduler=cluster.address, progress=kill_one)
    assert seen == list(range(1, 41))
    assert (tmp_path / "there.dump").read_bytes() == (tmp_path / "here.dump").read_bytes()


@pytest.mark.parametrize("suffix", ["extxyz", "h5"])
def test_frames_before_a_broken_one_are_saved(suffix, cluster, tmp_path, tiny_model):
    path = trajectory(tmp_path / "t.dump", 7)
    lines = path.read_text().splitlines()
    lines[5 * (len(lines) // 7) + 40] = "nonsense"
    path.write_text("\n".join(lines) + "\n")
    cluster.worker("one")
    predictor = Predictor(tiny_model, species_map={1: "A", 2: "B"}, device="cpu")
    with pytest.raises(BrokenFrameError, match=r"frame 5 can't be read: .*; the 5 frame"):
        annotate(path, tmp_path / f"out.{suffix}", predictor, scheduler=cluster.address)
    if suffix == "extxyz":
        assert len(list(open_trajectory(tmp_path / "out.extxyz"))) == 5


def test_workers_beside_a_scheduler_are_refused(tmp_path, tiny_model):
    with pytest.raises(InputError, match="threads of this machine and scheduler is a cluster"):
        annotate("t.dump", tmp_path / "o.dump", Predictor(tiny_model), workers=2, scheduler="tcp://x:1")
