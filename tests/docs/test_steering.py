"""The Python of docs/steering.md runs as it stands, with a tiny model for the trained one; options exist."""

from __future__ import annotations

import re
from pathlib import Path

import ase
import pytest

from propensity.errors import PropensityWarning
from tests.conftest import make_liquid, make_tiny_model

PAGE = (Path(__file__).parents[2] / "docs" / "steering.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_snippets(tmp_path, monkeypatch):
    from propensity.physics.kob_andersen import KobAndersen

    monkeypatch.chdir(tmp_path)
    make_tiny_model(tmp_path / "smooth", envelope=True)
    liquid = make_liquid()
    atoms = ase.Atoms(numbers=liquid.types + 1, positions=liquid.positions, cell=liquid.cell, pbc=True)
    names = {"structure": liquid, "atoms": atoms, "interaction": KobAndersen()}
    assert len(SNIPPETS) == 3 and PropensityWarning
    for number, code in enumerate(SNIPPETS):
        exec(compile(code, f"steering.md snippet {number}", "exec"), names)
    assert names["gradient"].shape == names["forces"].shape == names["slope"].shape == (120, 3)
    assert names["last"].irreps == "4x0e+4x1e"


def test_options_exist():
    from propensity.cli import describe
    from propensity.estimators.gated import GatedOptions
    from propensity.estimators.training_config import TrainingConfig

    assert {"model", "layer"} <= {parameter.name for parameter in describe.command.params}
    for option in re.findall(r"--([a-z-]+)", " ".join(re.findall(r"propensity train .*", PAGE))):
        name = option.removeprefix("no-").replace("-", "_")
        assert name == "model" or name in TrainingConfig.model_fields or name in GatedOptions.model_fields
