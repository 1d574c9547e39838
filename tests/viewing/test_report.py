"""The page as text: what it holds equals the scene, and nothing a user wrote can leave its place."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest

from propensity.errors import InputError
from propensity.statistics import pearson
from propensity.viewing import write_report
from propensity.viewing.figures import correlations, scores
from propensity.viewing.packing import quantised
from propensity.viewing.report import render
from tests.conftest import make_liquid
from tests.viewing.conftest import make_scene, planar


def parts(page: str) -> tuple[dict, bytes]:
    """Description and arrays of a page."""
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1]
    arrays = re.search(r'id="arrays">(.*?)</script>', page, re.DOTALL)[1]
    return json.loads(data), base64.b64decode(arrays)


def array(raw: bytes, reference: list) -> np.ndarray:
    kind, offset, size = reference
    return np.frombuffer(raw, np.dtype("<" + kind), size, offset)


def test_the_page_holds_the_scene(scene):
    description, raw = parts(render(scene))
    assert description["times"] == [1.0, 10.0, 100.0] and description["time_index"] == 1
    for frame, stored in zip(scene.frames, description["frames"], strict=True):
        n = len(frame.structure)
        for name, values in frame.fields.items():
            found = array(raw, stored["fields"][name]).reshape(3, n).T
            np.testing.assert_array_equal(found, values.astype(np.float32))
        assert array(raw, stored["ids"]).tolist() == list(range(1, n + 1))
        fractions = array(raw, stored["positions"]).reshape(n, 3) / 65535
        away = fractions @ np.array(stored["cell"]) - frame.structure.positions
        edge = frame.structure.cell[0, 0]
        assert np.abs(away - edge * np.round(away / edge)).max() <= edge / 131070 * 1.01
    # Frames that share types store them once.
    same = make_scene(2)
    same.frames[1] = replace(same.frames[0], name="again")
    stored = parts(render(same))[0]["frames"]
    assert stored[0]["types"] == stored[1]["types"] and stored[0]["positions"] == stored[1]["positions"]


def test_open_and_planar_boxes_hold_their_particles():
    from propensity.structure import Structure

    liquid = make_liquid(50)
    for structure in (
        Structure(liquid.positions, liquid.types, np.zeros((3, 3)), False),
        Structure(liquid.positions, liquid.types, liquid.cell, (True, True, False)),
        planar(),
    ):
        fractions, cell = quantised(structure)
        points = fractions / 65535 @ cell
        away = points - structure.positions
        away -= away[0]
        images = np.where(structure.pbc, np.round(away @ np.linalg.inv(cell)), 0)
        assert np.abs(away - images @ cell).max() < 3e-4


def test_scores_are_those_of_the_frames(scene):
    curves = scores(scene)["curves"]
    types = np.concatenate([f.structure.types for f in scene.frames])
    p, s = (np.concatenate([f.fields[name] for f in scene.frames]) for name in ("predicted", "simulated"))
    assert curves[0]["kind"] == 0
    np.testing.assert_allclose(curves[0]["rho"], pearson(p[types == 0], s[types == 0]), atol=1e-12)
    assert all(0.9 < ceiling <= 1 for ceiling in curves[0]["ceiling"])
    card = {
        "species": {"A": {"pearson_pooled": [0.5, None, 0.7]}},
        "times": [1.0, 10.0, 100.0],
        "n_structures": 4,
    }
    assert scores(scene.with_scores(card))["curves"][0]["rho"] == [0.5, None, 0.7]


def test_correlations_are_given_by_time_and_field(scene):
    found = correlations(scene)["curves"]
    assert {(c["field"], c["time"]) for c in found} == {
        (f, k) for f in ("predicted", "simulated") for k in range(3)
    }
    assert all(len(c["r"]) == len(c["c"]) > 3 for c in found)


def test_what_users_write_stays_text(scene):
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'
    page = render(make_scene(1, source=f"{evil}/x"), title=evil)
    assert evil not in page and html.escape(evil) in page
    assert parts(page)[0]["title"] == evil
    # One element for each of ours and no more.
    assert len(re.findall("<script", page)) == len(re.findall("</script>", page)) == 5
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_libraries_come_with_their_licences(scene):
    page = render(scene)
    assert (
        "three 0." in page and "(MIT)" in page and "(ISC)" in page and "Permission is hereby granted" in page
    )


def test_the_output_is_a_page(scene, tmp_path):
    with pytest.raises(InputError, match=r"extension \.html"):
        write_report(scene, tmp_path / "page.png")
    assert write_report(scene, tmp_path / "page.html").stat().st_size < 2e6
