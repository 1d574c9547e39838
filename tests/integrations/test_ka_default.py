"""The shipped model through every door: one real configuration, the same numbers."""

from __future__ import annotations

import ase
import ase.io
import numpy as np
import pytest

from propensity import Predictor, PropensityAnalysis, PropensityCalculator
from propensity.demo import load_demo
from propensity.estimators.storage import shipped_models
from propensity.trajectory import annotate
from tests.trajectory.conftest import write_dump

pytestmark = pytest.mark.skipif(
    "ka-default" not in shipped_models(), reason="the trained model is not installed"
)


@pytest.fixture(scope="module")
def demo():
    return load_demo()


@pytest.fixture(scope="module")
def direct(demo):
    return Predictor().predict(demo.structure)


@pytest.fixture(scope="module")
def atoms(demo):
    structure = demo.structure
    symbols = np.array(["Ni", "P"])[structure.types]
    return ase.Atoms(symbols, structure.positions, cell=structure.cell, pbc=True)


def test_every_particle_has_a_sensible_propensity_that_grows_with_time(demo, direct):
    assert np.isfinite(direct).all()
    # The readout is linear, so nothing but training keeps a prediction positive; outliers are rare.
    assert (direct <= 0).mean() < 1e-3
    assert np.all(np.diff(direct.mean(axis=0)) > 0)
    published = np.stack([demo.propensity_at(t) for t in Predictor().times], axis=1)
    assert np.allclose(direct.mean(axis=0), published.mean(axis=0), rtol=0.25)


def test_ase_gives_the_same(atoms, direct):
    calculator = PropensityCalculator(species_map={"Ni": "A", "P": "B"})
    assert np.array_equal(calculator.get_property("propensities", atoms), direct)


def test_mdanalysis_gives_the_same_up_to_float32_positions(tmp_path, demo, direct):
    import MDAnalysis

    path = write_dump(tmp_path / "t.lammpsdump", [demo.structure], origin=0.0)
    universe = MDAnalysis.Universe(str(path), format="LAMMPSDUMP", dt=1.0)
    found = PropensityAnalysis(universe, species_map={1: "A", 2: "B"}).run().results.propensities[0]
    error = np.abs(found - direct) / direct.std(axis=0)
    # A neighbour at the cutoff may be in or out once positions are rounded: rare, and seen by few.
    assert np.quantile(error, 0.99) < 1e-3


@pytest.mark.parametrize(("kind", "tolerance"), [("dump", 1e-5), ("extxyz", 1e-4), ("xtc", 0.2)])
def test_annotated_files_hold_the_same(kind, tolerance, tmp_path, demo, atoms, direct):
    """XTC keeps 1e-3 σ of a position when σ is written as 1 nm."""
    path, topology, scale, labels = tmp_path / f"t.{kind}", None, 1.0, {"Ni": "A", "P": "B"}
    if kind == "dump":
        write_dump(path, [demo.structure])
        labels = {1: "A", 2: "B"}
    elif kind == "extxyz":
        ase.io.write(path, atoms)
    else:
        import MDAnalysis

        universe = MDAnalysis.Universe.empty(4096, 1, atom_resindex=np.zeros(4096, int), trajectory=True)
        universe.add_TopologyAttr("names", np.array(["NI", "P"])[demo.structure.types])
        universe.add_TopologyAttr("resnames", ["LIQ"])
        universe.add_TopologyAttr("resids", [1])
        universe.atoms.positions = demo.structure.positions * 10
        edge = demo.structure.cell[0, 0] * 10
        universe.dimensions = [edge, edge, edge, 90, 90, 90]
        topology, scale, labels = tmp_path / "t.gro", 10.0, {"NI": "A", "P": "B"}
        universe.atoms.write(path)
        universe.atoms.write(topology)
    predictor = Predictor(species_map=labels, length_scale=scale)
    annotate(path, tmp_path / "out.extxyz", predictor, topology)
    back = ase.io.read(tmp_path / "out.extxyz")
    order = np.argsort(back.arrays["id"]) if kind == "dump" else slice(None)
    found = back.arrays["propensities"][order] / scale
    error = np.abs(found - direct) / direct.std(axis=0)
    assert np.quantile(error, 0.99) < tolerance
