"""Quenches where there is a GPU: the same results by another road, for one structure, many, and `convert`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.data.convert import convert
from propensity.errors import DataError, MissingDependencyError
from propensity.physics import cage as cage_module
from propensity.physics import quench
from propensity.physics.gpu import device as device_module
from propensity.sample import Sample
from propensity.structure import Structure
from tests.conftest import make_liquid
from tests.physics.test_gpu_kernels import liquid


@pytest.fixture
def gpu(monkeypatch):
    """The host build in the place of a CUDA device."""
    try:
        host = device_module.HostDevice()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    for module in (device_module, cage_module):
        monkeypatch.setattr(module, "best_device", lambda: host)
    return host


def sample(name: str, seed: int, potential: str | None = "lj/cut force-shifted") -> Sample:
    _, x, types, box = liquid("lj/cut force-shifted", seed=seed)
    structure = Structure(x, types, box)
    return Sample(structure, np.array([1.0]), np.ones((len(x), 1)), name=name, potential=potential)


def test_one_and_many_structures_and_errors_keep_their_places(gpu, monkeypatch):
    samples = [sample("a", 1), sample("b", 2, potential=None), sample("c", 3)]
    found = quench.with_inherent_structures(samples)
    assert isinstance(found[1], DataError)
    one = quench.inherent_structure(samples[0].structure, "lj/cut force-shifted")
    assert found[0].inherent_positions == pytest.approx(one.positions, abs=1e-4)
    monkeypatch.setattr(device_module, "best_device", lambda: None)
    slow = quench.inherent_structure(found[2].structure.with_positions(found[2].inherent_positions))
    assert (
        abs(slow.positions - found[2].inherent_positions).max() < 0.5
    )  # a minimum nearby of the other potential
    again = quench.inherent_structure(
        samples[2].structure.with_positions(found[2].inherent_positions), "lj/cut force-shifted"
    )
    assert again.positions == pytest.approx(found[2].inherent_positions, abs=1e-4)


def test_convert_quenches_in_batches(gpu, tmp_path):
    from propensity.data.store.writer import StoreWriter

    with StoreWriter(tmp_path / "in.h5") as writer:
        for k in range(3):
            writer.add(sample(f"s{k}", k))
        writer.add(
            replace(sample("given", 9), inherent_positions=sample("given", 9).structure.positions + 0.01)
        )
    convert([tmp_path / "in.h5"], tmp_path / "out.h5", quench=True)
    out = {s.name: s for s in open_dataset(tmp_path / "out.h5")}
    assert len(out) == 4
    for s in out.values():
        assert s.inherent_positions is not None
    expected = quench.with_inherent_structures([sample("s1", 1)])[0]
    assert out["s1"].inherent_positions == pytest.approx(expected.inherent_positions, abs=2e-4)
    shift = out["given"].inherent_positions - out["given"].structure.positions
    assert abs(shift - 0.01).max() < 1e-4


@pytest.mark.slow
def test_cage_states_are_those_of_the_processor(gpu, monkeypatch):
    liquid = make_liquid(300)
    (minimum,) = quench.with_inherent_structures(
        [
            Sample(
                liquid,
                np.array([1.0]),
                np.ones((len(liquid), 1)),
                name="a",
                potential="lj/cut force-shifted",
                temperature=0.44,
            )
        ]
    )
    monkeypatch.setattr(cage_module, "STEPS", 1200)
    monkeypatch.setattr(cage_module, "RADII", (0.25, 0.35))
    first, lost = cage_module.with_cage_states([minimum, replace(minimum, temperature=None)])
    assert isinstance(lost, DataError)
    ours = first.cage
    monkeypatch.setattr(cage_module, "best_device", lambda: None)
    structure = minimum.structure.at_minimum(minimum.inherent_positions)
    theirs = cage_module.cage_state(structure, minimum.potential, 0.44, radii=(0.25, 0.35), steps=1200)
    for k in (0, 1):  # narrow and wide walls, in one launch there
        away = ours.offset[k] - theirs.offset[k]
        assert np.sqrt((away**2).mean()) < 3 * np.hypot(ours.error[k], theirs.error[k])
        trace = [np.trace(c.covariance[k], axis1=1, axis2=2).mean() for c in (ours, theirs)]
        assert trace[0] == pytest.approx(trace[1], rel=0.05)
        assert ours.error[k] == pytest.approx(theirs.error[k], rel=0.2)
