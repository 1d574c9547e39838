"""An analysis of a scene gives what the functions on arrays give, and follows trajectories."""

from __future__ import annotations

import json

import numpy as np
import pytest

from propensity import analysis
from propensity.errors import InputError
from propensity.structure import Structure
from propensity.viewing import Scene, SceneFrame
from propensity.viewing.heterogeneity import analyse, plot_analysis, write_analysis
from tests.analysis.systems import smooth_field
from tests.conftest import make_liquid


def drifting(n_frames: int = 6, n: int = 800, wrapped: bool = True) -> Scene:
    """A liquid whose particles walk at random below a field that stays, with a drift to be taken off."""
    liquid = make_liquid(n)
    rng = np.random.default_rng(1)
    steps = 0.08 * rng.standard_normal((n_frames, n, 3))
    steps[0] = 0
    walk = liquid.positions + np.cumsum(steps, axis=0) + 0.3 * np.arange(n_frames)[:, None, None]
    edge = liquid.cell[0, 0]
    field = smooth_field(liquid.positions, liquid.cell, 0.8)[:, None]
    frames = [
        SceneFrame(
            f"frame {k}",
            Structure(p % edge if wrapped else p, liquid.types, liquid.cell),
            np.arange(n),
            {"predicted": field},
            np.ones(n),
            float(10 * k),
        )
        for k, p in enumerate(walk)
    ]
    return Scene("walk", ("A", "B"), np.array([100.0]), 0, frames)


def test_rows_are_those_of_the_functions():
    scene = drifting(1)
    found = analyse(scene, fraction=0.1, neighbours=1.4, r_max=3.0)
    frame = scene.frames[0]
    s, values = frame.structure, frame.fields["predicted"][:, 0]
    expected = analysis.spatial_correlation(
        values, s.positions, s.cell, types=s.types, r_max=3.0, bin_width=0.05
    )
    np.testing.assert_allclose(found.rows[0].correlation.c, expected.c)
    fast = analysis.extreme_particles(values, 0.1, s.types)
    clusters = analysis.find_clusters(fast, s.positions, s.cell, cutoff=1.4)
    assert found.rows[0].fast_size == clusters.weighted_size
    assert found.rows[0].fast_largest == clusters.sizes[0] > 5
    assert found.relaxation is None and not found.rows[0].events


def test_a_trajectory_is_followed_and_its_drift_taken_off():
    found = analyse(drifting(), r_max=3.0)
    assert found.relaxation.times.tolist() == [10, 20, 30, 40, 50]
    np.testing.assert_allclose(found.relaxation.msd, 3 * 0.08**2 * np.arange(1, 6), rtol=0.1)
    row = found.rows[0]
    assert row.persistence == pytest.approx(np.ones(6)) and row.events["fast_frames"] == pytest.approx(6)


def test_it_is_written_as_json_and_picture(tmp_path):
    found = analyse(drifting(3), r_max=3.0)
    write_analysis(found, tmp_path / "a.json")
    stored = json.loads((tmp_path / "a.json").read_text())
    assert stored["rows"][0]["fast_largest"] == found.rows[0].fast_largest
    assert len(stored["rows"][0]["correlation"]["r"]) == 60 and len(stored["relaxation"]["fs"]) == 2
    plot_analysis(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [{"q": 0.0}, {"q": float("nan")}, {"overlap_radius": -1.0}], ids=str)
def test_lengths_that_are_none_are_refused(options):
    with pytest.raises(InputError, match="a positive number"):
        analyse(drifting(), **options)
