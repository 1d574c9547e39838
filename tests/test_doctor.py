"""The doctor finds what is there, names what is missing with its remedy, and notices a wrong number."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from propensity import doctor
from propensity.cli.doctor import command
from propensity.errors import PropensityError


def found(name, findings):
    return next(finding for finding in findings if finding.name == name)


def test_what_is_here():
    findings = list(doctor.examine(self_test=False))
    assert found("torch", findings).verdict == "ok"
    assert "runs" in found("kernel (cpu)", findings).detail
    assert all(finding.remedy for finding in findings if finding.verdict != "ok" and finding.name != "MPI")


def test_missing_packages_have_a_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("lightning-that-is-not", "triton"))
    first = next(doctor._packages())
    assert first.verdict == "broken" and first.remedy == "pip install lightning-that-is-not"


def test_what_raises_is_a_finding():
    def look():
        raise OSError("the library\nis gone")
        yield

    assert list(doctor._guarded("LAMMPS", look)) == [
        doctor.Finding("LAMMPS", "the library is gone", "broken")
    ]


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
    assert doctor._writable(tmp_path / "not" / "yet")
    monkeypatch.setattr(
        doctor.tempfile, "TemporaryFile", lambda dir: (_ for _ in ()).throw(PermissionError())
    )
    assert not doctor._writable(tmp_path)
    assert {finding.verdict for finding in doctor._caches()} == {"absent"}


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "ok"), (1e-3, "broken")])
def test_a_wrong_kernel_is_noticed(monkeypatch, shift, verdict):
    class Stub:
        def __init__(self, model, *, device=None, kernel="auto"):
            self.shift = 0.0 if kernel == "reference" else shift

        def predict(self, structure):
            return np.linspace(0, 1, 7 * len(structure)).reshape(-1, 7) + self.shift

    monkeypatch.setattr("propensity.predictor.Predictor", Stub)
    (finding,) = doctor._self_test()
    assert finding.verdict == verdict


def test_the_verb_exits_with_one_where_something_is_broken(monkeypatch):
    findings = [doctor.Finding("torch", "2.13"), doctor.Finding("kernel", "none", "broken", "pip install x")]
    monkeypatch.setattr(doctor, "examine", lambda self_test: iter(findings))
    result = CliRunner().invoke(command)
    assert isinstance(result.exception, PropensityError) and "kernel" in str(result.exception)
    assert "→ pip install x" in result.output


def test_python_m():
    run = [sys.executable, "-m", "propensity", "--version"]
    shown = subprocess.run(run, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("propensity, version ")
