"""A bias in LAMMPS, by `fix propensity ... bias` and by the annotator: forces, energy, ranks, bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from propensity.bias import Bias, Harmonic, Linear
from propensity.predictor import Predictor
from tests.conftest import make_tiny_model
from tests.estimators.test_gradients import gated
from tests.lammps_bridge.support import CASES, SPECIES_MAP, Case, read_dump, run, system, write_data

pytestmark = pytest.mark.filterwarnings(
    "ignore:(number density|composition|the structure is open|the model .* has rectifiers)"
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "ka_T0.56_smooth"
LMP = Path(sys.executable).parent / "lmp"
THERMO = "thermo_style custom step pe f_p f_p[1]\nthermo_modify format float %.12g norm no\nthermo 1\n"
FORCES = "dump d all custom 1 {} id type x y z fx fy fz\ndump_modify d sort id format float %.17g\n"


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network with an envelope."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "soft", envelope=True)


@pytest.fixture
def lmp(tmp_path: Path, plugin: dict[str, str]) -> Callable:
    """Run an input after the definition of a system; returns output, fails unless told to."""

    def execute(text: str, ranks: int = 1, case: Case = CASES["periodic"], fails: bool = False) -> str:
        data = write_data(tmp_path / "in.data", case)
        script = tmp_path / "in.file"
        script.write_text(system(data, case) + text)
        done = run([LMP, "-in", script, "-log", "none"], ranks, plugin, tmp_path)
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    return execute


def table(output: str) -> np.ndarray:
    """Columns after the step of thermodynamic output."""
    rows = [line.split() for line in output.splitlines()]
    return np.array([row for row in rows if len(row) == 4 and row[0].isdigit()], dtype=float)


@pytest.mark.parametrize("case", ["periodic", "triclinic", "gapped"])
def test_fix_adds_energy_and_forces(
    case: str, ranks: int, lmp: Callable, server: str, soft: Path, tmp_path: Path
) -> None:
    """Of a group, with and without the bias: the differences are what the predictor says."""
    fix = f"fix p big propensity 1 species A B model {soft} server {server} times 10"
    seen = {}
    for name, more in (("with", " bias harmonic 40000 0.2\nfix_modify p energy yes"), ("without", "")):
        text = f"group big type 1\n{fix}{more}\n{THERMO}{FORCES.format(tmp_path / name)}run 0"
        output = lmp(text, ranks, CASES[case])
        assert ("has rectifiers, at which the forces of a bias have steps" in output) == (name == "with")
        seen[name] = table(output), read_dump(tmp_path / name)[0]
    (with_bias, frame), (without, plain) = seen["with"], seen["without"]
    predictor = Predictor(soft, device="cpu", times=10)
    group = frame.structure.types == 0
    expected = Bias(predictor, Harmonic(40000, 0.2))(frame.structure, group)
    assert with_bias[0, 2] == pytest.approx(expected.energy, rel=1e-5)
    assert with_bias[0, 3] == pytest.approx(expected.mean, rel=1e-5)
    assert without[0, 2] == pytest.approx(expected.mean, rel=1e-5)
    assert with_bias[0, 1] - without[0, 1] == pytest.approx(expected.energy, rel=1e-4)
    scale = np.abs(expected.forces).max()
    assert np.abs(frame.values - plain.values - expected.forces).max() < 1e-4 * scale
    assert scale > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "strength"), [("random", 30000), ("example", 10000)])
def test_energy_is_conserved(
    name: str, strength: float, ranks: int, lmp: Callable, server: str, tmp_path: Path
) -> None:
    """The total energy, by ``fix_modify energy yes``, strays by a quarter at half the timestep, and by a
    fraction of what the bias gives and takes; with random weights and with those of the trained example.
    """
    model, away = gated(tmp_path / "smooth") if name == "random" else EXAMPLE, []
    for timestep in (0.002, 0.001):
        text = (
            "unfix nve\npair_style lj/smooth/linear 2.5\npair_coeff 1 1 1.0 1.0 2.5\n"
            "pair_coeff 1 2 1.5 0.8 2.0\npair_coeff 2 2 0.5 0.88 2.2\nminimize 0 1 100 1000\n"
            f"reset_timestep 0\ntimestep {timestep}\nfix nve all nve\ngroup big type 1\n"
            f"fix p big propensity 1 species A B model {model} server {server} bias linear {strength}\n"
            "fix_modify p energy yes\nthermo_style custom step etotal f_p f_p[1]\n"
            f"thermo_modify format float %.12g norm no\nthermo 1\nrun {round(0.04 / timestep)}"
        )
        _, total, given, _ = table(lmp(text, ranks))[-round(0.04 / timestep) - 1 :].T
        assert np.ptp(total) < 0.02 * np.ptp(given)
        away.append(np.sqrt(np.mean((total - total[0]) ** 2)))
    assert 3.6 < away[0] / away[1] < 4.4


def test_fix_acts_in_impulses(lmp: Callable, server: str, soft: Path, tmp_path: Path) -> None:
    """Every third step, three times as large; in between not at all."""
    fix = f"fix p all propensity 3 species A B model {soft} server {server} bias linear 30000\n"
    lmp(f"{fix}{FORCES.format(tmp_path / 'd')}run 7")
    predictor = Predictor(soft, device="cpu")
    frames = read_dump(tmp_path / "d")
    rerun = f"{FORCES.format(tmp_path / 'plain')}rerun {tmp_path / 'd'} dump x y z box yes"
    lmp(rerun)
    for frame, plain in zip(frames, read_dump(tmp_path / "plain"), strict=True):
        expected = 3 * Bias(predictor, Linear(30000))(frame.structure).forces
        scale = np.abs(expected).max()
        acts = frame.step % 3 == 0
        assert np.abs(frame.values - plain.values - acts * expected).max() < 1e-3 * scale and scale > 0.1


SCRIPT = """
import sys, json
import numpy as np
from lammps_bridge import Annotator
from propensity.bias import Linear
from propensity.simulate.lammps_library import load_lammps
lmp = load_lammps(("-screen", "none", "-log", "none", "-nocite"))
lmp.commands_string(open(sys.argv[1]).read())
with Annotator(lmp, sys.argv[2], every=1, species_map={1: "A", 2: "B"}, bias=Linear(30000.0)) as annotator:
    lmp.commands_string("fix_modify propensity energy yes\\nthermo_style custom step pe etotal\\n"
                        "thermo_modify norm no\\nrun 0")
    before, energy, mean = lmp.get_thermo("pe"), annotator.energy, annotator.mean[0]
    lmp.commands_string("fix_modify propensity energy no\\nrun 0")
    added = before - lmp.get_thermo("pe")
    lmp.commands_string(sys.argv[3] + "\\nrun 3\\nundump d")
if lmp.extract_setting("world_rank") == 0:
    print("FOUND " + json.dumps([energy, mean, added]))
"""


@pytest.mark.slow
def test_annotator(ranks: int, soft: Path, tmp_path: Path) -> None:
    import json

    case = CASES["periodic"]
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "in.file").write_text(system(write_data(tmp_path / "in.data", case), case))
    forces = FORCES.format(tmp_path / "d")
    done = run([sys.executable, tmp_path / "script.py", tmp_path / "in.file", soft, forces], ranks)
    assert done.returncode == 0, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("FOUND"))
    energy, mean, added = json.loads(line.removeprefix("FOUND "))
    assert energy == pytest.approx(30000 * mean, rel=1e-6)
    assert added == pytest.approx(energy, rel=1e-6)
    predictor, frames = Predictor(soft, device="cpu", species_map=SPECIES_MAP), read_dump(tmp_path / "d")
    first = Bias(predictor, Linear(30000.0))(frames[0].structure)
    assert energy == pytest.approx(first.energy, rel=1e-5)
    from propensity.physics.kob_andersen import KobAndersen

    for frame in frames:
        import ase

        s = frame.structure
        atoms = ase.Atoms(numbers=s.types + 1, positions=s.positions, cell=s.cell, pbc=True)
        atoms.calc = KobAndersen()
        expected = Bias(predictor, Linear(30000.0))(s).forces
        scale = np.abs(expected).max()
        assert np.abs(frame.values - atoms.get_forces() - expected).max() < 1e-3 * scale and scale > 0.1


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ("cubic 3", "bias is 'cubic 3': give 'linear λ' or 'harmonic k q0'"),
        ("harmonic 3", "bias is 'harmonic 3': give"),
        ("linear x", "bias is 'linear x': x must be numbers"),
        ("linear nan", "strength is nan: give a finite number"),
        ("harmonic -1 0.3", "stiffness is -1, which pushes away from the centre"),
        ("", "keyword 'bias' has 0 values"),
        ("linear 1 bias linear 2", "keyword 'bias' is there twice"),
    ],
)
def test_bad_bias(bias: str, message: str, lmp: Callable, server: str, soft: Path) -> None:
    text = f"fix p all propensity 1 species A B model {soft} server {server} bias {bias}\nrun 0"
    assert message in lmp(text, fails=True)


def test_steps_that_would_leave_the_forces_out(lmp: Callable, server: str, soft: Path) -> None:
    fix = f"fix p all propensity 1 species A B model {soft} server {server} bias linear 1\n"
    text = f"{fix}run_style respa 2 2 bond 1 pair 2\nrun 0"
    assert "a bias gives no forces to `run_style respa`: use `run_style verlet`" in lmp(text, fails=True)
