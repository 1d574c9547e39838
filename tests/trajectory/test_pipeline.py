"""Frames side by side: the order, the numbers and the errors of one after another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from propensity.predictor import Predictor
from propensity.trajectory import annotate
from propensity.trajectory.pipeline import in_order, threads_side_by_side
from tests.conftest import make_liquid
from tests.trajectory.conftest import write_dump


def test_results_come_in_order_and_few_items_are_taken_ahead():
    taken, gate = [], threading.Event()

    def items():
        for k in range(20):
            taken.append(k)
            yield k

    def work(k):
        if k == 0:
            gate.wait(120)  # the first is the slowest
        return k * k

    with ThreadPoolExecutor(3) as pool:
        results = in_order(items(), lambda k: pool.submit(work, k), lambda: 5)
        threading.Timer(0.2, gate.set).start()
        assert next(results) == 0
        assert taken == list(range(5))
        assert list(results) == [k * k for k in range(1, 20)]


@pytest.mark.parametrize("broken", [0, 1, 7])
def test_an_item_that_cannot_be_read_comes_after_those_before_it(broken):
    def items():
        yield from range(broken)
        raise ValueError("broken")

    found = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="broken"):
        for k in in_order(items(), lambda k: pool.submit(abs, k), lambda: 4):
            found.append(k)
    assert found == list(range(broken))


def test_what_nobody_waits_for_is_not_begun():
    begun, gate = [], threading.Event()

    def work(k):
        begun.append(k)
        if k:
            gate.wait(120)
        return k

    with ThreadPoolExecutor(1) as pool:
        results = in_order(iter(range(9)), lambda k: pool.submit(work, k), lambda: 5)
        assert next(results) == 0
        results.close()
        gate.set()
    assert len(begun) <= 2


def test_threads_are_shared_out_and_given_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with threads_side_by_side(2) as submit:
            assert submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("suffix", ["dump", "extxyz", "h5"])
def test_workers_change_no_bit(suffix, tmp_path, tiny_model):
    random = np.random.default_rng(0)
    frame = make_liquid(150)
    frames = [frame.with_positions(frame.positions + 0.02 * random.normal(size=(150, 3))) for _ in range(12)]
    path = write_dump(tmp_path / "t.dump", frames)
    predictor = Predictor(tiny_model, species_map={1: "A", 2: "B"})
    outputs = []
    for workers in (1, 3):
        annotate(path, tmp_path / f"{workers}.{suffix}", predictor, workers=workers)
        outputs.append((tmp_path / f"{workers}.{suffix}").read_bytes())
    if suffix == "h5":
        import h5py

        with h5py.File(tmp_path / "1.h5") as one, h5py.File(tmp_path / "3.h5") as three:
            for name in ("position", "propensity", "id", "box/edges"):
                a, b = (file[f"particles/all/{name}/value"][:] for file in (one, three))
                assert len(a) == 12
                np.testing.assert_array_equal(a, b)
    else:
        assert outputs[0] == outputs[1]
