"""Temperature and times in every program: for the same real frame the same numbers of one model."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from propensity import Predictor, Structure
from tests.lammps_bridge.support import read_dump, run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SMOOTH, NAMES, TEMPERATURE, TIMES = "lj/cut force-shifted", {1: "A", 2: "B"}, 0.45, [10.0, 300.0]
OPTIONS = {"temperature": TEMPERATURE, "times": TIMES, "potential": SMOOTH, "device": "cpu"}
#: Minima and cage states are made from the same numbers; MDAnalysis and dumps round the thermal positions.
NEAR = {"rtol": 0, "atol": 2e-4}


@pytest.fixture(scope="module", params=["ka-liquid", "ka-liquid-cage"])
def model(request) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def frame(tmp_path_factory) -> Path:
    """First frame of the trajectory among the examples."""
    path = tmp_path_factory.mktemp("frame") / "frame.dump"
    with gzip.open(ROOT / "examples" / "ka_T0.44.lammpsdump.gz", "rt") as stream:
        lines = stream.readlines()
    path.write_text("".join(lines[: 9 + int(lines[3])]))
    return path


@pytest.fixture(scope="module")
def liquid(frame) -> Structure:
    (found,) = read_dump(frame)
    return found.structure


@pytest.fixture(scope="module")
def expected(model, liquid) -> np.ndarray:
    predictor = Predictor(model, **OPTIONS)
    assert (predictor.temperature, predictor.times.tolist()) == (TEMPERATURE, TIMES)
    predicted = predictor.predict(liquid)
    colder = Predictor(model, **{**OPTIONS, "temperature": 0.44}).predict(liquid)
    assert abs(predicted.mean(axis=0) / colder.mean(axis=0) - 1).max() > 0.02  # what would be seen below
    return predicted


def test_ase(model, liquid, expected):
    import ase

    from propensity import PropensityCalculator

    atoms = ase.Atoms(liquid.types + 1, liquid.positions, cell=liquid.cell, pbc=True)
    calculator = PropensityCalculator(model, species_map={"H": "A", "He": "B"}, **OPTIONS)
    np.testing.assert_allclose(calculator.get_property("propensities", atoms), expected, **NEAR)
    assert calculator.annotate(atoms).info["propensity_temperature"] == TEMPERATURE


def test_mdanalysis(model, frame, expected):
    mda = pytest.importorskip("MDAnalysis")
    from propensity import PropensityAnalysis

    universe = mda.Universe(str(frame), format="LAMMPSDUMP")
    analysis = PropensityAnalysis(universe, model, species_map=NAMES, **OPTIONS).run()
    assert analysis.results.times.tolist() == TIMES
    np.testing.assert_allclose(analysis.results.propensities[0], expected, **NEAR)


@pytest.mark.parametrize("kind", ["function", "class"])
def test_ovito(model, kind, frame, expected, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    io = pytest.importorskip("ovito.io", reason="needs the package ovito", exc_type=ImportError)
    pipeline = io.import_file(str(frame))
    if kind == "function":
        from propensity.integrations.ovito import propensity_modifier

        pipeline.modifiers.append(propensity_modifier(model, species_map=NAMES, **OPTIONS))
    else:
        from propensity.integrations.ovito_modifier import PropensityModifier

        pipeline.modifiers.append(
            PropensityModifier(
                model=model,
                species_map="1=A,2=B",
                potential=SMOOTH,
                temperature=TEMPERATURE,
                times="10,300",
                device="cpu",
            )
        )
    np.testing.assert_allclose(pipeline.compute(0).particles["propensities"], expected, **NEAR)


def test_command_line(model, frame, expected, tmp_path):
    out = tmp_path / "out.dump"
    words = ["annotate", frame, "-o", out, "-m", model, "--species-map", "1=A,2=B", "--device", "cpu"]
    words += ["--potential", SMOOTH, "--temperature", TEMPERATURE, "--times", "10,300"]
    done = run([sys.executable, "-m", "propensity", *words])
    assert done.returncode == 0 and "answers for T = 0.45" in done.stdout, done.stdout
    lines = out.read_text().splitlines()
    names = lines[8].split()[2:]
    rows = np.array([line.split() for line in lines[9:]], dtype=float)
    columns = [names.index("propensity_t10"), names.index("propensity_t300")]
    np.testing.assert_allclose(rows[:, columns], expected, **NEAR)
    assert json.loads(out.with_name("out.dump.json").read_text())["propensity_temperature"] == TEMPERATURE


def lammps_system(frame: Path, liquid: Structure) -> str:
    edge = float(liquid.cell[0, 0])
    return (
        f"units lj\nregion box block 0 {edge!r} 0 {edge!r} 0 {edge!r}\ncreate_box 2 box\nmass * 1.0\n"
        f"pair_style zero 2.5\npair_coeff * *\nread_dump {frame} {{step}} x y z box yes add yes\n"
    ).replace("{step}", frame.read_text().splitlines()[1])


def test_annotator(model, frame, liquid, expected, tmp_path, lammps_works):
    from lammps_bridge import Annotator
    from propensity.simulate.lammps_library import load_lammps

    out = tmp_path / "out.dump"
    lmp = load_lammps(("-screen", "none", "-log", "none"))
    try:
        lmp.commands_string(lammps_system(frame, liquid))
        with Annotator(lmp, model, species_map=NAMES, **OPTIONS):
            lmp.command(
                f"write_dump all custom {out} id type x y z d2_propensity[1] d2_propensity[2]"
                " modify sort id format float %.17g"
            )
    finally:
        lmp.close()
    np.testing.assert_allclose(read_dump(out)[0].values, expected, **NEAR)


def test_fix(model, frame, liquid, expected, tmp_path, plugin, server):
    out, script = tmp_path / "out.dump", tmp_path / "in.file"
    script.write_text(
        lammps_system(frame, liquid)
        + f'fix p all propensity 1 species A B model {model} potential "{SMOOTH}" temperature {TEMPERATURE}'
        f" times 10 300 server {server}\nrun 0\n"
        f"write_dump all custom {out} id type x y z f_p[1] f_p[2] modify sort id format float %.17g\n"
    )
    done = run([Path(sys.executable).parent / "lmp", "-in", script, "-log", "none"], env=plugin)
    assert done.returncode == 0, done.stdout
    assert f"for temperature {TEMPERATURE}" in done.stdout
    np.testing.assert_allclose(read_dump(out)[0].values, expected, **NEAR)
