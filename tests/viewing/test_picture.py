"""Pictures: colours say the values, sizes and slabs are those asked for, and OVITO steps in where it runs."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection

from propensity.errors import InputError, MissingDependencyError
from propensity.plotting import draw_slab, fractions_of, new_figure, save_figure, shade, styled
from propensity.structure import Structure
from propensity.viewing.picture import draw_picture
from tests.conftest import make_liquid
from tests.viewing.conftest import make_scene, planar


def discs(figure) -> list[EllipseCollection]:
    axes = [a for part in figure.subfigs for a in part.axes]
    return [c for a in axes for c in a.collections if isinstance(c, EllipseCollection)]


def test_each_species_has_its_own_scale():
    values, types = np.array([1.0, 2, 3, 10, 20, 30]), np.repeat([0, 1], 3)
    own = shade(values, types, ("A", "B"))
    np.testing.assert_allclose(own.rgba[:3], own.rgba[3:], atol=0.01)  # a step of the colour map
    assert [label.split(":")[0] for label, _ in own.scales] == ["A", "B"]
    panels = shade(np.stack([values, 2 * values]), types, ("A", "B"))
    np.testing.assert_array_equal(panels.rgba[0, 1], panels.rgba[1, 0])  # one value, one colour
    one = shade(values, types, ("A", "B"), scale="all")
    assert len(one.scales) == 1 and np.abs(one.rgba[0] - one.rgba[3]).max() > 0.1
    relative = shade(values, types, ("A", "B"), scale="relative")
    np.testing.assert_allclose(relative.rgba[:3], relative.rgba[3:], atol=0.02)
    assert "mean of the species" in relative.scales[0][0]
    unknown = shade(np.array([np.nan, 1, 2]), np.zeros(3, int), ("A",)).rgba[0]
    assert np.ptp(unknown[:3]) < 1e-6
    with pytest.raises(InputError, match="choose 'own'"):
        shade(values, types, ("A", "B"), scale="each")


@pytest.mark.parametrize("direction", [0, 1, 2])
def test_slabs_across_any_vector_hold_the_near_particles(direction):
    structure = make_liquid(200)
    axes = new_figure(3, 3).subplots()
    found = draw_slab(axes, structure, np.arange(200.0), thickness=1.0, centre=0.3, direction=direction)
    edge = structure.cell[0, 0]
    away = structure.positions[:, direction] - 0.3 * edge
    near = np.abs(away - edge * np.round(away / edge)) <= 0.5
    assert set(found.get_array().astype(int)) == set(np.flatnonzero(near))
    others = [k for k in range(3) if k != direction]
    inside = structure.positions[found.get_array().astype(int)][:, others] % edge
    shift = (found.get_offsets() - inside) / edge
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-9)


def test_sheared_boxes_and_open_ones_are_drawn():
    liquid = make_liquid(100)
    sheared = liquid.cell.copy()
    sheared[1, 0], sheared[2, 1] = 2.0, -1.5
    for cell, pbc in ((sheared, True), (np.zeros((3, 3)), False), (liquid.cell, (True, False, True))):
        structure = Structure(liquid.positions, liquid.types, cell, pbc)
        fractions, edges = fractions_of(structure)
        assert fractions.min() >= 0 and fractions.max() <= 1 + 1e-12
        axes = new_figure(3, 3).subplots()
        assert len(draw_slab(axes, structure, np.arange(100.0), thickness=1.5).get_offsets()) > 5
    assert np.linalg.det(edges) > 0


def test_planes_are_drawn_whole_and_with_their_sizes():
    structure = planar()
    scene = make_scene(1, 100)
    frame = scene.frames[0]
    object.__setattr__(frame, "structure", structure)
    object.__setattr__(frame, "diameters", np.linspace(0.5, 1.0, 100))
    (found, *_) = discs(draw_picture(scene, fields=["simulated"], renderer="matplotlib"))
    widths = np.unique(np.round(2 * found._widths / 0.94, 9))  # half axes of the discs
    np.testing.assert_allclose(widths, np.linspace(0.5, 1.0, 100), rtol=1e-6)


def test_panels_stand_for_prediction_and_label():
    scene = make_scene()
    figure = draw_picture(scene, slab=0.0)
    titles = [a.get_title(loc="left") for a in figure.subfigs[0].axes[:2]]
    assert titles == ["predicted propensity, t = 10", "simulated propensity, t = 10"]
    labels = [a.get_xlabel() for a in figure.subfigs[0].axes]
    assert labels == ["x (σ)", "x (σ)", "B: propensity (σ)", "A: propensity (σ)"]
    assert len(discs(draw_picture(scene, renderer="matplotlib"))) == 2


@pytest.mark.parametrize("height", [4.4, 4.5, 4.6, 4.8])
def test_titles_are_not_cut_off(height, tmp_path):
    figure = new_figure(9.2, height)
    for axes in figure.subplots(1, 2):
        axes.set(aspect="equal", xlim=(0, 15), ylim=(0, 15), xlabel="x", ylabel="y")
        axes.set_title("t", loc="left")
    save_figure(figure, tmp_path / "pair.png", dpi=40)
    assert max(axes.get_tightbbox().y1 for axes in figure.axes) <= figure.bbox.height


def test_the_style_stays_inside():
    from matplotlib import rcParams

    before = dict(rcParams)

    @styled
    def look() -> bool:
        return bool(rcParams["axes.grid"])

    assert look() and dict(rcParams) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": 9}, "beyond the 3"),
        ({"fields": ["speed"]}, "no values 'speed'"),
        ({"time": 5.0}, "time 5 is not among"),
        ({"slab": -1.0}, "the slab is -1"),
        ({"renderer": "povray"}, "choose 'auto'"),
    ],
)
def test_bad_requests_are_named(options, message):
    with pytest.raises(InputError, match=message):
        draw_picture(make_scene(), **options)


def test_ovito_traces_where_it_runs(monkeypatch):
    ovito_picture = pytest.importorskip("propensity.viewing.ovito_picture")
    pytest.importorskip("ovito", reason="needs the package ovito", exc_type=ImportError)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setattr(ovito_picture, "SIZE", (160, 150))
    scene = make_scene(1, 60)
    red = np.tile([1.0, 0, 0, 1], (60, 1))
    try:
        image = ovito_picture.trace(scene.frames[0], red)
    except RuntimeError as error:
        pytest.skip(f"OVITO cannot render here: {str(error).splitlines()[0]}")
    reddish = (image[..., 0] > 90) & (image[..., 1] < 90)
    assert reddish.mean() > 0.3


def test_a_missing_ovito_is_an_error_only_when_asked_for(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "propensity.viewing.ovito_picture", None)
    scene = make_scene(1, 60)
    assert discs(draw_picture(scene))
    with pytest.raises(MissingDependencyError, match=r"pip install \"propensity\[ovito\]\""):
        draw_picture(scene, renderer="ovito")


def test_a_picture_that_finds_no_memory_says_so(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError("codec configuration error when writing image file")

    monkeypatch.setattr("PIL.Image.Image.save", refuse)
    with pytest.raises(MemoryError, match="codec"):
        save_figure(new_figure(2, 2), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
