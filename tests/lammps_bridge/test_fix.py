"""`fix propensity`, as a user runs it: `lmp -in in.file` on one and two ranks."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lammps_bridge import protocol
from propensity.predictor import Predictor
from propensity.structure import Structure
from tests.conftest import make_liquid, make_tiny_model
from tests.lammps_bridge.support import CASES, TIMEOUT, Case, dump, read_dump, run, system, write_data

LMP = Path(sys.executable).parent / "lmp"


@pytest.fixture
def lmp(tmp_path: Path, plugin: dict[str, str]) -> Callable:
    """Run an input after the definition of a system; returns output, fails unless told to."""

    def execute(
        text: str, ranks: int = 1, case: Case = CASES["periodic"], fails: bool = False, **env: str
    ) -> str:
        data = write_data(tmp_path / "in.data", case)
        script = tmp_path / "in.file"
        script.write_text(system(data, case) + text)
        done = run([LMP, "-in", script, "-log", "none"], ranks, {**plugin, **env}, tmp_path)
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    return execute


@pytest.mark.filterwarnings(
    "ignore:(number density|composition|the structure is open)"
)  # where atoms were taken out
@pytest.mark.parametrize("case", CASES)
def test_dump_equals_predictor(
    case: str, ranks: int, lmp: Callable, server: str, tiny_model: Path, tmp_path: Path
) -> None:
    lmp(
        f"fix p all propensity 10 species A B model {tiny_model} server"
        f" {server}\n{dump(tmp_path / 'd')}run 20",
        ranks,
        CASES[case],
    )
    frames = read_dump(tmp_path / "d")
    assert [frame.step for frame in frames] == [0, 10, 20]
    predictor = Predictor(tiny_model, device="cpu")
    for frame in frames:
        expected = predictor.predict(frame.structure)[:, predictor.default_time_index]
        assert np.abs(frame.values[:, 0] - expected).max() <= 1e-6
        assert expected.std() > 1e-3
    if case == "gapped":
        assert len(frames[0].ids) < frames[0].ids.max()
    if case == "shrink-wrapped":
        assert frames[0].structure.pbc.tolist() == [True, False, False]


@pytest.mark.parametrize("case", ["periodic", "triclinic", "gapped"])
def test_rerun_gives_the_same_on_any_number_of_ranks(
    case: str, two_ranks: int, lmp: Callable, server: str, tiny_model: Path, tmp_path: Path
) -> None:
    fix = f"fix p all propensity 1 species A B model {tiny_model} server {server}\n"
    lmp(f"{fix}{dump(tmp_path / 'd')}run 20", 1, CASES[case])
    again = []
    for ranks in (1, two_ranks):
        text = (
            f"{fix}{dump(tmp_path / f'd{ranks}', every=1)}rerun {tmp_path / 'd'} first 10 dump x y z box yes"
        )
        lmp(text, ranks, CASES[case])
        again.append(read_dump(tmp_path / f"d{ranks}"))
    for one, two, first in zip(*again, read_dump(tmp_path / "d")[1:], strict=True):
        assert one.step == two.step == first.step
        assert np.array_equal(one.values, two.values)
        assert np.abs(one.values - first.values).max() <= 1e-6


def test_dynamics_are_bitwise_unchanged(
    ranks: int, lmp: Callable, server: str, tiny_model: Path, tmp_path: Path
) -> None:
    fix = f"fix p all propensity 5 species A B model {tiny_model} server {server}\n"
    for name, text in (("with", fix), ("without", "")):
        lmp(f"{text}{dump(tmp_path / name, 'vx vy vz')}run 40", ranks)
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()


def test_is_a_quantity_like_any_other(
    ranks: int, lmp: Callable, server: str, tiny_model: Path, tmp_path: Path
) -> None:
    out = lmp(
        f"""group first type 1
fix p first propensity 10 species A B model {tiny_model} times 1 100 server {server}
compute r first reduce ave f_p[1] f_p[2]
variable atomic atom f_p[2]
variable mean equal f_p
compute v first reduce ave v_atomic
variable fast atom "f_p[2] > 0.3"
group fast dynamic first var fast every 10
variable nfast equal count(fast)
fix a first ave/atom 10 2 20 f_p[1]
thermo_style custom step f_p v_mean f_p[1] f_p[2] f_p[3] f_p[4] f_p[5] f_p[6] c_r[1] c_r[2] c_v v_nfast
thermo_modify format float %.15g
thermo 10
{dump(tmp_path / "d", "f_p[1] f_p[2] f_a", 20)}run 20""",
        ranks,
    )
    assert "propensity at t = 1, 100" in out
    rows = [
        np.array(line.split(), dtype=float)
        for line in out.splitlines()
        if re.match(r"\s*(0|10|20)\s+0\.", line)
    ]
    frames = read_dump(tmp_path / "d")
    for row, frame in ((rows[0], frames[0]), (rows[2], frames[1])):
        _, f, mean, all_1, a_1, b_1, all_2, a_2, b_2, r1, r2, v, fast = row
        first = frame.structure.types == 0
        assert f == mean == all_1 == a_1
        assert all_2 == a_2 and np.isnan([b_1, b_2]).all()  # no B in the group
        assert np.allclose([r1, r2], frame.values[first, :2].mean(axis=0), atol=1e-12)
        assert np.allclose([a_1, a_2, v], [r1, r2, r2], atol=1e-12)
        assert (frame.values[~first] == 0).all()
    assert fast > 0
    assert (frames[1].values[frames[1].structure.types == 0, 2] > 0).all()


def test_values_travel_with_their_atoms(
    ranks: int, lmp: Callable, server: str, tiny_model: Path, tmp_path: Path
) -> None:
    lmp(
        f"fix p all propensity 50 species A B model {tiny_model} times all server {server}\n"
        "velocity all create 40.0 1\nunfix nve\nfix nve all nve\ntimestep 0.0005\n"
        "variable v1 atom f_p[1]\nvariable v3 atom f_p[3]\n"
        f"run 0\nwrite_dump all custom {tmp_path / 'at0'} id type x y z v_v1 v_v3 modify sort id\n"
        f"run 49 pre no\nwrite_dump all custom {tmp_path / 'at49'} id type x y z v_v1 v_v3 modify sort id\n",
        ranks,
    )
    before, after = read_dump(tmp_path / "at0")[0], read_dump(tmp_path / "at49")[0]
    assert np.abs(before.structure.positions - after.structure.positions).max() > 0.1
    assert (after.values == before.values).all()


def test_minima_are_made_where_asked(lmp: Callable, server: str, tmp_path: Path) -> None:
    model, potential = make_tiny_model(tmp_path / "model", input_positions="inherent"), "lj/cut force-shifted"
    fix = f"fix p all propensity 10 species A B model {model} server {server}"
    lmp(f"{fix} potential {potential} device cpu\n{dump(tmp_path / 'd')}run 0")
    (frame,) = read_dump(tmp_path / "d")
    expected = Predictor(model, potential=potential).predict(frame.structure)[:, 2]
    assert np.abs(frame.values[:, 0] - expected).max() <= 1e-5
    plain = Predictor(tmp_path / "model", potential="lj/cut").predict(frame.structure)[:, 2]
    assert np.abs(plain - expected).max() > 1e-4


BAD = {
    "species A C": "species_map sends '2' to 'C'",
    "species A": "species is 'A': use `fix ID group propensity N species A B ...`",
    "": "species is missing",
    "species A B colour red": "species is 'A B colour red'",
    "species A B timeout 3 4": "keyword 'timeout' has 2 values",
    "species A B times": "keyword 'times' has 0 values",
    "species A B times 7": "time 7.0 is not among those of the model",
    "species A B length_scale x": "length_scale has the value 'x'",
    "species A B potential morse": "potential 'morse' is unknown: give 'lammps:my.in'",
    "species A B model no-such-model": "model 'no-such-model' is neither a folder",
    "species A B server unix:/nowhere": "can't reach the propensity server at unix:/nowhere",
    "species A B server nowhere": "server nowhere is neither host:port nor unix:path",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_stops_lammps(words: str, lmp: Callable, server: str, tiny_model: Path) -> None:
    stops(words, 1, lmp, server, tiny_model)


@pytest.mark.parametrize("words", ["species A C", "species A", "species A B server unix:/nowhere"])
def test_bad_input_stops_both_ranks(
    words: str, two_ranks: int, lmp: Callable, server: str, tiny_model: Path
) -> None:
    stops(words, two_ranks, lmp, server, tiny_model)


def stops(words: str, ranks: int, lmp: Callable, server: str, tiny_model: Path) -> None:
    model = "" if "model" in words else f"model {tiny_model} "
    address = "" if "server" in words else f" server {server}"
    # Options that end a list of words come first, so that a missing value is missing.
    out = lmp(f"fix p all propensity 10 {model}{address} {words}\nrun 20", ranks, fails=True)
    assert f"ERROR: fix propensity: {BAD[words]}" in out
    assert "Last input line: fix p" in out


def test_minimize_is_refused(lmp: Callable, server: str, tiny_model: Path) -> None:
    out = lmp(
        f"fix p all propensity 10 species A B model {tiny_model} server {server}\nminimize 0 0 5 5",
        fails=True,
    )
    assert "ERROR: fix propensity can't follow a minimization" in out


def test_warnings_are_shown_once(lmp: Callable, server: str, tiny_model: Path) -> None:
    out = lmp(f"fix p all propensity 5 species B A model {tiny_model} server {server}\nrun 20")
    assert out.count("WARNING: fix propensity: composition is") == 1


def test_failures_of_the_step_stop_lammps(ranks: int, lmp: Callable, server: str, tiny_model: Path) -> None:
    fix = f"fix p all propensity 5 species A B model {tiny_model} server {server}\n"
    out = lmp(
        f"{fix}set atom 1*2 x 1 y 1 z 1\npair_style zero 2.5\npair_coeff * *\nrun 5",
        ranks,
        fails=True,
    )
    assert "ERROR: fix propensity: particles" in out and "coincide" in out


def fake_python(folder: Path, misbehaviour: str) -> str:
    """An interpreter whose third prediction misbehaves; the first two are those of step 0 and 10."""
    (folder / "fake.py").write_text(
        "import os, sys, time\nfrom propensity.predictor import Predictor\nfrom lammps_bridge import serve\n"
        "true, calls = Predictor.predict, []\n"
        "def predict(self, structure):\n    calls.append(0)\n"
        f"    if len(calls) == 3:\n        {misbehaviour}\n"
        "    return true(self, structure)\n"
        "Predictor.predict = predict\nserve.main(sys.argv[1:])\n"
    )
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {folder / "fake.py"} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("misbehaviour", "message"),
    [
        ("os._exit(3)", "died: see its message above"),
        ("raise RuntimeError('CUDA is out of patience')", "RuntimeError: CUDA is out of patience"),
    ],
)
def test_server_trouble_stops_lammps(
    misbehaviour: str, message: str, ranks: int, lmp: Callable, tiny_model: Path, tmp_path: Path
) -> None:
    out = lmp(
        f"fix p all propensity 10 species A B model {tiny_model}\nthermo 10\nrun 40",
        ranks,
        fails=True,
        PROPENSITY_PYTHON=fake_python(tmp_path, misbehaviour),
    )
    assert "ERROR: fix propensity: " in out and message in out
    assert re.search(r"^\s+10 ", out, re.MULTILINE) and not re.search(r"^\s+30 ", out, re.MULTILINE)


def test_silent_server_stops_lammps(ranks: int, lmp: Callable, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def greet() -> None:
            connection, _ = listener.accept()
            protocol.receive_hello(connection)
            protocol.send_reply(connection, 0, "hello", np.array([1, 2]))
            connection.recv(1)
            time.sleep(2 * TIMEOUT)

        threading.Thread(target=greet, daemon=True).start()
        out = lmp(
            f"fix p all propensity 10 species A B server unix:{tmp_path / 's'} timeout 1\nrun 40",
            ranks,
            fails=True,
        )
    assert "gave no answer for 1 s: raise it with the timeout keyword" in out


def test_missing_python_is_named(ranks: int, lmp: Callable, tiny_model: Path) -> None:
    out = lmp(
        f"fix p all propensity 10 species A B model {tiny_model}",
        ranks,
        fails=True,
        PROPENSITY_PYTHON="/no/python",
    )
    assert "can't start /no/python" in out and "PROPENSITY_PYTHON" in out


def test_starts_its_own_server_and_ends_it(lmp: Callable, tiny_model: Path, tmp_path: Path) -> None:
    text = (
        f"fix p all propensity 10 species A B model {tiny_model}\nshell ps -o args\n{dump(tmp_path / 'd')}run"
        " 0\nunfix p\nundump d\nshell ps -o args"
    )
    out = lmp(text)
    assert out.count("lammps_bridge.serve --descriptor") == 1
    assert len(read_dump(tmp_path / "d")) == 1


def with_sizes(structure: Structure, sizes: np.ndarray) -> Structure:
    return Structure(structure.positions, structure.types, structure.cell, diameters=sizes)


@pytest.fixture(scope="module")
def size_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A descriptor model of particles with sizes."""
    from propensity.estimators.ridge import RidgeEstimator
    from propensity.estimators.storage import save_model
    from propensity.sample import Sample

    rng = np.random.default_rng(3)
    samples = []
    for seed in range(2):
        liquid = make_liquid(120, seed=seed)
        sized = with_sizes(liquid, rng.uniform(0.8, 1.2, len(liquid)))
        labels = 0.05 * rng.random((len(liquid), 1)) + 1 / sized.diameters[:, None]
        samples.append(Sample(sized, np.array([10.0]), labels, name=f"sized/{seed}", species=("A", "B")))
    model = RidgeEstimator.fit(samples, l_max=1, generations=0, folds=2)
    folder = tmp_path_factory.mktemp("sizes") / "model"
    save_model(folder, model)
    return folder


SPHERES = """units lj
atom_style sphere
read_data {data}
variable d atom 0.9+0.001*id
set group all diameter v_d
pair_style lj/cut 2.5
pair_coeff * * 1 1
"""


def spheres(tmp_path: Path, style: str) -> tuple[str, Structure]:
    """Input of 120 particles at rest, with sizes where the style is sphere, and what LAMMPS has."""
    liquid = make_liquid(120)
    edge = float(liquid.cell[0, 0])
    rows = zip(liquid.types.tolist(), liquid.positions.tolist(), strict=True)
    extra = "1.0 1.0 " if style == "sphere" else ""
    lines = [f"{i} {t + 1} {extra}{x!r} {y!r} {z!r}" for i, (t, (x, y, z)) in enumerate(rows, 1)]
    box = "\n".join(f"0.0 {edge!r} {axis}lo {axis}hi" for axis in "xyz")
    data = tmp_path / "spheres.data"
    masses = "" if style == "sphere" else "Masses\n\n1 1.0\n2 1.0\n\n"
    head = f"spheres\n\n120 atoms\n2 atom types\n{box}\n\n{masses}Atoms # {style}\n\n"
    data.write_text(head + "\n".join(lines) + "\n")
    text = SPHERES.format(data=data).replace("sphere\n", f"{style}\n", 1)
    if style != "sphere":
        text = text.replace("set group all diameter v_d\n", "")
    return text, with_sizes(liquid, 0.9 + 0.001 * np.arange(1, 121))


def test_radii_reach_the_model(
    ranks: int, size_model: Path, plugin: dict[str, str], server: str, tmp_path: Path
) -> None:
    """A model of particle sizes works in the fix as it does on the same structure with diameters."""
    text, structure = spheres(tmp_path, "sphere")
    script = tmp_path / "in.file"
    script.write_text(
        f"{text}fix p all propensity 1 species A B model {size_model} server {server}\n"
        f"{dump(tmp_path / 'd', every=1)}run 0\n"
    )
    done = run([LMP, "-in", script, "-log", "none"], ranks, plugin, tmp_path)
    assert done.returncode == 0, done.stdout
    (frame,) = read_dump(tmp_path / "d")
    predictor = Predictor(size_model, device="cpu")
    expected = predictor.predict(structure)[:, 0]
    assert np.abs(frame.values[:, 0] - expected).max() <= 1e-6
    other = predictor.predict(with_sizes(structure, structure.diameters[::-1]))[:, 0]
    assert np.abs(other - expected).max() > 1e-3


def test_a_model_of_sizes_needs_radii(
    size_model: Path, plugin: dict[str, str], server: str, tmp_path: Path
) -> None:
    text, _ = spheres(tmp_path, "atomic")
    script = tmp_path / "in.file"
    script.write_text(f"{text}fix p all propensity 1 species A B model {size_model} server {server}\nrun 0\n")
    done = run([LMP, "-in", script, "-log", "none"], 1, plugin, tmp_path)
    assert done.returncode != 0 and "diameter" in done.stdout
