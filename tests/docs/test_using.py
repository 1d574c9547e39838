"""The snippets of docs/using.md run as they stand (with a tiny model in place of the shipped one)."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from propensity.data import StoreWriter
from tests.conftest import make_liquid, make_tiny_model
from tests.data.conftest import make_sample
from tests.trajectory.conftest import write_dump

DOCS = Path(__file__).parents[2] / "docs" / "using.md"
SNIPPETS = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)


def know_the_store():
    """As the entry point of a new installation makes it known; older ones of a clone lack it."""
    from importlib.metadata import EntryPoint

    from ase.io.formats import define_external_io_format, ioformats

    if "propensity-store" not in ioformats:
        entry = "propensity.integrations.ase_formats:STORE"
        define_external_io_format(EntryPoint("propensity-store", entry, "ase.ioformats"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files and the model that the page names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    know_the_store()
    make_tiny_model(tmp_path / "ka-default", times=(0.13, 130.0, 4120.0))
    frames = [make_liquid(seed=1)] * 11
    write_dump(tmp_path / "trajectory.dump", frames)
    shutil.copy("trajectory.dump", "run.lammpstrj")
    atoms = ase.Atoms(
        np.array(["Ni", "P"])[frames[0].types], frames[0].positions, cell=frames[0].cell, pbc=True
    )
    ase.io.write("liquid.extxyz", atoms)
    with StoreWriter("data.h5") as writer:
        for name in ("a", "b"):
            writer.add(make_sample(name))
    return frames[0]


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet(number, here):
    code = SNIPPETS[number]
    if "ovito" in code:
        pytest.importorskip("ovito.io", reason="needs the package ovito", exc_type=ImportError)
    names = {"positions": here.positions, "types": here.types, "structure": here}
    if "dynamics.attach" in code:
        from ase.calculators.lj import LennardJones
        from ase.md.verlet import VelocityVerlet

        names["atoms"] = ase.io.read("liquid.extxyz")
        names["atoms"].calc = LennardJones()
        names["dynamics"] = VelocityVerlet(names["atoms"], 1e-4)
    if code.startswith("predictor.") or "plot_propensity" in code:
        from propensity import Predictor

        names["predictor"] = Predictor("ka-default")
    code = code.replace('backend="multiprocessing", n_workers=4', "").replace("cell=15.06", "cell=4.64158883")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="MDAnalysis")
        exec(compile(code, f"using.md snippet {number}", "exec"), names)
    if "dynamics" in names:
        names["dynamics"].run(1)
        assert Path("run.extxyz").exists()
    if "pipeline" in names:
        assert "Color" in names["pipeline"].compute().particles
    if "analysis" in names:
        assert names["analysis"].results.propensities.shape == (2, 120, 3)
    if "calc" in names:
        assert ase.io.read("annotated.extxyz").arrays["propensities"].shape == (120, 3)
