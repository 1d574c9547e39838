import subprocess
import sys

import pytest

from propensity.cli import main as cli
from propensity.errors import InputError
from tests.commands import run_here as run


def test_help_lists_every_verb_without_importing_torch():
    code = (
        "import sys; from propensity.cli.main import main; main.main(['--help'], standalone_mode=False);"
        " sys.exit('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0
    for verb in cli.VERBS:
        assert verb in shown.stdout


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb):
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert "Usage: " in out
    assert max(map(len, out.splitlines())) <= 80
    assert "None" not in out


@pytest.mark.parametrize("verb", cli.VERBS)
def test_unknown_option_is_one_line(verb):
    code, _, err = run(verb, "--no-such-option")
    assert code == 2
    assert err.count("\n") == 1
    assert "--no-such-option" in err


def test_unknown_verb_names_the_nearest():
    code, _, err = run("trian")
    assert code == 2
    assert err.endswith("the nearest is 'train'.\n")


def test_errors_are_one_line_and_debug_shows_all(monkeypatch):
    def fail(*args, **kwargs):
        raise InputError("cutoff is −1: give a positive number.")

    monkeypatch.setattr(cli.main, "main", fail)
    code, _, err = run("train")
    assert code == 1
    assert err == "propensity: error: cutoff is −1: give a positive number.\n"
    with pytest.raises(InputError):
        run("--debug", "train")


def test_import_changes_nothing_global():
    code = (
        "import os, random, sys\nbefore = dict(os.environ), random.getstate()\nimport propensity\nassert"
        " 'torch' not in sys.modules\nimport torch, numpy\nstate = torch.get_default_dtype(),"
        " torch.initial_seed(), torch.get_num_threads(), torch.is_grad_enabled()\nimport propensity.nn,"
        " propensity.predictor, propensity.nn.kernels\npropensity.nn.kernels.available_kernels()\nassert"
        " state == (torch.get_default_dtype(), torch.initial_seed(), torch.get_num_threads(),"
        " torch.is_grad_enabled())\nassert before[1] == random.getstate()\nassert {k: v for k, v in"
        " os.environ.items() if not k.startswith('KMP')} == {k: v for k, v in before[0].items() if not"
        " k.startswith('KMP')}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
