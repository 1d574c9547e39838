"""Recorded trainings, and two processes that train together: the numbers of one that does neither."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from propensity.data import StoreWriter
from propensity.estimators.training_config import TrainingConfig
from propensity.nn import SE3GNN
from propensity.nn import cuda_graph as capture
from propensity.runs.curves import read_log
from propensity.training import fit_network, module
from propensity.training.checkpoints import read_checkpoint
from propensity.training.graphs import labelled_graph
from propensity.training.module import mean_squared_error
from propensity.training.network_card import network_card
from tests.nn.test_cuda_graph import run_again
from tests.training.conftest import SMALL, make_sample

OPTIONS = {key: value for key, value in SMALL.items() if key != "progress"}


@pytest.fixture
def recorded_here(monkeypatch):
    """Recordings on the CPU, which run their function anew."""
    monkeypatch.setattr(capture, "record", run_again)
    for name in (capture, module):
        monkeypatch.setattr(name, "can_capture", lambda network: True)


def alike(seeds):
    """Samples of one structure with different labels, all moved alike, so that no recording has room to
    fill."""
    structure = make_sample(0).structure
    moved = structure.positions + [0.05, 0.02, -0.1]
    return [make_sample(seed, structure=structure, inherent_positions=moved) for seed in seeds]


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 2}, {"input_positions": "both", "thermal_layers": 1}],
    ids=["", "batches", "both"],
)
def test_recorded_is_eager(options, request):
    """Bit for bit, with a remainder that is not recorded."""
    options = {**OPTIONS, "dropout": 0.0, "ema": 0.9, **options}
    expected = fit_network(alike(range(5)), alike([7]), **options).network.state_dict()
    request.getfixturevalue("recorded_here")
    found = fit_network(alike(range(5)), alike([7]), **options).network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


TWO_PROCESSES = """
import json, os, sys
from propensity.nn import cuda_graph as capture
from propensity.training import fit_network, module
from tests.nn.test_cuda_graph import run_again
from tests.training.conftest import SMALL, make_sample
if len(sys.argv) > 6:
    capture.record = run_again
    capture.can_capture = module.can_capture = lambda network: True
    one = make_sample(0).structure
    make_one, make_sample = make_sample, lambda seed: make_one(seed, structure=one)
if __name__ == "__main__":
    seeds, epochs = [int(c) for c in sys.argv[2]], int(sys.argv[3])
    options = {**SMALL, "dropout": 0.0, "epochs": epochs, "devices": 2, "milestones": ()}
    options |= {"learning_rate": float(sys.argv[4]), **json.loads(os.environ.get("TRAIN_OPTIONS", "{}"))}
    valid = [make_sample(int(c)) for c in sys.argv[5]]
    fit_network([make_sample(seed) for seed in seeds], valid, folder=sys.argv[1], **options)
"""

#: In front of that: what processes say to each other, in the order of the first one.
LISTEN = """
from torch.distributed import ProcessGroup
said = []
def listened(name, call):
    def heard(*arguments, **options):
        said.append(name)
        return call(*arguments, **options)
    return heard
names = ("allreduce", "allgather", "all_gather_single", "broadcast", "barrier", "reduce", "gather", "scatter")
for name in filter(ProcessGroup.__dict__.__contains__, names):
    setattr(ProcessGroup, name, listened(name, getattr(ProcessGroup, name)))
"""

#: Behind it: what they said, to the folder.
WRITE = """
    import pathlib
    rank = os.environ.get("LOCAL_RANK", "0")
    pathlib.Path(sys.argv[1], "said" + rank).write_text(json.dumps(said))
"""


def train_on_two_processes(tmp_path, seeds, epochs, rate, valid, *recorded, before="", after="", **options):
    script, folder = tmp_path / "train.py", tmp_path / "double"
    script.write_text(before + TWO_PROCESSES + after)
    folder.mkdir()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    env["TRAIN_OPTIONS"] = json.dumps(options)
    done = subprocess.run(
        [sys.executable, str(script), str(folder), seeds, str(epochs), str(rate), valid, *recorded],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("recorded", [[], ["recorded"]], ids=["launched", "recorded"])
def test_two_processes_take_the_mean_of_their_gradients(tmp_path, recorded):
    folder = train_on_two_processes(tmp_path, "01", 1, 1e-2, "567", *recorded)
    state = read_checkpoint(folder / "checkpoints/last.ckpt")
    moments = state["optimizer_states"][0]["state"]
    both = alike([0, 1]) if recorded else [make_sample(seed) for seed in (0, 1)]
    config = TrainingConfig(**{**OPTIONS, "dropout": 0.0})
    card = network_card(both, config)
    torch.manual_seed(0)
    network = SE3GNN(**config.network_options(2, 2)).train()
    for sample in both:
        graph = labelled_graph(sample, config, card, torch.float32)
        (0.5 * mean_squared_error(network(graph), graph)).backward()
    for moment, (name, parameter) in zip(moments.values(), network.named_parameters(), strict=True):
        # After one step Adam's first moment is (1 − β₁) times the gradient.
        torch.testing.assert_close(moment["exp_avg"] / 0.05, parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_two_processes_learn_as_one_does_from_two_structures_a_step(tmp_path):
    """The same curve but for batch norm, whose statistics are those of each structure."""
    double = read_log(train_on_two_processes(tmp_path, "01234567", 8, 5e-3, "89") / "log.csv")
    options = {
        **OPTIONS,
        "dropout": 0.0,
        "epochs": 8,
        "milestones": (),
        "learning_rate": 5e-3,
        "batch_size": 2,
    }
    train, valid = ([make_sample(seed) for seed in seeds] for seeds in (range(8), (8, 9)))
    fit_network(train, valid, folder=tmp_path / "single", **options)
    single = read_log(tmp_path / "single" / "log.csv")
    assert np.array_equal(single["step"], double["step"]) and single["loss"][-1] < 0.5 * single["loss"][0]
    np.testing.assert_allclose(double["loss"], single["loss"], rtol=0.05)
    np.testing.assert_allclose(double["valid_pearson"], single["valid_pearson"], atol=0.03)


def test_a_step_of_two_processes_is_one_exchange_and_an_epoch_one_more(tmp_path):
    """Twelve steps in three epochs say eight sums of gradients and one loss more than four steps in two, and
    nothing that would wait for a device, or for the checkpoint of the first process."""
    counts = []
    for seeds, epochs in (("0123", 2), ("01234567", 3)):
        place = tmp_path / seeds
        place.mkdir()
        folder = train_on_two_processes(
            place, seeds, epochs, 1e-3, "89", "recorded", before=LISTEN, after=WRITE, validate_every=1000
        )
        counts.append([Counter(json.loads((folder / f"said{rank}").read_text())) for rank in (0, 1)])
    for few, many in zip(*counts, strict=True):
        assert few["allreduce"] >= 4
        assert many - few == {"allreduce": 8, "allgather": 1} and not few - many


@pytest.mark.parametrize("valid", ["567", "5"], ids=["shared", "fewer than processes"])
def test_two_processes_share_validation(tmp_path, valid):
    """At a vanishing rate, where rounding can't grow: the losses and scores of one process, in half the
    steps."""
    train_on_two_processes(tmp_path, "0000", 3, 1e-9, valid)
    fit_network(
        [make_sample(0), make_sample(0)],
        [make_sample(int(seed)) for seed in valid],
        folder=tmp_path / "single",
        progress=False,
        **{**OPTIONS, "dropout": 0.0, "epochs": 3, "learning_rate": 1e-9, "milestones": ()},
    )
    ours, theirs = (read_log(tmp_path / run / "log.csv") for run in ("double", "single"))
    assert ours["step"].tolist() == [2, 4, 6]  # four structures an epoch, two at a time
    for name in ("loss", "valid_loss", "valid_pearson", "A t=1"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_both(tmp_path):
    """By one sentence, of the first process."""
    script = tmp_path / "train.py"
    script.write_text(TWO_PROCESSES)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "0123", "9", "1e30", "5"],
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 1 and done.stderr.count("PropensityError: the loss became") == 1, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_first_process_ends_both(tmp_path, number):
    """Wherever it finds it in a step."""
    script, folder = tmp_path / "train.py", tmp_path / "run"
    script.write_text(TWO_PROCESSES)
    folder.mkdir()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), "01", "100000", "1e-3", "5"]
    running = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "log.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        running.send_signal(number)
        _, told = running.communicate(timeout=300)
        assert running.returncode != 0 and "TrainingInterrupted: interrupted after" in told, told[-3000:]
        with pytest.raises(ProcessLookupError):  # nothing is left of the group
            os.killpg(running.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_process_that_dies_is_one_sentence_and_the_run_goes_on(tmp_path, victim):
    """kill −9 of either of two processes, by the program itself."""
    data, folder = tmp_path / "d.h5", tmp_path / "run"
    with StoreWriter(data) as writer:
        for seed in range(6):
            writer.add(make_sample(seed))
    options = "--device cpu --devices 2 --epochs 100000 --l-max 1 --channels 2 --layers 1 -o".split()
    program = [sys.executable, "-m", "propensity", "train"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [*program, str(data), *options, str(folder)],
        env=env,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 200
        while not (folder / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        (second,) = (
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _parent(entry) == running.pid and b"train" in _words(entry)
        )
        os.kill(running.pid if victim == "first" else second, signal.SIGKILL)
        _, told = running.communicate(timeout=100)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    said = [line for line in told.splitlines() if line.startswith("propensity: error:")]
    assert len(said) == 1 and "Traceback" not in told, told[-3000:]
    assert re.search(
        rf"died.*is in .*checkpoints, so go on with `propensity train --resume {folder}`", said[0]
    )
    if victim == "second":
        assert running.returncode == 1 and "process 2 of 2 died by signal 9" in said[0]
    before = len(read_log(folder / "log.csv")["step"])
    again = [*program, "--resume", str(folder), "--epochs", str(before + 2), "--devices", "1"]
    done = subprocess.run(again, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and (folder / "model.json").exists(), done.stderr[-2000:]


def _parent(process):
    with suppress(OSError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def _words(process):
    with suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""


def test_lightning_still_has_what_is_left_out():
    """Under another name it would come back unseen."""
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
    from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

    assert "_broadcast_sigterm_tensor" in vars(_TrainingEpochLoop)
    assert "register_signal_handlers" in vars(_SignalConnector)
