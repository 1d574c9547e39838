"""Correlation, structure factor and length of fields whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from propensity import analysis
from propensity.errors import InputError
from tests.analysis.systems import CELLS, CUBE, images, scattered, smooth_field


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_pairs_are_those_of_every_image(cell):
    positions = scattered(cell, 150)
    i, j, r = analysis.find_pairs(positions, cell, 4.0)
    expected = images(positions, positions, cell)
    close = np.argwhere(np.triu(expected < 4.0, k=1))
    assert {(a, b) for a, b in zip(i, j, strict=True)} == {tuple(pair) for pair in close}
    np.testing.assert_allclose(r, expected[i, j], atol=1e-10)


@pytest.mark.timeout(60)
def test_few_particles_in_a_large_cell_are_searched_at_once():
    """A search in cubes of the distance's edge would have 10²¹ of them here."""
    positions = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0 + 5e-5], [5e4, 5e4, 5e4]])
    i, j, r = analysis.find_pairs(positions, 1e5, 1e-4)
    assert (i.tolist(), j.tolist()) == ([0], [1]) and r[0] == pytest.approx(5e-5, rel=1e-6)
    assert len(analysis.find_pairs(positions[:1], CUBE, 1e-8)[0]) == 0


def test_open_directions_have_no_images():
    positions = scattered(CUBE, 100)
    i, _, r = analysis.find_pairs(positions, CUBE, 4.0, pbc=(True, False, False))
    shift = np.array([[0, 0, 0], [10.0, 0, 0], [-10.0, 0, 0]])
    vectors = positions[:, None, None] - positions[None, :, None] + shift
    expected = np.linalg.norm(vectors, axis=-1).min(axis=-1)
    assert len(i) == np.triu(expected < 4.0, k=1).sum()
    assert r.max() < 4.0
    assert len(analysis.find_pairs(positions, np.zeros((3, 3)), 4.0, pbc=False)[0]) < len(i)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_correlation_of_a_random_field_is_its_own(cell):
    positions = scattered(cell, 3000)
    fields = np.stack([smooth_field(positions, cell, 1.0, seed) for seed in range(6)], axis=1)
    mean = analysis.average_correlation(analysis.spatial_correlations(fields, positions, cell, r_max=4.0))
    # Less the constraint that each configuration's mean is taken off.
    expected = np.exp(-(mean.r**2) / 4)
    assert np.abs(mean.c - expected)[mean.n_pairs > 50].max() < 0.2
    assert mean.c[2] > 0.9 and abs(mean.c[-1]) < 0.2


def test_uncorrelated_values_have_no_correlation():
    positions = scattered(CUBE, 4000)
    values = np.random.default_rng(3).standard_normal(4000)
    found = analysis.spatial_correlation(values, positions, CUBE)
    assert (np.abs(found.c) < 5 * found.error)[found.n_pairs > 20].all()
    assert np.isnan(analysis.correlation_length(found).xi)
    factor = analysis.field_structure_factor(values, positions, CUBE)
    assert factor.s == pytest.approx(1.0, abs=0.6) and np.average(factor.s, weights=factor.n_vectors) == (
        pytest.approx(1.0, abs=0.1)
    )


def test_species_alone_are_no_heterogeneity():
    """A value that only says the species correlates with nothing."""
    positions = scattered(CUBE, 500)
    types = (positions[:, 0] > 5).astype(int)
    assert not analysis.fluctuation(np.where(types, 3.0, 1.0), types).any()
    ramp = np.where(types, 3.0, 1.0) + np.random.default_rng(0).normal(0, 0.1, 500)
    assert abs(analysis.spatial_correlation(ramp, positions, CUBE, types=types).c[20:]).max() < 0.2
    assert analysis.spatial_correlation(ramp, positions, CUBE).c[10:20].mean() > 0.5


@pytest.mark.parametrize("form", ["exponential", "ornstein-zernike"])
@pytest.mark.parametrize("dimension", [2, 3])
def test_length_of_a_made_correlation(form, dimension):
    r = np.arange(0.05, 6, 0.1)
    power = (dimension - 1) / 2 if form == "ornstein-zernike" else 0
    c = 0.7 * np.exp(-r / 1.6) / r**power
    found = analysis.correlation_length(
        analysis.SpatialCorrelation(r, c, np.full(len(r), 100_000), dimension), form=form
    )
    assert found.xi == pytest.approx(1.6, rel=1e-4) and found.amplitude == pytest.approx(0.7, rel=1e-4)


def test_structure_factor_of_a_plane_wave_peaks_there():
    positions = scattered(CELLS["sheared"], 2000)
    wave = 2 * np.pi * np.linalg.inv(CELLS["sheared"]).T[1]
    factor = analysis.field_structure_factor(np.cos(positions @ wave), positions, CELLS["sheared"])
    assert abs(factor.q[factor.s.argmax()] - np.linalg.norm(wave)) < 3 / 24
    # All shells have their vectors: as many as the cell's reciprocal lattice has in the half sphere.
    volume = abs(np.linalg.det(CELLS["sheared"]))
    assert factor.n_vectors.sum() == pytest.approx(
        volume * 4 / 3 * np.pi * 27 / (2 * np.pi) ** 3 / 2, rel=0.1
    )


def test_lorentzian_is_recovered():
    q = np.linspace(0.1, 3, 30)
    factor = analysis.FieldStructureFactor(q, 12 / (1 + (1.8 * q) ** 2), np.full(30, 40))
    assert analysis.ornstein_zernike(factor, q_fit=3) == pytest.approx((12, 1.8), rel=1e-4)


def test_correlation_agrees_with_freud():
    freud = pytest.importorskip("freud", reason="needs the package freud-analysis")
    positions = scattered(CELLS["sheared"], 800)
    delta = analysis.fluctuation(smooth_field(positions, CELLS["sheared"], 1.0))
    ours = analysis.spatial_correlation(delta, positions, CELLS["sheared"], r_max=4.0, bin_width=0.2)
    box = freud.box.Box.from_matrix(CELLS["sheared"].T)
    theirs = freud.density.CorrelationFunction(bins=20, r_max=4.0)
    points = box.wrap(positions)
    theirs.compute(
        (box, points),
        values=delta,
        query_points=points,
        query_values=delta,
        neighbors={"r_max": 4.0, "exclude_ii": True},
    )
    many = ours.n_pairs > 20
    np.testing.assert_allclose(ours.c[many], theirs.correlation.real[many], atol=2e-3)


def test_radial_distribution_of_an_ideal_gas_is_one_and_agrees_with_freud():
    for name in ("sheared", "sheared plane"):
        cell = CELLS[name]
        positions = scattered(cell, 3000)
        _, g = analysis.radial_distribution(positions, cell, r_max=4.0, bin_width=0.2)
        assert g[5:] == pytest.approx(np.ones(len(g) - 5), abs=0.1)
    freud = pytest.importorskip("freud", reason="needs the package freud-analysis")
    box = freud.box.Box.from_matrix(CELLS["sheared"].T)
    positions = scattered(CELLS["sheared"], 3000)
    _, g = analysis.radial_distribution(positions, CELLS["sheared"], r_max=4.0, bin_width=0.2)
    theirs = freud.density.RDF(bins=20, r_max=4.0).compute((box, box.wrap(positions))).rdf
    np.testing.assert_allclose(g[3:], theirs[3:], rtol=5e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: analysis.find_pairs(p, CUBE, 6.0), "half the smallest width of the cell, 5"),
        (lambda p: analysis.find_pairs(p, CUBE, -1.0), "positive finite"),
        (lambda p: analysis.find_pairs(p[:, :1], CUBE, 1.0), r"\(N, 2\) or \(N, 3\)"),
        (lambda p: analysis.spatial_correlation(p[:5, 0], p, CUBE), "5 values for 60 particles"),
        (lambda p: analysis.spatial_correlation(np.full(60, np.inf), p, CUBE), "infinite"),
        (lambda p: analysis.spatial_correlation(p[:, 0], p, CUBE, bin_width=0), "bin_width is 0"),
        (lambda p: analysis.field_structure_factor(p[:, 0], p, CUBE, q_max=0.1), "no wave vector"),
        (
            lambda p: analysis.field_structure_factor(p[:, 0], p, CUBE, (True, True, False)),
            "periodic in every",
        ),
        (lambda p: analysis.average_correlation([]), "at least one"),
        (lambda p: analysis.radial_distribution(p, CUBE, False), "periodic in every"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(scattered(CUBE, 60))
