"""The suite itself: a tenth of a minute of it always, the long parts behind the marker ``slow``."""

from __future__ import annotations

import random
import shutil
import sys

import pytest

from propensity.archive import archive_names
from propensity.data.formats import FORMATS
from propensity.data.opening import _fits as fits
from propensity.data.opening import suffixes
from tests.reliability import faults, fuzz, kills, soak, stores
from tests.reliability.jobs import JOBS
from tests.reliability.readers import READERS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and fork")


def test_six_seconds_of_damaged_files():
    """Fixed seeds; outcomes other than a result or one sentence are defects."""
    counts, wrong = fuzz.fuzz(list(READERS), 40, seed=1)
    assert not wrong
    for name, found in counts.items():
        assert found["read"] + found["refused"] == 40 and found["refused"], name


def test_files_of_every_format_are_damaged(tmp_path):
    read = set()
    for reader in READERS.values():
        path = tmp_path / reader.file
        if path.suffix in suffixes():
            reader.make(path)
            keys = archive_names(path) if path.suffix == ".npz" else []
            read |= {next((name for name in FORMATS if fits(FORMATS[name], path, keys)), None)}
    assert read >= set(FORMATS), "a format needs a row in READERS of tests/reliability/readers.py"


@pytest.mark.parametrize("name", ["convert", "annotate"])
def test_some_kills(name):
    counts, wrong = kills.kill_at_random(JOBS[name], 4, random.Random(3))
    assert not wrong and counts["killed"] >= 4


def test_two_processes_on_one_store():
    counts, wrong = stores.fill(2, 4, random.Random(0))
    assert not wrong and counts["structures"] == 4 * stores.SAMPLES


def test_some_faults():
    if not (shutil.which("cc") or shutil.which("gcc")):
        pytest.skip("needs a C compiler")
    rows, wrong = faults.main(2, names=["convert"])
    assert not wrong and len(rows) == 1 + len(faults.KINDS)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_fault():
    assert not faults.main(0)[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_inputs():
    assert not fuzz.main(10_000, seed=2)[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills():
    assert not kills.main(50)[1]
    assert not stores.main(50)[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_long_runs_at_flat_memory():
    assert not soak.main(2000)[1]
