"""Frames side by side: the order, the numbers and the errors of one after another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from propensity.predictor import Predictor
from propensity.trajectory import annotate, open_trajectory, open_writer
from propensity.trajectory.pipeline import in_order, threads_side_by_side
from propensity.trajectory.work import annotated_by_processes
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


def by_processes(path, output, predictor, topology=None):
    """What ``annotate`` does with several workers where the device is a GPU."""
    with open_writer(output, predictor) as writer:
        for done in annotated_by_processes(open_trajectory(path, topology), predictor, writer, 2):
            writer.append(done.prepared)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["dump", "extxyz", "traj", "dcd", "gsd"])
def test_processes_change_no_bit(suffix, tmp_path, tiny_model):
    random = np.random.default_rng(0)
    liquid = make_liquid(150)
    frames = [
        liquid.with_positions(liquid.positions + 0.02 * random.normal(size=(150, 3))) for _ in range(12)
    ]
    path, topology = write_dump(tmp_path / "t.dump", frames), None
    predictor = Predictor(tiny_model, species_map={1: "A", 2: "B"}, device="cpu")
    if suffix in ("extxyz", "traj"):
        annotate(path, tmp_path / f"t.{suffix}", predictor)
        path = tmp_path / f"t.{suffix}"
    elif suffix == "dcd":
        MDAnalysis = pytest.importorskip("MDAnalysis")
        universe = MDAnalysis.Universe.empty(150, trajectory=True)
        universe.add_TopologyAttr("types", (liquid.types + 1).astype(str).astype(object))
        universe.add_TopologyAttr("masses", np.ones(150))
        with MDAnalysis.Writer(str(tmp_path / "t.dcd"), 150) as stream:
            for frame in frames:
                universe.atoms.positions = frame.positions
                universe.trajectory.ts.dimensions = [*np.diag(frame.cell), 90, 90, 90]
                stream.write(universe.atoms)
        topology = tmp_path / "t.data"
        topology.write_text(as_data(liquid))
        path = tmp_path / "t.dcd"
    elif suffix == "gsd":
        hoomd = pytest.importorskip("gsd.hoomd")
        with hoomd.open(str(tmp_path / "t.gsd"), "w") as stream:
            for frame in frames:
                snapshot = hoomd.Frame()
                snapshot.particles.N, snapshot.particles.types = 150, ["1", "2"]
                snapshot.particles.typeid, snapshot.particles.position = frame.types, frame.positions
                snapshot.configuration.box = [*np.diag(frame.cell), 0, 0, 0]
                stream.append(snapshot)
        path = tmp_path / "t.gsd"
    annotate(path, tmp_path / "one.dump", predictor, topology, workers=1)
    by_processes(path, tmp_path / "two.dump", predictor, topology)
    assert (tmp_path / "one.dump").read_bytes() == (tmp_path / "two.dump").read_bytes()


def as_data(structure) -> str:
    """LAMMPS data file of a liquid."""
    edge = float(structure.cell[0, 0])
    rows = "\n".join(
        f"{i + 1} {t + 1} {x!r} {y!r} {z!r}"
        for i, (t, (x, y, z)) in enumerate(zip(structure.types, structure.positions.tolist(), strict=True))
    )
    box = "".join(f"0.0 {edge!r} {axis}lo {axis}hi\n" for axis in "xyz")
    return f"liquid\n\n{len(structure)} atoms\n2 atom types\n{box}\nAtoms # atomic\n\n{rows}\n"
