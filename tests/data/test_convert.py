"""propensity convert and propensity info, as a user meets them: through any interruption, in one line of
error."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from propensity.cli.info import command as info
from propensity.data import open_dataset
from propensity.data.convert import convert
from propensity.data.selection import pick_times
from propensity.data.store.writer import StoreWriter
from propensity.errors import DataError, InputError, PropensityError
from propensity.sample import Sample
from tests.commands import run_here

from .test_store import assert_close


@pytest.fixture
def folder(data, tmp_path) -> Path:
    """A folder as the real download has it, 24 small pickles."""
    root = tmp_path / "temperature_044"
    for part, numbers in {"train": range(16), "test": range(8)}.items():
        (root / part).mkdir(parents=True)
        for i in numbers:
            shutil.copy(data / "bapst_targets.pickle", root / part / f"aggregated_{i}.pickle")
    return root


def assert_same_data(path, other):
    a, b = open_dataset(path), open_dataset(other)
    assert a.names == b.names
    for x, y in zip(a, b, strict=True):
        assert_close(x, y)


@pytest.mark.parametrize("workers", [1, 2])
def test_folder_to_store(folder, tmp_path, workers):
    seen = []
    path = convert([folder], tmp_path / "s.h5", workers=workers, progress=lambda *a: seen.append(a))
    assert seen == [(i, 24) for i in range(25)]
    dataset = open_dataset(path)
    assert [e.split for e in dataset.entries].count("train") == 16
    original = open_dataset(folder)
    assert set(dataset.names) == set(original.names)
    for name in ("train/aggregated_0", "test/aggregated_7"):
        assert_close(dataset.by_name(name), original.by_name(name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.h5", "temperature_044"]


def test_command_line(data, tmp_path):
    words = ["convert", data / "ka3d_few_train.npz", data / "bapst_small.pickle", tmp_path / "s.h5"]
    program = [sys.executable, "-m", "propensity.cli.main", *map(str, words), "--workers", "1"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "7 structure(s)" in done.stdout and "MB each" in done.stdout
    again = run_here(*words)
    assert again.returncode == 0 and "7 structure(s)" in again.stdout


def test_without_minima_no_process_waits_for_torch_or_numba(data, tmp_path):
    code = (
        "import sys\nfrom propensity.data.convert import convert\nconvert(sys.argv[1:2], sys.argv[2])\n"
        "sys.exit(bool({'torch', 'numba'} & set(sys.modules)))"
    )
    run = [sys.executable, "-c", code, data / "bapst_small.pickle", tmp_path / "s.h5"]
    assert subprocess.run(run).returncode == 0 and (tmp_path / "s.h5").exists()


def test_choosing_times_and_labels(data, tmp_path):
    path = convert([data / "bapst_small.pickle"], tmp_path / "a.h5", times="fs=0.5,fs=1/e")
    np.testing.assert_allclose(open_dataset(path).fs, [0.5, np.exp(-1)])
    # Own times of each structure stay what they are.
    original = open_dataset(data / "bapst_small.pickle")[0]
    np.testing.assert_array_equal(open_dataset(path)[0].times, original.times[[4, 6]])
    path = convert([data / "ka3d_one_valid.npz"], tmp_path / "b.h5", labels="published")
    assert open_dataset(path)[0].n_runs == 32


def write_store(path: Path, *samples: Sample) -> Path:
    with StoreWriter(path) as writer:
        for sample in samples:
            writer.add(sample)
    return path


def test_labels_of_further_runs_are_averaged_in(data, tmp_path):
    """Weighed by their numbers of runs, at the times that both have; the smallest number is kept."""
    first = open_dataset(data / "ka3d_few_train.npz")[0]
    half = first.propensities / 2
    more = replace(pick_times(first, "#1,#0"), propensities=half[:, [1, 0]], n_runs=3 * first.n_runs)
    again = write_store(tmp_path / "more.h5", more)
    path = convert([data / "ka3d_few_train.npz"], tmp_path / "s.h5", further=[again])
    found, other = open_dataset(path).by_name(first.name), open_dataset(data / "ka3d_few_train.npz")[1]
    scale = np.ones(len(first.times))
    scale[:2] = (1 + 3 * 0.5) / 4
    np.testing.assert_allclose(found.propensities, first.propensities * scale, rtol=2e-3)
    np.testing.assert_allclose(found.halves[..., 0], first.halves[..., 0], rtol=2e-3)
    assert found.n_runs == first.n_runs
    np.testing.assert_allclose(open_dataset(path)[1].propensities, other.propensities, rtol=1e-3)
    whole = write_store(tmp_path / "whole.h5", replace(first, n_runs=first.n_runs + 1))
    path = convert([whole], tmp_path / "t.h5", further=[whole, whole])
    assert open_dataset(path)[0].n_runs == 3 * (first.n_runs + 1)


def test_further_runs_of_something_else_are_refused(data, tmp_path):
    first = open_dataset(data / "ka3d_few_train.npz")[0]
    sources = [data / "ka3d_few_train.npz"]
    structure = first.structure
    moved = structure.with_positions(structure.positions[::-1].copy())
    for sample, message in (
        (replace(first, name="other"), "further runs are given of other, which is none of the structures"),
        (replace(first, structure=moved), "further runs start from other positions"),
        (replace(first, n_runs=None), "how many runs its labels have is unknown"),
    ):
        again = write_store(tmp_path / f"{len(message)}.h5", sample)
        with pytest.raises(DataError, match=message):
            convert(sources, tmp_path / f"to_{len(message)}.h5", further=[again])


def test_new_files_are_added_and_old_ones_not_read_again(folder, tmp_path, data):
    path = convert([folder], tmp_path / "s.h5")
    for old in (folder / "train").iterdir():
        old.write_bytes(b"unreadable by now")
    shutil.copy(data / "bapst_targets.pickle", folder / "train/new.pickle")
    convert([folder], path)
    assert len(open_dataset(path)) == 25


def test_broken_files_are_named_and_the_rest_is_kept(folder, tmp_path, data):
    (folder / "train/aggregated_3.pickle").write_bytes(b"noise")
    with pytest.raises(DataError, match=r"1 of 24 .*aggregated_3\.pickle"):
        convert([folder], tmp_path / "s.h5")
    assert not (tmp_path / "s.h5").exists()
    assert len(list((tmp_path / "s.h5.parts").glob("*.h5"))) == 23
    shutil.copy(data / "bapst_targets.pickle", folder / "train/aggregated_3.pickle")
    assert len(open_dataset(convert([folder], tmp_path / "s.h5"))) == 24


def test_a_structure_of_no_liquids_density_is_named_and_the_rest_is_kept(data, tmp_path):
    few = list(open_dataset(data / "ka3d_few_train.npz"))
    sparse = replace(few[0], name="sparse", structure=few[0].structure.scaled(9), inherent_positions=None)
    sources = [write_store(tmp_path / "in.h5", sparse, *few[1:])]
    for length, wrong in ((1.1, 1), (1000, len(few))):
        path = tmp_path / f"{length}.h5"
        with pytest.raises(DataError, match=f"^{wrong} of {len(few)} structures .*: neighbours are .* apart"):
            convert(sources, path, length_scale=length)
        assert len(list(Path(f"{path}.parts").glob("*.h5"))) == len(few) - wrong
    with pytest.raises(InputError, match="length_scale is -1"):
        convert(sources, path, length_scale=-1)


def test_other_options_do_not_mix_with_a_store(folder, tmp_path):
    path = convert([folder], tmp_path / "s.h5", times="#0")
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"another job \(different times\)"):
        convert([folder], path, times="#1")
    assert path.read_bytes() == before
    convert([folder], path, times="#1", overwrite=True)
    assert open_dataset(path).fs == pytest.approx([0.8])


def test_a_store_is_not_its_own_source(data, tmp_path):
    shutil.copy(data / "store_v1.h5", tmp_path / "s.h5")
    with pytest.raises(InputError, match="source and the destination"):
        convert([tmp_path / "s.h5"], tmp_path / "s.h5")
    # A folder that holds the destination would swallow it on the second run.
    with pytest.raises(InputError, match="inside"):
        convert([tmp_path], tmp_path / "t.h5")


def test_memory_does_not_grow_with_the_number_of_structures(folder, tmp_path):
    def peak(sources, name):
        tracemalloc.start()
        convert(sources, tmp_path / name)
        value = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return value

    peak(sorted((folder / "test").iterdir())[:1], "warm.h5")
    few = peak(sorted((folder / "test").iterdir())[:2], "few.h5")
    # The smaller of two: what else the process does for the first time is no growth.
    assert min(peak([folder], f"many{k}.h5") for k in range(2)) < 1.5 * few


# Interruptions

SLOW = """
import sys, time
from propensity.data.convert import convert

if __name__ == "__main__":
    try:
        workers = int(sys.argv[3])
        convert([sys.argv[1]], sys.argv[2], workers=workers, progress=lambda done, total: time.sleep(0.02))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
@pytest.mark.parametrize(("workers", "targets"), [(1, (1, 12)), (2, (4, 14))])
def test_killed_again_and_again_gives_what_an_uninterrupted_run_gives(folder, tmp_path, workers, targets):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    path, parts = tmp_path / "s.h5", tmp_path / "s.h5.parts"
    rng = random.Random(workers)
    kills = 0
    for target in targets:
        job = subprocess.Popen(
            [sys.executable, script, folder, path, str(workers)],
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 300
        while job.poll() is None and time.monotonic() < deadline:
            if len(list(parts.glob("[!.]*.h5"))) >= target:
                time.sleep(rng.random() * 0.02)
                job.send_signal(signal.SIGKILL)
                kills += job.wait() == -signal.SIGKILL
                break
            time.sleep(0.002)
        assert not path.exists() or job.returncode == 0
        wait_for_group(job.pid)
    assert kills >= len(targets) - 1
    done = subprocess.run(
        [sys.executable, script, folder, path, str(workers)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not parts.exists()
    assert_same_data(path, convert([folder], tmp_path / "whole.h5"))


def wait_for_group(group: int) -> None:
    """Workers of a killed parent must end by themselves."""
    for _ in range(400):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("workers outlive their parent")


@pytest.mark.skipif(os.name != "posix", reason="kills processes")
@pytest.mark.parametrize("moment", ["os.replace", "os.fsync", "shutil.rmtree"])
def test_killed_while_merging(data, tmp_path, moment):
    """Before the rename the old store is whole, after it the new one."""
    path = tmp_path / "s.h5"
    source = data / "ka3d_few_train.npz"
    script = (
        "import os, shutil, signal, sys\nfrom pathlib import Path\nfrom propensity.data.convert import"
        f" convert\nfrom propensity.data.store import writer\nold = {moment}\ndef kill(target, *rest,"
        " **options):\n    if Path(rest[-1] if rest else '.').suffix == '.h5' and 'parts' not in"
        " str(rest[-1]) or not rest:\n        os.kill(os.getpid(), signal.SIGKILL)\n    return old(target,"
        f" *rest, **options)\n{moment} = kill\nconvert([sys.argv[1]], sys.argv[2])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(source), str(path)], capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.exists() == (moment == "shutil.rmtree")
    if path.exists():
        assert len(open_dataset(path)) == 6
    convert([source], path)
    assert len(open_dataset(path)) == 6 and [p.name for p in tmp_path.iterdir()] == ["s.h5"]


@pytest.mark.skipif(os.name != "posix", reason="sends an interrupt")
@pytest.mark.parametrize("n_parts", [0, 3])
def test_ctrl_c_is_quiet_and_resumes(folder, tmp_path, n_parts):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    path, parts = tmp_path / "s.h5", tmp_path / "s.h5.parts"
    job = subprocess.Popen(
        [sys.executable, script, folder, path, "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background jobs, and all that they start, ignore interrupts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    if n_parts:
        while job.poll() is None and len(list(parts.glob("[!.]*.h5"))) < n_parts:
            time.sleep(0.005)
    else:
        time.sleep(0.5)  # while workers start
    os.killpg(job.pid, signal.SIGINT)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    if n_parts:
        assert errors == ""
    wait_for_group(job.pid)
    assert not path.exists()
    assert len(open_dataset(convert([folder], path))) == 24


# Errors in one line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "{data}/none.h5", "{tmp}/s.h5"], "doesn't exist"),
        (["convert", "{data}/README.md", "{tmp}/s.h5"], "no known format"),
        (["convert", "{data}/bapst_small.pickle", "{tmp}/s.zip"], "let it end in .h5"),
        (
            ["convert", "{data}/bapst_small.pickle", "{tmp}/s.h5", "--times", "5"],
            "no time of bapst_small is 5",
        ),
        (
            ["convert", "{data}/bapst_small.pickle", "{tmp}/s.h5", "--labels", "published"],
            "one set of labels",
        ),
        (["convert", "{data}/bapst_small.pickle", "{data}/README.md/s.h5"], "can't be written"),
        (["info", "{data}/none.npz"], "neither a file"),
        # ASE 3.23 takes it for a format of its own.
        (["info", "{data}/README.md"], "README.md holds no frames: give data|frame 0 can't be read"),
        (["info", "{data}/bapst_small.pickle", "--box", "9"], "leave --box out"),
    ],
)
def test_errors_are_one_line(data, tmp_path, arguments, message):
    done = run_here(*(a.format(data=data, tmp=tmp_path) for a in arguments))
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("propensity: error:")]
    assert len(errors) == 1 and any(m in errors[0] for m in message.split("|")), done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.h5"))


# propensity info


def shown(*arguments) -> str:
    result = CliRunner().invoke(info, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_info_of_every_format(data):
    text = shown(data / "bapst_targets.pickle")
    for part in (
        "structures 1 ",
        "particles 30 (A 0.8 B 0.2)",
        "15.0433",
        "temperature 0.44",
        "lj/cut",
        "19327",
        "0.368",
    ):
        assert part in text, (part, text)
    text = shown(data / "isoconfig_N4096T0.44_1_tc07.npz")
    for part in ("4096", "15.0566", "density 1.2 σ⁻³", "force-shifted", "runs 2", "4120"):
        assert part in text, part
    text = shown(data / "ka3d_few_train.npz")
    for part in ("6 (6 train) in 2 groups", "τ_α 4120", "inherent yes", "ceiling"):
        assert part in text, part
    assert "2 state points" in shown(data / "store_v1.h5")
    assert "runs 32" in shown(data / "ka3d_one_valid.npz", "--labels", "published")


def test_info_of_a_model(tiny_model):
    for path in (tiny_model, tiny_model / "model.safetensors", tiny_model / "model.json"):
        text = shown(path)
        for part in ("kind se3gnn", "species A B", "times 1, 10, 100", "density 1.2", "kB"):
            assert part in text, part


def test_info_of_trajectories(tmp_path):
    import ase
    import ase.io

    atoms = ase.Atoms("Ar3He", positions=np.arange(12.0).reshape(4, 3), cell=[10, 11, 12], pbc=True)
    for name in ("t.extxyz", "t.traj"):
        ase.io.write(tmp_path / name, [atoms] * 3)
        assert shown(tmp_path / name) == "frames 3 particles 4 (Ar: 3, He: 1) box 10 × 11 × 12"
    dump = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 5\n0 5\n0 5\nITEM: ATOMS"
        " id type x y z\n1 1 0 0 0\n2 2 1 1 1\n"
    )
    (tmp_path / "t.lammpstrj").write_text(dump.format(0) + dump.format(10))
    said = shown(tmp_path / "t.lammpstrj")
    assert said == "frames 2 particles 2 (1: 1, 2: 1) box 5 × 5 × 5"
    plain = "2\nframe {}\nA 0 0 0\nB 1 1 1\n"
    (tmp_path / "plain.xyz").write_text(plain.format(0) + plain.format(1))
    assert shown(tmp_path / "plain.xyz").endswith("box none: give one by --box")
    said = shown(tmp_path / "plain.xyz", "--box", "4,5,6")
    assert said == "frames 2 particles 2 (A: 1, B: 1) box 4 × 5 × 6"
    with pytest.raises(PropensityError, match="three positive edges"):
        shown(tmp_path / "plain.xyz", "--box", "0")
    with pytest.raises(PropensityError, match="box of its own"):
        shown(tmp_path / "t.lammpstrj", "--box", "5")
    (tmp_path / "cut.lammpstrj").write_text(dump.format(0) + dump.format(10)[:-4])
    with pytest.raises(PropensityError, match=r"frame 1 can't be read: .*no line end"):
        shown(tmp_path / "cut.lammpstrj")
    (tmp_path / "empty.extxyz").write_text("")
    with pytest.raises(PropensityError, match=r"empty\.extxyz"):
        shown(tmp_path / "empty.extxyz")


def test_a_process_that_dies_is_one_sentence(folder, tmp_path, monkeypatch):
    """What is done is kept, and the same call goes on."""

    class Dies:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def submit(self, task, entry):
            future = Future()
            if task.writer.done():
                future.set_exception(BrokenProcessPool("a child died"))
            else:
                future.set_result(task(entry))
            return future

        def shutdown(self, **options):
            pass

    monkeypatch.setattr("propensity.data.convert.ProcessPoolExecutor", Dies)
    with pytest.raises(PropensityError, match=r"process that converts died .*\.parts, and the same command"):
        convert([folder], tmp_path / "out.h5", workers=2)
    monkeypatch.undo()
    seen = []
    convert([folder], tmp_path / "out.h5", workers=1, progress=lambda *a: seen.append(a))
    assert seen[0][0] >= 1 and len(open_dataset(tmp_path / "out.h5")) == 24
