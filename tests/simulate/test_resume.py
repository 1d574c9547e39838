"""Killed at random, again and again, a data set comes out as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from propensity.archive import read_archive
from propensity.data import open_dataset
from propensity.errors import InputError
from propensity.simulate import make_engine, simulate_propensities
from propensity.simulate.pieces import pack_microstate, unpack_microstate
from tests.simulate.helpers import lammps_engine, small_settings

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).parents[1] / "fixtures"


def start(*arguments) -> subprocess.Popen:
    scratch = Path(arguments[0]).parent / "scratch"
    scratch.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(scratch)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.simulate.program", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*arguments) -> None:
    process = start(*arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err


def assert_same(a: Path, b: Path) -> None:
    first, second = open_dataset(a), open_dataset(b)
    assert first.names == second.names and len(first) == 3
    for x, y in zip(first, second, strict=True):
        for name in ("propensities", "halves", "squared_displacement", "fs", "inherent_positions", "times"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name), err_msg=name)
        np.testing.assert_array_equal(x.structure.positions, y.structure.positions)
        np.testing.assert_array_equal(x.structure.types, y.structure.types)
        assert (x.tau_alpha, x.group, x.source) == (y.tau_alpha, y.group, y.source)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    lammps_engine()
    folder = tmp_path_factory.mktemp("whole")
    finish(folder / "a.h5", folder / "log")
    return folder / "a.h5"


def pieces(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("[!.]*.npz")
    }


def test_killed_at_random(uninterrupted, tmp_path):
    rng = random.Random(20)
    output, log = tmp_path / "a.h5", tmp_path / "log"
    work = tmp_path / "a.h5.work"
    total = len((uninterrupted.parent / "log").read_text().split())
    kills, before = 0, {}
    while kills < 3:
        process = start(output, log)
        # At least some progress each time, then death at any moment.
        target = len(before) + rng.randint(1, total // 8)
        while process.poll() is None and len(list(work.rglob("[!.]*.npz"))) < target:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.1)
        workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if not work.exists():
            break
        kills += 1
        _, alive = psutil.wait_procs([w for w in workers if w.is_running()], timeout=120)
        assert not alive, "workers outlive their parent"
        assert list((tmp_path / "scratch").iterdir()) == [], "scratch files outlive the run"
        after = pieces(work)
        for key, content in before.items():
            assert after[key] == content, f"{key} was lost or made again"
        before = after
    assert kills == 3 and before and not output.exists()
    finish(output, log)
    assert_same(uninterrupted, output)
    stored = log.read_text().split()
    assert len(stored) == len(set(stored)), "a piece was made twice"
    assert not work.exists() and not (tmp_path / "a.h5.parts").exists()
    reports = [json.loads(Path(f"{p}.report.json").read_text()) for p in (uninterrupted, output)]
    assert reports[0] == reports[1]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_stopped_politely(tmp_path, name):
    """Ctrl-C and the end of a batch job: one line, nothing left running, nothing lost."""
    lammps_engine()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    words = (
        f"kob-andersen --temperature 0.6 --times 0.1:1:3 --n-particles 500 --workers 1 -o {tmp_path}/out/a.h5"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "propensity.cli.main", "simulate", *words.split()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "out" / "a.h5.work" / "stored.log"
    # A log that is there may not have its first line yet.
    while process.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(getattr(signal, name))
    err = process.communicate(timeout=1200)[1]
    assert process.returncode == 130 and "the same command goes on" in err and "Traceback" not in err
    assert not psutil.wait_procs(workers, timeout=120)[1]
    assert [p.name for p in tmp_path.iterdir()] == ["out"] and log.read_text()


def test_killed_between_the_data_set_and_the_end(uninterrupted, tmp_path):
    """The store is whole and pieces are still there: they go, and nothing is computed."""
    settings = small_settings()
    output = tmp_path / "a.h5"
    output.write_bytes(uninterrupted.read_bytes())
    work = tmp_path / "a.h5.work"
    work.mkdir()
    (work / "settings.json").write_text(json.dumps(settings.identity()))
    (work / "x.npz").write_bytes(b"")
    simulate_propensities(settings, output, make_engine("lammps"), quiet=True)
    assert not work.exists() and output.read_bytes() == uninterrupted.read_bytes()


def test_a_finished_data_set_is_left_alone(uninterrupted, tmp_path):
    before = uninterrupted.read_bytes()
    report = simulate_propensities(small_settings(), uninterrupted, make_engine("lammps"), quiet=True)
    assert report["equilibration"]["tau_alpha"] > 0
    with pytest.raises(InputError, match="begun with runs 4, and now it is 6"):
        simulate_propensities(small_settings(runs=6), uninterrupted, make_engine("lammps"), quiet=True)
    other = tmp_path / "other.h5"
    other.write_bytes(b"something")
    with pytest.raises(InputError, match="wasn't made by simulate"):
        simulate_propensities(small_settings(), other, make_engine("lammps"), quiet=True)
    assert uninterrupted.read_bytes() == before and other.read_bytes() == b"something"


def test_dask_gives_the_same(uninterrupted, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=None, processes=True
    ) as cluster:
        finish(tmp_path / "a.h5", tmp_path / "log", cluster.scheduler_address)
    assert_same(uninterrupted, tmp_path / "a.h5")


def test_pieces_from_before_a_renaming_are_read():
    old = unpack_microstate(read_archive(FIXTURES / "piece_v1.npz"))
    again = unpack_microstate(pack_microstate(old))
    assert old.positions.shape == (24, 3) and old.diameters[-1] == 1.1
    for name in ("positions", "velocities", "types", "box", "masses", "diameters"):
        np.testing.assert_array_equal(getattr(again, name), getattr(old, name), err_msg=name)
