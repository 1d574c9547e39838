"""Who only predicts needs no Lightning, TensorBoard or scikit-learn; who trains is told what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Makes the packages of the extra ``train`` absent.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("lightning", "pytorch_lightning", "sklearn", "tensorboard")))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT + code], capture_output=True, text=True)


def test_prediction_needs_no_extra(tiny_model):
    code = f"""
import numpy as np
from propensity import Predictor, Structure, PropensityCalculator, PropensityAnalysis, annotate
rng = np.random.default_rng(0)
sites = np.stack(np.meshgrid(*[np.arange(5)] * 3), -1).reshape(-1, 3) + 0.1 * rng.random((125, 3))
structure = Structure(sites * 0.94, np.arange(125) % 5 // 4, 4.7)
assert np.isfinite(Predictor({str(tiny_model)!r}).predict(structure)).all()
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", [["train", "x.h5", "-o", "run"], ["train", "x.h5", "--model", "ridge"]])
def test_training_says_what_to_install(verb, tmp_path, data_file):
    words = [str(data_file) if word == "x.h5" else word for word in verb]
    code = f"""
import os; os.chdir({str(tmp_path)!r})
sys.argv = ["propensity", *{words!r}]
from propensity.cli.main import run
run()
"""
    done = run(code)
    assert done.returncode == 1
    assert 'pip install "propensity[train]"' in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.fixture
def data_file(tmp_path):
    from propensity.data import StoreWriter
    from tests.training.conftest import make_sample

    path = tmp_path / "toy.h5"
    with StoreWriter(path) as store:
        for seed in range(4):
            store.add(make_sample(seed))
    return path
