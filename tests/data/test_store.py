"""The store: what goes in comes out within the stated bounds, small, and never silently damaged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from propensity.data import StoreWriter, open_dataset
from propensity.data.store import reader as store
from propensity.data.store import record, writer
from propensity.data.store.rounding import round_absolute, round_mantissa
from propensity.data.store.writer import forget_lock
from propensity.errors import DataError, InputError, PropensityError
from propensity.locks import FileLock
from propensity.structure import Structure

from .conftest import make_sample


def write(path, *samples, **options):
    with StoreWriter(path, **options) as out:
        for sample in samples:
            out.add(sample)
    return path


def assert_close(a, b):
    """Two samples are equal within the bounds that the store promises."""
    for name in (
        "name",
        "n_runs",
        "temperature",
        "potential",
        "tau_alpha",
        "split",
        "group",
        "source",
        "species",
    ):
        assert getattr(a, name) == getattr(b, name), name
    np.testing.assert_array_equal(a.structure.types, b.structure.types)
    np.testing.assert_array_equal(a.structure.cell, b.structure.cell)
    np.testing.assert_array_equal(a.structure.pbc, b.structure.pbc)
    np.testing.assert_array_equal(a.times, b.times)
    np.testing.assert_allclose(a.structure.positions, b.structure.positions, rtol=0, atol=2**-16)
    np.testing.assert_allclose(a.propensities, b.propensities, rtol=2**-11)
    for name, tolerance in {
        "inherent_positions": {"rtol": 0, "atol": 2**-16},
        "halves": {"rtol": 2**-8},
        "squared_displacement": {"rtol": 2**-8},
        "fs": {"rtol": 0},
    }.items():
        assert (getattr(a, name) is None) == (getattr(b, name) is None), name
        if getattr(a, name) is not None:
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), **tolerance)


def test_rounding_bounds():
    rng = np.random.default_rng(0)
    x = rng.random(10_000) * 15
    assert np.abs(round_absolute(x) - x).max() <= 2**-16
    assert round_absolute(x).dtype == np.float32
    far = x * 1000
    assert np.abs(round_absolute(far) - far).max() <= 2**-16
    for bits in (8, 10):
        p = np.exp(rng.normal(0, 3, 10_000))
        rounded = round_mantissa(p, bits)
        assert np.abs(rounded / p - 1).max() <= 2.0 ** -(bits + 1)
        np.testing.assert_array_equal(round_mantissa(rounded, bits), rounded)
    special = round_mantissa(np.array([np.nan, 0.0, -1.5]), 8)
    np.testing.assert_array_equal(special, [np.nan, 0.0, -1.5])
    with pytest.raises(DataError, match="infinite"):
        round_mantissa(np.array([1e300]), 8)


def test_round_trip_with_everything(tmp_path):
    samples = [make_sample("b"), make_sample("a", n=7)]
    dataset = open_dataset(write(tmp_path / "s.h5", *samples))
    assert dataset.names == ("a", "b")
    for sample in samples:
        assert_close(dataset.by_name(sample.name), sample)


def test_round_trip_with_little(tmp_path):
    bare = make_sample(
        "folder/ü 1",
        inherent_positions=None,
        halves=None,
        squared_displacement=None,
        n_runs=None,
        temperature=None,
        potential=None,
        fs=None,
        tau_alpha=None,
        split=None,
        group=None,
        source="",
        species=("X", "Y", "Z"),
    )
    assert_close(open_dataset(write(tmp_path / "s.h5", bare))[0], bare)


def test_round_trip_of_partial_labels_and_open_triclinic_cells(tmp_path):
    full = make_sample("a")
    halves = full.halves.copy()
    halves[..., 1:] = np.nan
    cell = [[5, 0, 0], [1, 5, 0], [0, 0, 0]]
    structure = Structure(full.structure.positions * 1000, full.structure.types, cell, [True, True, False])
    partial = make_sample(
        "a", structure=structure, halves=halves, inherent_positions=structure.positions + 0.3
    )
    assert_close(open_dataset(write(tmp_path / "s.h5", partial))[0], partial)


def test_storing_again_changes_nothing(tmp_path):
    once = open_dataset(write(tmp_path / "1.h5", make_sample("a")))[0]
    twice = open_dataset(write(tmp_path / "2.h5", once))[0]
    np.testing.assert_array_equal(once.structure.positions, twice.structure.positions)
    np.testing.assert_array_equal(once.inherent_positions, twice.inherent_positions)
    np.testing.assert_array_equal(once.propensities, twice.propensities)
    np.testing.assert_array_equal(once.halves, twice.halves)


def test_a_structure_of_4096_particles_at_ten_times_takes_less_than_300_kB(data, tmp_path):
    real = open_dataset(data / "ka3d_one_valid.npz")[0]
    rng = np.random.default_rng(0)
    columns = np.array([0, 1, 2, 3, 3, 4, 4, 5, 5, 6])
    p = real.propensities[:, columns] * (1 + 0.05 * rng.standard_normal((4096, 10)))
    noise = 0.08 * p * rng.standard_normal(p.shape)
    sample = make_sample(
        "a",
        n=4096,
        times=tuple(range(1, 11)),
        structure=real.structure,
        propensities=p,
        halves=np.stack([p + noise, p - noise]),
        inherent_positions=real.inherent_positions,
        squared_displacement=1.2 * p**2,
    )
    path = write(tmp_path / "s.h5", sample)
    assert path.stat().st_size < 300_000
    assert_close(open_dataset(path)[0], sample)


def test_store_of_the_first_release_is_read(data):
    old = open_dataset(data / "store_v1.h5")
    new = open_dataset([data / "ka3d_few_train.npz", data / "bapst_small.pickle"])
    assert set(old.names) == set(new.names)
    for sample in new:
        assert_close(old.by_name(sample.name), sample)
    provenance = store.store_provenance(data / "store_v1.h5")
    assert provenance["propensity"] == "0.1.0" and provenance["command"].startswith("propensity convert")


def test_old_formats_are_migrated_step_by_step(data, tmp_path, monkeypatch):
    def to_three(arrays, metadata):
        return arrays, {**metadata, "source": metadata["source"] + " 3"}

    def to_four(arrays, metadata):
        doubled = {"propensities": arrays["propensities"] * 2}
        if "squared_displacement" in arrays:
            doubled["squared_displacement"] = arrays["squared_displacement"] * 4
        return {**arrays, **doubled}, {**metadata, "source": metadata["source"] + " 4"}

    for module in (record, store, writer):
        monkeypatch.setattr(module, "FORMAT_VERSION", 4)
    monkeypatch.setattr(record, "MIGRATIONS", {**record.MIGRATIONS, 2: to_three, 3: to_four})
    original = open_dataset(data / "bapst_small.pickle")[0]
    by_name = open_dataset(data / "store_v1.h5").by_name("bapst_small")
    assert by_name.source == original.source + " 3 4"
    np.testing.assert_allclose(by_name.propensities, 2 * original.propensities, rtol=1e-3)
    # An old store that is extended becomes a new one as a whole.
    extended = shutil.copy(data / "store_v1.h5", tmp_path / "old.h5")
    write(extended, make_sample("new"), job=store.store_provenance(extended)["job"])
    again = open_dataset(extended)
    assert again.by_name("new").source == "made up"
    assert again.by_name("bapst_small").source == original.source + " 3 4"


def test_newer_formats_and_other_hdf5_files(tmp_path):
    path = write(tmp_path / "s.h5", make_sample("a"))
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(DataError, match=r"version 99.*update"):
        open_dataset(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="not a store"):
        open_dataset(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(DataError, match=r"text\.h5 is damaged or not a store"):
        open_dataset(tmp_path / "text.h5")


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_stores(tmp_path, keep):
    path = write(tmp_path / "s.h5", make_sample("a", n=500))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DataError, match=r"s\.h5"):
        open_dataset(path)


FLIP = """
import sys
from pathlib import Path
import numpy as np
from propensity.data import open_dataset
from propensity.errors import DataError

good, bad, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
whole = open(good, 'rb').read()
reference = open_dataset(good)[0]
rng = np.random.default_rng(seed)
outcomes = {'refused': 0, 'same': 0}
for _ in range(300):
    data = bytearray(whole)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    open(bad, 'wb').write(data)
    try:
        sample = open_dataset(bad)[0]
        assert sample.name == reference.name
        for field in ('propensities', 'halves', 'inherent_positions', 'squared_displacement', 'fs', 'times'):
            np.testing.assert_array_equal(getattr(sample, field), getattr(reference, field))
        np.testing.assert_array_equal(sample.structure.positions, reference.structure.positions)
        np.testing.assert_array_equal(sample.structure.cell, reference.structure.cell)
        outcomes['same'] += 1
    except DataError:
        outcomes['refused'] += 1
print(outcomes['refused'], outcomes['same'])
"""


def test_a_flipped_bit_is_an_error_or_without_effect(tmp_path):
    path = write(tmp_path / "s.h5", make_sample("a", n=300))
    done = subprocess.run(
        [sys.executable, "-c", FLIP, str(path), str(tmp_path / "bad.h5"), "0"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    refused, same = map(int, done.stdout.split())
    # Most of the file is data; free space and unused header bytes change nothing.
    assert refused > 200 and refused + same == 300


# Writing


def test_nothing_appears_before_close_and_nothing_is_left_after(tmp_path):
    path = tmp_path / "s.h5"
    out = StoreWriter(path)
    out.add(make_sample("a"))
    assert not path.exists() and out.done() == {"a"}
    out.close()
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]


def test_an_error_keeps_the_parts_and_the_next_writer_goes_on(tmp_path):
    path = tmp_path / "s.h5"
    with pytest.raises(KeyboardInterrupt), StoreWriter(path) as out:
        out.add(make_sample("a"))
        raise KeyboardInterrupt
    assert not path.exists()
    with StoreWriter(path) as out:
        assert out.done() == {"a"}
        out.add(make_sample("b"))
    assert open_dataset(path).names == ("a", "b")


def test_expected_number(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path, n_expected=2) as out:
        out.add(make_sample("a"))
    assert not path.exists()
    with StoreWriter(path, n_expected=2) as out:
        out.add(make_sample("b"))
    assert len(open_dataset(path)) == 2


def test_extending_and_replacing(tmp_path):
    path = write(tmp_path / "s.h5", make_sample("a"), make_sample("c"))
    write(path, make_sample("b"), make_sample("c", temperature=0.7))
    dataset = open_dataset(path)
    assert dataset.names == ("a", "b", "c")
    assert dataset[2].temperature == 0.7 and dataset[0].temperature == 0.5
    assert_close(dataset[0], make_sample("a"))
    write(path, make_sample("z"), overwrite=True)
    assert open_dataset(path).names == ("z",)


def test_natural_order(tmp_path):
    path = write(tmp_path / "s.h5", *(make_sample(f"run {i}") for i in (10, 9, 1)))
    assert open_dataset(path).names == ("run 1", "run 9", "run 10")


def test_jobs_do_not_mix(tmp_path):
    path = tmp_path / "s.h5"
    StoreWriter(path, job={"times": "all"}).add(make_sample("a"))
    with pytest.raises(DataError, match=r"another job .*times"):
        StoreWriter(path, job={"times": "#1"})
    write(path, make_sample("b"), job={"times": "all"})
    with pytest.raises(DataError, match=r"s\.h5 was made by another job"):
        StoreWriter(path, job={"times": "#1"})
    write(path, make_sample("c"), job={"times": "#1"}, overwrite=True)
    assert open_dataset(path).names == ("c",)


def test_damaged_parts_are_made_again(tmp_path):
    path = tmp_path / "s.h5"
    out = StoreWriter(path)
    for name in "abc":
        out.add(make_sample(name, n=300))
    parts = sorted((tmp_path / "s.h5.parts").glob("a.*.h5")) + sorted(
        (tmp_path / "s.h5.parts").glob("b.*.h5")
    )
    parts[0].write_bytes(b"")  # a file that the disk lost
    data = bytearray(parts[1].read_bytes())
    data[len(data) // 2] ^= 255
    parts[1].write_bytes(data)
    again = StoreWriter(path)
    assert "a" not in again.done() and "c" in again.done()
    if "b" in again.done():
        with pytest.raises(DataError, match="run the same command again"):
            again.close()
    for name in {"a", "b", "c"} - again.done():
        again.add(make_sample(name, n=300))
    again.close()
    assert open_dataset(path).names == ("a", "b", "c")


def test_empty_stores_and_wrong_names(tmp_path):
    with pytest.raises(DataError, match="nothing was added"):
        StoreWriter(tmp_path / "s.h5").close()
    with pytest.raises(InputError, match=r"\.h5"):
        StoreWriter(tmp_path / "s.npz")


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="can't be written"):
        StoreWriter(tmp_path / "file" / "s.h5").add(make_sample("a"))


# Several writers


def test_a_writer_opened_before_another_closed_loses_nothing(tmp_path):
    path = tmp_path / "s.h5"
    first, second, third = (StoreWriter(path) for _ in range(3))
    for i in range(11):
        first.add(make_sample(f"first {i}"))
    first.close()
    second.add(make_sample("second"))
    second.close()
    assert len(open_dataset(path)) == 12 and third.done() == set(open_dataset(path).names)
    third.close()
    assert len(open_dataset(path)) == 12
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]


def test_writers_mix_their_parts_and_whoever_closes_merges_them(tmp_path):
    path = tmp_path / "s.h5"
    with StoreWriter(path) as a, StoreWriter(path) as b:
        a.add(make_sample("a"))
        b.add(make_sample("b"))
        a.close()
        assert open_dataset(path).names == ("a", "b")
        b.add(make_sample("c"))
    assert open_dataset(path).names == ("a", "b", "c")


def test_writers_of_different_jobs_refuse_each_other_early_and_late(tmp_path):
    path = tmp_path / "s.h5"
    first = StoreWriter(path, job={"times": "all"})
    with pytest.raises(DataError, match=r"another job \(different times\)"):
        StoreWriter(path, job={"times": "#1"})
    first.add(make_sample("a"))
    first.close()
    with pytest.raises(DataError, match="another job"):
        StoreWriter(path, job={"times": "#1"})
    # An abandoned writer that added nothing is in nobody's way.
    del first
    StoreWriter(tmp_path / "t.h5", job={"times": "all"})
    write(tmp_path / "t.h5", make_sample("b"), job={"times": "#1"})
    assert open_dataset(tmp_path / "t.h5").names == ("b",)


@pytest.mark.parametrize("second", [True, False])
def test_starting_afresh_beside_another_writer_is_refused(tmp_path, second):
    path = write(tmp_path / "s.h5", make_sample("old"))
    first = StoreWriter(path, overwrite=not second)
    first.add(make_sample("a"))
    with pytest.raises(PropensityError, match=r"is being written by another process.*wait"):
        StoreWriter(path, overwrite=second)
    first.close()
    assert open_dataset(path).names == (("a", "old") if second else ("a",))
    write(path, make_sample("new"), overwrite=True)
    assert open_dataset(path).names == ("new",)
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from propensity.data import StoreWriter
from tests.data.conftest import make_sample
with StoreWriter(sys.argv[2]) as out:
    print(flush=True)
    sys.stdin.readline()
    for i in range(8):
        out.add(make_sample(f"{sys.argv[3]} {i}"))
"""


def test_four_processes_fill_one_store(tmp_path):
    path, root = tmp_path / "s.h5", str(Path(__file__).parents[2])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, root, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "abcd"
    ]
    for process in processes:
        process.stdout.readline()  # all are open before any adds
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert sorted(open_dataset(path).names) == sorted(f"{name} {i}" for name in "abcd" for i in range(8))
    assert [p.name for p in tmp_path.iterdir()] == ["s.h5"]


def test_the_lock_of_a_killed_writer_goes_and_that_of_a_living_one_stays(tmp_path):
    path = tmp_path / ".s.h5.lock"
    path.touch()
    forget_lock(tmp_path / "s.h5")
    assert not path.exists()
    with FileLock(path, passing=True):
        forget_lock(tmp_path / "s.h5")
        assert path.exists()


FULL = """
import resource
import sys
from pathlib import Path

from propensity.data import StoreWriter
from propensity.errors import DataError
from tests.data.conftest import make_sample

path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with StoreWriter(path) as writer:
        for name in "abcdef":
            writer.add(make_sample(name))
except DataError as error:
    assert "can't be written (File too large): make room" in str(error) and not path.exists(), error
    sys.exit()
sys.exit("nothing was said")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of files")
@pytest.mark.parametrize("size", [500, 4000, 20_000])
def test_a_full_disk_is_one_sentence_and_no_crash_at_the_end(tmp_path, size):
    """HDF5 that is told of a write which failed crashes when the interpreter ends."""
    words = [sys.executable, "-c", FULL, str(tmp_path / "data.h5"), str(size)]
    # A process whose files are limited can't write its coverage either.
    bare = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    done = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=bare)
    assert (done.returncode, done.stderr) == (0, "")
