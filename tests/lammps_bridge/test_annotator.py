"""`Annotator`: Python drives LAMMPS, here in this process and on two ranks."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lammps_bridge import Annotator
from propensity.errors import DataError, InputError
from propensity.predictor import Predictor
from propensity.simulate.lammps_library import load_lammps
from tests.conftest import make_tiny_model
from tests.lammps_bridge.support import CASES, SPECIES_MAP, dump, read_dump, run, system, write_data


@pytest.fixture
def start(lammps_works: None, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open an instance that holds the system of a case."""
    instances = []

    def make(case: str = "periodic") -> Any:
        lmp = load_lammps(("-screen", "none", "-log", str(tmp_path / "log"), "-nocite"))
        instances.append(lmp)
        lmp.commands_string(system(write_data(tmp_path / "in.data", CASES[case]), CASES[case]))
        return lmp

    yield make
    for lmp in instances:
        lmp.close()


def annotated(
    lmp: Any, model: Any, path: Path, columns: str = "d_propensity", steps: int = 20, **options: Any
) -> None:
    with Annotator(lmp, model, every=10, **{"species_map": SPECIES_MAP, **options}):
        lmp.commands_string(dump(path, columns) + f"run {steps}\nundump d")


@pytest.mark.filterwarnings("ignore:(number density|composition|the structure is open)")
@pytest.mark.parametrize("case", CASES)
def test_dump_equals_predictor(case: str, start: Callable, tiny_model: Path, tmp_path: Path) -> None:
    columns = "d2_propensity[1] d2_propensity[2] d2_propensity[3]"
    annotated(start(case), tiny_model, tmp_path / "d", columns, times="all")
    frames = read_dump(tmp_path / "d")
    assert [frame.step for frame in frames] == [0, 10, 20]
    predictor = Predictor(tiny_model)
    for frame in frames:
        assert np.abs(frame.values - predictor.predict(frame.structure)).max() <= 1e-6


def test_minima_are_made_where_asked(start: Callable, tmp_path: Path) -> None:
    model, potential = make_tiny_model(tmp_path / "model", input_positions="inherent"), "lj/cut force-shifted"
    annotated(start(), model, tmp_path / "d", steps=0, potential=potential)
    (frame,) = read_dump(tmp_path / "d")
    expected = Predictor(model, potential=potential).predict(frame.structure)[:, 2]
    assert np.abs(frame.values[:, 0] - expected).max() <= 1e-5


@pytest.mark.parametrize("case", ["periodic", "triclinic"])
def test_dump_equals_ase_and_mdanalysis(case: str, start: Callable, tiny_model: Path, tmp_path: Path) -> None:
    import ase.io
    import MDAnalysis

    from propensity import PropensityAnalysis, PropensityCalculator

    annotated(start(case), tiny_model, tmp_path / "d.lammpstrj")
    frames = read_dump(tmp_path / "d.lammpstrj")
    calculator = PropensityCalculator(tiny_model, species_map={"H": "A", "He": "B"})
    for frame, atoms in zip(
        frames, ase.io.read(tmp_path / "d.lammpstrj", ":", format="lammps-dump-text"), strict=True
    ):
        assert np.abs(frame.values[:, 0] - calculator.get_property("propensity", atoms)).max() <= 1e-6
    universe = MDAnalysis.Universe(
        str(tmp_path / "d.lammpstrj"), format="LAMMPSDUMP", topology_format="LAMMPSDUMP"
    )
    analysis = PropensityAnalysis(universe, tiny_model, species_map={"1": "A", "2": "B"}).run()
    last = np.array([frame.values[:, 0] for frame in frames])
    assert np.abs(analysis.results.propensities[:, :, 2] - last).max() <= 1e-6


@pytest.mark.filterwarnings("ignore:number density")
def test_dynamics_are_bitwise_unchanged(start: Callable, tiny_model: Path, tmp_path: Path) -> None:
    ensemble = "unfix nve\nfix nve all npt temp 1 1 0.5 iso 5 5 1\n"
    for name in ("with", "without"):
        lmp = start()
        lmp.commands_string(ensemble + dump(tmp_path / name, "vx vy vz"))
        if name == "with":
            with Annotator(lmp, tiny_model, every=5, species_map=SPECIES_MAP):
                lmp.command("run 40")
        else:
            lmp.command("run 40")
        lmp.command("undump d")
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


def test_global_values(start: Callable, tiny_model: Path, tmp_path: Path) -> None:
    lmp = start()
    with Annotator(lmp, tiny_model, every=10, species_map=SPECIES_MAP, times=[1, 100]) as annotator:
        assert annotator.times.tolist() == [1, 100]
        lmp.commands_string(
            "variable m equal f_propensity[4]\ncompute p all property/atom d2_propensity[2]\n"
            "compute r all reduce ave c_p\nvariable atomic atom c_p\n"
            "thermo_style custom step v_m f_propensity[3] c_r\nthermo 10\n"
            + dump(tmp_path / "d", "d2_propensity[1] d2_propensity[2]")
            + "run 20\nundump d"
        )
        frame = read_dump(tmp_path / "d")[-1]
        by_type = [frame.values[frame.structure.types == k].mean(axis=0) for k in (0, 1)]
        assert np.allclose(annotator.mean, frame.values.mean(axis=0), atol=1e-12)
        assert np.allclose(annotator.species_mean["A"], by_type[0], atol=1e-12)
        assert np.allclose(annotator.species_mean["B"], by_type[1], atol=1e-12)
        assert np.isclose(lmp.extract_variable("m"), annotator.mean[1])
        assert np.isclose(lmp.last_thermo()["c_r"], annotator.mean[1])
        assert np.isclose(np.mean(lmp.extract_variable("atomic")), annotator.mean[1])
        lmp.command("thermo_style one")


def test_values_are_there_on_attaching_and_on_update(start: Callable, tiny_model: Path) -> None:
    lmp, predictor = start(), Predictor(tiny_model, species_map=SPECIES_MAP)
    lmp.command("run 7")
    with Annotator(lmp, predictor, every=100) as annotator:
        first = np.array(lmp.numpy.extract_atom("d_propensity", nelem=120))
        assert np.isclose(first.mean(), annotator.mean[0])
        lmp.command("minimize 0 0 20 50")
        annotator.update()
        assert np.abs(np.array(lmp.numpy.extract_atom("d_propensity", nelem=120)) - first).max() > 1e-4


def test_rerun(start: Callable, tiny_model: Path, tmp_path: Path) -> None:
    annotated(start("triclinic"), tiny_model, tmp_path / "d")
    lmp = start("triclinic")
    with Annotator(lmp, tiny_model, every=10, species_map=SPECIES_MAP):
        lmp.commands_string(
            dump(tmp_path / "again", "d_propensity") + f"rerun {tmp_path / 'd'} dump x y z box yes\nundump d"
        )
    for one, two in zip(read_dump(tmp_path / "d"), read_dump(tmp_path / "again"), strict=True):
        assert one.step == two.step
        assert np.abs(one.values - two.values).max() <= 1e-6


def test_detaches_and_attaches_again(start: Callable, tiny_model: Path, tmp_path: Path) -> None:
    lmp = start()
    for _ in range(2):
        annotated(lmp, tiny_model, tmp_path / "d", steps=10)
    assert not lmp.has_id("fix", "propensity") and not lmp.has_id("group", "propensity_nobody")
    lmp.command("run 10")
    annotator = Annotator(lmp, tiny_model, species_map=SPECIES_MAP).attach()
    with pytest.raises(InputError, match="attached already"):
        annotator.attach()
    annotator.detach()
    annotator.detach()
    with pytest.raises(InputError, match="not attached"):
        annotator.update()


def test_error_of_the_model_stops_the_run(
    start: Callable, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lmp, predictor = start(), Predictor(tiny_model, species_map=SPECIES_MAP)
    with Annotator(lmp, predictor, every=10) as annotator:
        with monkeypatch.context() as patch:
            patch.setattr(predictor, "predict", lambda structure: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                lmp.command("run 1000")
            assert lmp.extract_global("ntimestep") <= 1
            assert np.isnan(lmp.numpy.extract_atom("d_propensity", nelem=120)).all()
        lmp.cmd.run(20)  # works on, once the cause is gone
        assert np.isfinite(annotator.mean).all() and lmp.extract_global("ntimestep") >= 20


def test_planar_run_has_no_third_direction(lammps_works: None, tmp_path: Path) -> None:
    lmp = load_lammps(("-screen", "none", "-log", "none"))
    lmp.commands_string("""dimension 2
lattice sq2 1.0
region box block 0 4 0 4 -0.5 0.5
create_box 2 box
create_atoms 1 box
mass * 1
pair_style lj/cut 2.5
pair_coeff * * 1 1""")
    model = make_tiny_model(tmp_path / "flat", dimension=2, density=1.0)
    predictor = Predictor(model, species_map=SPECIES_MAP)
    seen = []
    true = predictor.predict
    predictor.predict = lambda structure: (seen.append(structure.pbc.tolist()), true(structure))[1]  # type: ignore[method-assign]
    with pytest.warns(match="composition"), Annotator(lmp, predictor):
        pass
    lmp.close()
    assert seen == [[True, True, False]]


def test_radii_of_spheres_are_diameters(lammps_works: None, tiny_model: Path) -> None:
    lmp = load_lammps(("-screen", "none", "-log", "none"))
    lmp.commands_string("""atom_style sphere
lattice sc 1.0
region box block 0 4 0 4 0 4
create_box 2 box
create_atoms 1 box
variable d atom 0.8+0.005*id
set group all diameter v_d
set atom 1*12 type 2
pair_style lj/cut 2.5
pair_coeff * * 1 1""")
    predictor = Predictor(tiny_model, species_map=SPECIES_MAP)
    seen = []
    true = predictor.predict
    predictor.predict = lambda structure: (seen.append(structure), true(structure))[1]  # type: ignore[method-assign]
    with pytest.warns(match="density"), Annotator(lmp, predictor):
        pass
    lmp.close()
    assert np.allclose(seen[0].diameters, 0.8 + 0.005 * np.arange(1, 65))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"species_map": {1: "A"}}, InputError, "not all covered by species_map"),
        ({"species_map": {1: "A", 2: "C"}}, InputError, "sends '2' to 'C'"),
        ({"model": "no-such-model"}, DataError, "no-such-model"),
        ({"times": [3]}, InputError, "time 3.0 is not among"),
        ({"times": "some"}, InputError, "times is 'some'"),
        ({"every": 0}, InputError, "every is 0"),
    ],
)
def test_bad_input(
    options: dict, error: type[Exception], message: str, start: Callable, tiny_model: Path
) -> None:
    lmp = start()
    with pytest.raises(error, match=message):
        Annotator(lmp, **{"model": tiny_model, "species_map": SPECIES_MAP, **options}).attach()
    assert not lmp.has_id("fix", "propensity")
    lmp.command("run 1")


def test_needs_atoms(lammps_works: None, tiny_model: Path) -> None:
    lmp = load_lammps(("-screen", "none", "-log", "none"))
    with pytest.raises(InputError, match="holds no atoms yet"):
        Annotator(lmp, tiny_model).attach()
    lmp.close()


SCRIPT = """
import sys
from pathlib import Path
from lammps_bridge import Annotator
from propensity.simulate.lammps_library import load_lammps
from propensity.errors import InputError
from propensity.predictor import Predictor
folder, model = Path(sys.argv[1]), sys.argv[2]
true, trouble = Predictor.predict, []

def predict(self, structure):
    if trouble:
        raise trouble[0]
    return true(self, structure)

Predictor.predict = predict
for case in sorted(folder.glob("*.in")):
    lmp = load_lammps(("-screen", "none", "-log", "none", "-nocite"))
    lmp.file(str(case))
    with Annotator(lmp, model, every=10, species_map={1: "A", 2: "B"}) as annotator:
        lmp.file(str(case.with_suffix(".dump")))
        sys.stdout.write(f"{case.stem} {float(annotator.mean[0])!r}\\n")
        lmp.command("undump d")
with Annotator(lmp, model, every=10, species_map={1: "A", 2: "B"}):
    for error in (InputError("no luck"), MemoryError("no room")):
        trouble[:] = [error]
        try:
            lmp.command("run 1000")
        except Exception as raised:
            sys.stdout.write(f"raised {raised!r}\\n")
    lmp.command("run 1000")
print("not reached")
"""


@pytest.mark.filterwarnings("ignore:(number density|composition|the structure is open)")
def test_two_ranks(two_ranks: int, tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    cases = ("periodic", "triclinic", "gapped")
    for case in cases:
        data = write_data(tmp_path / f"{case}.data", CASES[case])
        (tmp_path / f"{case}.in").write_text(system(data, CASES[case]))
        (tmp_path / f"{case}.dump").write_text(dump(tmp_path / f"{case}.out", "d_propensity") + "run 20\n")
    done = run([sys.executable, "-c", SCRIPT, tmp_path, tiny_model], two_ranks)
    for case in cases:
        means = re.findall(rf"{case} (\d\S+)", done.stdout)
        assert len(means) == 2 and means[0] == means[1], done.stdout
        predictor = Predictor(tiny_model)
        frames = read_dump(tmp_path / f"{case}.out")
        for frame in frames:
            expected = predictor.predict(frame.structure)[:, predictor.default_time_index]
            assert np.abs(frame.values[:, 0] - expected).max() <= 1e-6
        assert len(frames) == 3 and np.isclose(float(means[0]), frame.values.mean())
    assert done.stdout.count("raised InputError('no luck')") == 2, done.stdout
    assert done.stdout.count("no room") >= 2
    assert done.returncode != 0 and "not reached" not in done.stdout


@pytest.mark.filterwarnings("ignore:(number density|composition|the structure is open)")
def test_steps_that_would_leave_values_old(start: Callable, tiny_model: Path) -> None:
    lmp = start()
    with Annotator(lmp, tiny_model, every=1, species_map=SPECIES_MAP) as annotator:
        before = annotator.mean.copy()
        with pytest.raises(InputError, match="calls no annotator in `run_style respa`: use"):
            lmp.commands_string("run_style respa 2 2 bond 1 pair 2\nrun 5")
        assert lmp.extract_global("ntimestep") == 5 and np.array_equal(annotator.mean, before)
        # What went wrong before is said first.
        with pytest.raises(InputError, match="first"):
            annotator._raising(lambda: setattr(annotator, "_error", InputError("first")))()
        lmp.commands_string("run_style verlet\nrun 1")
        assert not np.array_equal(annotator.mean, before)
        with pytest.raises(AttributeError):
            annotator.every = 10
