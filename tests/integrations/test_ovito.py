"""The modifier gives OVITO the numbers of the predictor."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.predictor import Predictor
from propensity.trajectory import open_trajectory
from tests.trajectory.conftest import LAMMPS


@pytest.fixture
def pipeline(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    io = pytest.importorskip("ovito.io", reason="needs the package ovito", exc_type=ImportError)
    return io.import_file(str(LAMMPS / "scaled.lammpstrj"))


def test_every_frame_is_predicted(pipeline, tiny_model):
    from propensity.integrations.ovito import propensity_modifier

    pipeline.modifiers.append(propensity_modifier(tiny_model, species_map={1: "A", 2: "B"}, dtype="float64"))
    predictor = Predictor(tiny_model, dtype="float64")
    for k, frame in enumerate(open_trajectory(LAMMPS / "scaled.lammpstrj")):
        data = pipeline.compute(k)
        expected = predictor.predict(frame.structure(("A", "B"), {1: "A", 2: "B"}))
        assert np.allclose(data.particles["propensities"], expected, rtol=1e-8)
        assert np.allclose(data.particles["propensity"], expected[:, 2], rtol=1e-8)
        assert list(data.particles["propensities"].component_names) == ["t=1", "t=10", "t=100"]


def test_species_that_are_not_mapped_are_named(pipeline, tiny_model):
    from propensity.integrations.ovito import propensity_modifier

    pipeline.modifiers.append(propensity_modifier(tiny_model))
    with pytest.raises(Exception, match=r"'1', '2'.*'A', 'B'"):
        pipeline.compute()


def test_the_modifier_of_the_menus(pipeline, tiny_model):
    from importlib.metadata import entry_points

    found = [
        entry for entry in entry_points(group="OVITO.Modifier") if entry.module.startswith("propensity.")
    ]
    assert [entry.name for entry in found] == ["Propensity"]
    modifier = found[0].load()(model=str(tiny_model), species_map="1=A, 2=B")
    pipeline.modifiers.append(modifier)
    expected = Predictor(tiny_model).predict(
        next(iter(open_trajectory(LAMMPS / "scaled.lammpstrj"))).structure(("A", "B"), {1: "A", 2: "B"})
    )
    assert np.allclose(pipeline.compute(0).particles["propensities"], expected, rtol=1e-5)
    # A changed parameter makes the pipeline evaluate again.
    modifier.species_map = "1=A"
    with pytest.raises(Exception, match="'2'"):
        pipeline.compute(0)
