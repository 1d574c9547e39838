"""The verbs view, report and analyse, on files as users have them."""

from __future__ import annotations

import json

import pytest

from tests.commands import run_here as run
from tests.conftest import make_liquid
from tests.data.conftest import DATA
from tests.trajectory.conftest import write_dump

MAP = ("--species-map", "1=A,2=B")


@pytest.fixture
def annotated(tmp_path, tiny_model):
    """Three annotated frames of 200 particles."""
    write_dump(tmp_path / "in.dump", [make_liquid(200, seed=k) for k in range(3)])
    code, _, err = run(
        "annotate",
        tmp_path / "in.dump",
        "-o",
        tmp_path / "out.dump",
        "-m",
        tiny_model,
        "--species-map",
        "1=A,2=B",
    )
    assert (code, err) == (0, "")
    return tmp_path / "out.dump"


def test_view_draws(annotated, tmp_path):
    code, shown, err = run(
        "view", annotated, "-o", tmp_path / "p.png", "--slab", 0, "--time", 10, "--frame", 2
    )
    assert (code, err) == (0, "") and "wrote" in shown
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run(
        "view", annotated, "-o", tmp_path / "p.svg", "--renderer", "matplotlib", "--scale", "relative"
    )
    assert (code, err) == (0, "") and "<svg" in (tmp_path / "p.svg").read_text()[:2000]


def test_report_writes_a_page(annotated, tmp_path):
    code, shown, err = run("report", annotated, "-o", tmp_path / "p.html", "--title", "Mine", "--frames", 2)
    assert (code, err) == (0, "") and "2 frame(s)" in shown
    assert "<title>Mine</title>" in (tmp_path / "p.html").read_text()


def test_report_shows_a_training(tmp_path):
    from propensity.viewing import load_scene

    data = DATA / "ka3d_few_train.npz"
    code, _, err = run("train", data, "--model", "energy", "-o", tmp_path / "r", "--split", "structure")
    assert code == 0, err
    code, _, err = run("report", tmp_path / "r", "-o", tmp_path / "r.html")
    assert code == 0, err
    scene = load_scene(tmp_path / "r")
    assert scene.part in ("test", "valid") and scene.fields == ("predicted", "simulated")
    assert scene.scores == json.loads((tmp_path / "r" / "metrics.json").read_text())[scene.part]


def test_analyse_prints_and_writes(annotated, tmp_path):
    code, shown, err = run("analyse", annotated, "-o", tmp_path / "a", "--fraction", 0.2)
    assert (code, err) == (0, "")
    assert "predicted, 3 frame(s)" in shown and "F_s" in shown
    tables = shown.split("ξ: C(r)")[0]
    assert all(len(line.rstrip()) <= 80 for line in tables.splitlines())
    stored = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert [row["time"] for row in stored["rows"]] == [1, 10, 100]
    assert (tmp_path / "a" / "analysis.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["view", "nothing.dump"], "nothing.dump doesn't exist"),
        (["view", "{file}", "-o", "a.txt"], "give it the extension .png"),
        (["view", "{file}", "--time", "7", "-o", "a.png"], "time 7 is not among"),
        (["view", "{file}", "--show", "predicte", "-o", "a.png"], "nearest is 'predicted'"),
        (["view", "{file}", "--map", "jetty"], "unknown to matplotlib"),
        (["report", "{file}", "-o", "a.pdf"], "extension .html"),
        (["report", "{file}", "--match", "0"], "write pairs of indices"),
        (["analyse", "{file}", "--times", "1,x"], "no number"),
        (["analyse", "{file}", "--r-max", "99"], "half the smallest width"),
    ],
)
def test_mistakes_are_one_sentence(annotated, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*(a.format(file=annotated) for a in arguments))
    assert code != 0 and message in err and len(err.strip().splitlines()) == 1
