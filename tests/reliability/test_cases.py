"""Every input that failed once, as it was handed over, gives what is right (``../shared/cases/README.md``).

Skipped where those files are not; inputs of the project's own for the same kinds are in ``tests/trajectory``,
``tests/data`` and ``test_rows.py``, and for damaged ones in the fuzzing of ``readers.py``.
"""

from __future__ import annotations

import gzip
import os
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path

import ase.io
import numpy as np
import pytest
from packaging.version import Version

from propensity.data import open_dataset
from propensity.errors import DataError, InputError
from propensity.predictor import Predictor
from propensity.structure import Structure
from propensity.trajectory import BrokenFrameError, annotate, open_trajectory
from tests.reliability.fuzz import outcome

CASES = Path(os.environ.get("PROPENSITY_SHARED", Path(__file__).parents[3] / "shared")) / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")

EDGE = 6.933612744
MAP = {1: "A", 2: "B"}
DAMAGED = sorted(path for path in (CASES / "damaged").glob("*.*.*") if path.is_dir())
#: First word of the name of a damaged input → reader of the fuzzing.
READERS = {
    "botan": "npz of BOTAN",
    "ka3d": "npz of many structures",
    "piece": "piece of a simulation",
    "ckpt": "checkpoint",
    "model": "model",
    "yaml": "configuration",
    "extxyzskip": "extended XYZ",
}


def plain_frames(path: Path, header: int) -> list[np.ndarray]:
    """Coordinates (400, 3) of each whole frame, by nothing but ``split``; the last three of 4 to 5 words."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as stream:
        lines = [line for line in stream if line.strip()]
    size = header + 400
    blocks = [lines[k : k + size] for k in range(0, len(lines) - size + 1, size)]
    return [np.array([row.split()[-3:] for row in block[header:]], dtype=float) for block in blocks]


@pytest.fixture
def predictor(tiny_model):
    return Predictor(tiny_model, dtype="float64", device="cpu")


def expected(predictor: Predictor, positions: np.ndarray) -> np.ndarray:
    types = (np.arange(400) >= 320).astype(int)
    return predictor.predict(Structure(positions, types, EDGE))


def check(predictor, path, positions, species_map=None, **options):
    """Every frame gives, particle by particle, what the same arrays give."""
    predictor.species_map = species_map
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(open_trajectory(path, **options))
        assert len(found) == len(positions)
        for frame, places in zip(found, positions, strict=True):
            values = predictor.predict(frame.structure(predictor.species, species_map))
            if "id" in frame.arrays:
                values = values[np.argsort(frame.arrays["id"])]
            assert np.abs(values - expected(predictor, places)).max() < 1e-5


def annotated(path, tmp_path, predictor, message, **options):
    """Frames that were saved before one that is refused with a message."""
    predictor.species_map = MAP
    with pytest.raises(BrokenFrameError, match=message) as found:
        annotate(path, tmp_path / "out.extxyz", predictor, **options)
    assert "\n" not in str(found.value)
    return ase.io.read(tmp_path / "out.extxyz", ":")


def test_a_dump_cut_inside_its_last_number(tmp_path, predictor):
    path = CASES / "dump_cut_inside_last_number" / "in.dump"
    kept = annotated(path, tmp_path, predictor, r"frame 1 can't be read: .*no line end")
    first = plain_frames(path, 9)[0]
    assert len(kept) == 1
    assert np.abs(kept[0].arrays["propensities"] - expected(predictor, first)).max() < 1e-5


def test_an_empty_line_between_frames(predictor):
    path = CASES / "xyz_blank_line_between_frames" / "in.extxyz"
    positions = plain_frames(path, 2)
    assert len(positions) == 3
    check(predictor, path, positions)


def test_a_dump_to_which_a_restart_appended(tmp_path, predictor):
    path = CASES / "dump_killed_then_appended" / "in.dump"
    kept = annotated(path, tmp_path, predictor, "frame 1 can't be read: .*(cut|ended|began|begins)")
    assert len(kept) == 1
    lines = path.read_text("utf-8").splitlines()
    last = len(lines) - 1 - lines[::-1].index("ITEM: TIMESTEP")
    places = np.array([row.split()[-3:] for row in lines[last + 9 :]], dtype=float)
    check(predictor, path, [places], MAP, start=2)


@pytest.mark.parametrize(
    ("name", "species_map"), [("typelabel", None), ("type_letters", None), ("element_digits", MAP)]
)
def test_labels_of_dumps_are_read_as_they_are_written(name, species_map, predictor):
    path = CASES / "dump_typelabel_element_numbers" / f"{name}.dump"
    check(predictor, path, plain_frames(path, 9), species_map)


def test_zstd_is_read_or_named(predictor):
    path = CASES / "dump_zst_and_uppercase_gz" / "in.dump.zst"
    zstandard = pytest.importorskip("zstandard")
    plain = zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read().decode()
    rows = [
        row.split()[-3:] for row in plain.splitlines() if not row.startswith("ITEM") and len(row.split()) >= 5
    ]
    frames = np.array(rows, dtype=float).reshape(-1, 400, 3)
    check(predictor, path, list(frames), MAP)


@pytest.mark.parametrize("step", [1, 2])
def test_a_cut_archive_is_named_and_good_frames_are_kept(step, tmp_path, predictor):
    path = CASES / "dump_zst_and_uppercase_gz" / "cut.dump.gz"
    kept = annotated(
        path, tmp_path, predictor, r"frame \d can't be read: .*(archive|compressed|end)", step=step
    )
    assert kept and all(len(atoms) == 400 for atoms in kept)


@pytest.mark.parametrize(("name", "species_map"), [("int_species", MAP), ("element_col", None)])
def test_species_of_extended_xyz(name, species_map, predictor):
    path = CASES / "xyz_species_variants" / f"{name}.extxyz"
    check(predictor, path, plain_frames(path, 2), species_map)


@pytest.mark.parametrize(("name", "species_map"), [("ka", MAP), ("labels_text", None)])
def test_lammps_data_of_any_name(name, species_map, predictor, tmp_path):
    path = CASES / "lammps_data_names_labels" / f"{name}.data"
    lines = path.read_text("utf-8").splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("Atoms"))
    rows = [line.split() for line in lines[start + 2 : start + 402]]
    order = np.argsort([int(row[0]) for row in rows])
    positions = np.array([row[2:5] for row in rows], dtype=float)[order]
    check(predictor, path, [positions], species_map)
    shutil.copy(path, tmp_path / "conf.whatever")
    check(predictor, tmp_path / "conf.whatever", [positions], species_map)


def test_gsd_without_a_box(predictor):
    if Version(version("gsd")) < Version("5"):
        pytest.skip("the file was written by gsd 5, whose layout older ones refuse")
    path = CASES / "gsd_hoomd" / "nobox.gsd"
    with pytest.raises(DataError, match="box"):
        list(open_trajectory(path))
    frame = next(iter(open_trajectory(path, box=EDGE)))
    assert np.isfinite(predictor.predict(frame.structure(predictor.species, None))).all()


def test_headers_of_atooms(predictor):
    path = CASES / "xyz_atooms_rumd_headers" / "atooms.xyz"
    check(predictor, path, plain_frames(path, 2))
    with pytest.raises((DataError, InputError), match="box of its own"):
        list(open_trajectory(path, box=EDGE))


def test_a_temperature_that_is_a_numpy_float():
    samples = open_dataset(CASES / "bapst_archive_odd" / "metadata_np.pickle")
    assert all(isinstance(sample.temperature, float) and sample.temperature > 0 for sample in samples)


@pytest.mark.parametrize("case", DAMAGED, ids=lambda path: path.name)
def test_damaged_inputs_are_one_sentence(case, tmp_path):
    (source,) = (path for path in case.iterdir() if path.name != "why")
    shutil.copy(source, tmp_path / source.name)
    (tmp_path / source.name).chmod(0o644)
    what, where = outcome_in_main_thread(READERS[case.name.partition(".")[0]], tmp_path / source.name)
    assert what == "refused", where


def test_good_frames_behind_an_absurd_number_of_particles_are_reached():
    (path,) = (CASES / "damaged").glob("extxyzskip.*/t.extxyz")
    assert path.read_text("utf-8").startswith("9223372036854775808\n")
    assert [len(frame) for frame in open_trajectory(path, start=1)] == [24, 24]


def outcome_in_main_thread(name: str, path: Path) -> tuple[str, str]:
    import signal

    from tests.reliability.fuzz import _raise

    before = signal.signal(signal.SIGPROF, _raise)
    try:
        return outcome(name, path)
    finally:
        signal.signal(signal.SIGPROF, before)
