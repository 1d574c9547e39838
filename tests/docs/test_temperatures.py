"""The Python of docs/temperatures.md runs as it stands, and its options exist."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from propensity.errors import PropensityWarning
from propensity.estimators.storage import load_card

PAGE = (Path(__file__).parents[2] / "docs" / "temperatures.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippet(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error", PropensityWarning)
        exec(compile(SNIPPETS[number], f"temperatures.md snippet {number}", "exec"), names)
    if "predictor" in names:
        assert names["predictor"].temperature == 0.47
        assert names["predictor"].times.tolist() == [10, 300]
    else:
        card = load_card(tmp_path / "runs/ka-0.47/model.json")
        assert (card.temperature, card.times, card.conditions) == (0.47, (10, 300), None)


def test_every_option_that_the_page_names_exists():
    from propensity.cli import annotate, convert, train
    from propensity.runs.flags import flags

    options = [*flags("se3gnn"), *flags("gated")]
    known = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    for verb in (annotate, convert, train):
        known |= {flag for option in verb.command.params for flag in option.opts}
    named = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", PAGE))
    assert named
    assert named - {"--on", "--clock", "--share", "--into"} <= known  # those are of benchmarks
