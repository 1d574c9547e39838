"""The whole run from the command line: what it leaves behind, going on, and errors that damage nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from propensity.cli.evaluate import command as evaluate_command
from propensity.cli.models import command as models_command
from propensity.cli.train import command as train_command
from propensity.data import StoreWriter
from propensity.errors import DataError, InputError, PropensityError, PropensityWarning
from propensity.estimators.storage import load_model
from propensity.locks import FileLock
from propensity.runs.curves import plot_learning_curve, read_log
from propensity.runs.run import set_up
from tests.training.conftest import make_sample

FAST = [
    "--l-max",
    "1",
    "--channels",
    "2",
    "--layers",
    "2",
    "--epochs",
    "2",
    "--kernel",
    "reference",
    "--device",
    "cpu",
]


def run(command, *args):
    """Call a command; errors come out as they are."""
    return CliRunner().invoke(
        command, [str(arg) for arg in args], catch_exceptions=False, standalone_mode=False
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "toy.h5"
    with StoreWriter(path, n_expected=10) as store:
        for seed in range(10):
            store.add(make_sample(seed, group=f"parent {seed // 2}"))
    return path


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    result = run(train_command, data, *FAST, "--species", "A,B", "--readout", "species", "-o", folder)
    return folder, result.output


def test_folder_of_a_run_is_complete(finished):
    folder, output = finished
    for name in ("learning_curve.png", "predicted_vs_true.png"):
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    for name in (
        "model.safetensors",
        "model.json",
        "log.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    ):
        assert (folder / name).stat().st_size > 0
    assert list((folder / "tensorboard").glob("events*"))
    splits = json.loads((folder / "splits.json").read_text())
    assert [len(splits[part]) for part in ("train", "valid", "test")] == [4, 4, 2]
    # Halves of a pair have one parent and stay together.
    assert all(
        {int(name.split("/")[1]) // 2 for name in splits["train"]}.isdisjoint(
            int(name.split("/")[1]) // 2 for name in splits[part]
        )
        for part in ("valid", "test")
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    card = load_model(folder).card
    assert card.metrics == metrics and set(metrics) == {"valid", "test"}
    assert card.name == "first" and card.training["split"] == {"train": 4, "valid": 4, "test": 2}
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["l_max"] == 1 and config["weight_decay"] == 1e-7  # given and default options alike
    assert "4 train, 4 valid, 2 test structures" in output and "test: 2 structures" in output


def test_evaluate_gives_the_scores_of_the_run(finished, data, tmp_path):
    folder, _ = finished
    result = run(evaluate_command, folder, data, "-o", tmp_path, "--kernel", "reference", "--resamples", 50)
    scores = json.loads((tmp_path / "metrics.json").read_text())
    assert scores["n_structures"] == 6 and np.shape(scores["species"]["B"]["pearson_pooled"]) == (2,)
    assert f"{scores['species']['A']['pearson_pooled'][0]:.3f}" in result.output
    assert (tmp_path / "pearson.png").exists() and (tmp_path / "predicted_vs_true.png").exists()
    one = run(evaluate_command, folder, data, "--times", "#1", "--species", "B", "--resamples", 50)
    assert "6 structure(s)" in one.output
    assert (
        "scored: 6 of 10 structures, those the model was not trained on (4 train, 4 valid, 2 test"
        in one.output
    )


@pytest.mark.parametrize(("split", "n"), [("all", 10), ("train", 4), ("valid", 4), ("test", 2)])
def test_evaluate_scores_the_part_that_is_asked_for(split, n, finished, data):
    folder, _ = finished
    options = ["--resamples", 20, "--kernel", "reference"]
    done = run(evaluate_command, folder, data, "--split", split, *options)
    assert f"{n} structure(s)" in done.output and "scored: " in done.output
    # Structures of one parent count once.
    assert ("no intervals" in done.output) == (n < 6) and ("±" in done.output) == (n > 6)
    if split == "all":
        assert "4 of which the model was trained on" in done.output


@pytest.mark.parametrize("match", ["-1:0", "0:-1", "9:9", "0:9", "0", "a:b", ""])
def test_pairs_of_times_out_of_range_are_one_sentence(match, finished, data):
    with pytest.raises(InputError, match="counted from 0"):
        run(evaluate_command, finished[0], data, "--match", match, "--kernel", "reference")


def test_models_shows_a_card(finished):
    output = run(models_command, finished[0]).output
    for text in ("first", "se3gnn", "toy.h5", "test: 2 structures", "Apache-2.0"):
        assert text in output
    assert "model" in run(models_command).output


def test_configuration_repeats_the_run(finished, data, tmp_path):
    folder, _ = finished
    run(train_command, "--config", folder / "config.yaml", "-o", tmp_path / "again", "--quiet")
    ours, theirs = (read_log(path / "log.csv") for path in (folder, tmp_path / "again"))
    for name in ("step", "learning_rate", "loss", "valid_pearson"):
        np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)
    assert (tmp_path / "again/splits.json").read_text() == (folder / "splits.json").read_text()


def test_resume_goes_on_to_more_epochs(finished, data, tmp_path):
    run(train_command, data, *FAST, "-o", tmp_path / "r", "--quiet")
    run(train_command, "--resume", tmp_path / "r", "--epochs", 3, "--quiet")
    assert read_log(tmp_path / "r/log.csv")["epoch"].tolist() == [1, 2, 3]
    assert yaml.safe_load((tmp_path / "r/config.yaml").read_text())["epochs"] == 3


@pytest.mark.parametrize("kind", ["ridge", "density"])
def test_every_kind_trains_by_the_same_command(data, tmp_path, kind):
    run(train_command, data, "--model", kind, "--times", "10", "-o", tmp_path / kind, "--quiet")
    assert load_model(tmp_path / kind).card.times == (10.0,)
    assert json.loads((tmp_path / kind / "metrics.json").read_text())["test"]["n_structures"] == 2


def test_own_validation_and_test_files(tmp_path, data):
    for name, seeds in (("v", (20, 21)), ("t", (22,))):
        with StoreWriter(tmp_path / f"{name}.h5", n_expected=len(seeds)) as store:
            for seed in seeds:
                store.add(make_sample(seed))
    run(
        train_command,
        data,
        "--valid",
        tmp_path / "v.h5",
        "--test",
        tmp_path / "t.h5",
        *FAST,
        "--epochs",
        1,
        "-o",
        tmp_path / "run",
        "--quiet",
    )
    splits = json.loads((tmp_path / "run/splits.json").read_text())
    assert [len(splits[part]) for part in ("train", "valid", "test")] == [10, 2, 1]


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, error, message",
    [
        (["{data}", "--times", "3"], InputError, "no time of .* is 3: choose among 1, 10"),
        (["{data}", "--times", "fs=0.5"], InputError, "doesn't say F_s"),
        (["{data}", "--species", "C"], InputError, "'C'"),
        (["nothing.h5"], DataError, "nothing.h5 doesn't exist"),
        ([], InputError, "no data was given"),
        (["{data}", "--l-max", "two"], InputError, "l_max is 'two'"),
        (["{data}", "--split", "files"], InputError, "doesn't say whether it trains or tests"),
        (["{data}", "--resume", "nowhere"], DataError, "holds no run"),
        (["--resume", "{run}", "--l-max", "2"], InputError, "'l_max' can't change when a run goes on"),
        (["{data}", "-o", "{run}"], PropensityError, "already holds a run: choose another --output"),
        (["{data}", "-o", "/proc/run"], PropensityError, "can't be written"),
        (["{data}", "-o", "{data}"], PropensityError, "is a file: choose another --output"),
        (["{data}", "--config", "a.yaml", "--resume", "b"], InputError, "exclude each other"),
    ],
)
def test_errors_are_one_sentence_and_damage_nothing(
    finished, data, tmp_path, monkeypatch, args, error, message
):
    folder, _ = finished
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(error, match=message) as caught:
        run(train_command, *(arg.format(data=data, run=folder) for arg in args))
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.rglob("model.*"))


@pytest.mark.parametrize(
    "args, message",
    [
        (["--match", "0"], "write pairs of indices"),
        (["--resamples", "0"], "--resamples is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--species", "C"], "'C' is unknown"),
        (["--device", "cuda:9"], "not available"),
    ],
)
def test_errors_of_evaluate_are_one_sentence(finished, data, args, message):
    with pytest.raises(PropensityError, match=message):
        run(evaluate_command, finished[0], data, *args)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.9}, "T = 0.5 and 0.9 are learned as one liquid.*--condition temperature"),
        ({"potential": "soft"}, "potential = .* are learned as one liquid.*a model for each"),
    ],
)
def test_several_liquids_in_one_model_are_said(changes, message, tmp_path):
    with StoreWriter(tmp_path / "two.h5") as store:
        for seed in range(6):
            store.add(make_sample(seed, **{"potential": "lj/cut", **({} if seed % 2 else changes)}))
    with pytest.warns(PropensityWarning, match=message):
        set_up({"data": [str(tmp_path / "two.h5")], "output": str(tmp_path / "run"), "fractions": [1, 0, 0]})


def test_ctrl_c_leaves_a_model_and_says_how_to_go_on(data, tmp_path):
    args = [*FAST, "--epochs", "100000", "-o", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "propensity.cli.main", "train", str(data), *args],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "go on with `propensity train --resume" in errors and "Traceback" not in errors
    assert np.isfinite(load_model(tmp_path / "run").predict(make_sample(1).structure)).any()
    assert read_log(tmp_path / "run/log.csv")["epoch"][0] == 1


def test_learning_curve_without_validation(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,step,learning_rate,loss,seconds\n1,2,0.1,0.5,1\n2,4,0.1,0.4,2\n")
    plot_learning_curve(tmp_path / "log.csv", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_two_processes_do_not_train_in_one_folder(finished):
    folder, _ = finished
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with FileLock(folder / ".lock", passing=True):
        with pytest.raises(PropensityError, match="another process is training"):
            set_up({}, folder).train()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
