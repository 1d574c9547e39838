"""Pearson from sums, intervals and the noise ceiling against independent references."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from propensity.errors import InputError
from propensity.evaluation import bootstrap, moments, noise_ceiling, pearson
from propensity.statistics import mean_over_structures, pearson_of_moments


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_pearson_is_that_of_scipy(offset):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)) + offset
    y = 0.5 * x + rng.normal(size=(200, 3))
    expected = [stats.pearsonr(x[:, k], y[:, k]).statistic for k in range(3)]
    np.testing.assert_allclose(pearson(x, y), expected, rtol=1e-7)


def test_moments_of_parts_add_up_to_the_pooled_correlation():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 90, 2))
    parts = sum(moments(x[k : k + 30], y[k : k + 30]) for k in (0, 30, 60))
    np.testing.assert_allclose(pearson_of_moments(parts), pearson(x, y), rtol=1e-12)


@pytest.mark.parametrize("x", [np.full(50, 0.1), np.zeros(50)])
def test_constant_has_no_correlation(x):
    assert np.isnan(pearson(x, np.random.default_rng(0).normal(size=50)))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_particles_have_no_correlation(n):
    assert np.isnan(pearson(np.ones(n), np.ones(n)))


def test_shapes_must_agree():
    with pytest.raises(InputError, match="equal shape"):
        moments(np.zeros(3), np.zeros(4))


def test_what_all_have_in_common_takes_no_digits():
    x, noise = np.arange(10.0), np.random.default_rng(0).standard_normal(10)
    assert pearson(1e9 + x, x) == pytest.approx(1, abs=1e-12)
    assert pearson(1e9 + x, x + noise) == pytest.approx(np.corrcoef(x, x + noise)[0, 1], abs=1e-12)
    assert np.isnan(pearson(np.full(10, 0.1), x))


def test_what_is_no_number_has_no_correlation():
    for wrong in (np.arange(3) + 1j, ["a", "b", "c"]):
        with pytest.raises(InputError, match="x can't be read as numbers"):
            pearson(wrong, np.arange(3.0))
    with pytest.raises(InputError, match=r"x has shape \(\)"):
        pearson(1.0, 2.0)
    with pytest.raises(InputError, match=r"r reaches 1\.5: a correlation"):
        noise_ceiling(1.5)


def test_noise_ceiling_is_reached_by_the_truth():
    """A predictor that knows the truth scores the ceiling estimated from two halves."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=200_000)
    halves = truth + 0.8 * rng.normal(size=(2, len(truth)))
    estimated = noise_ceiling(pearson(*halves))
    assert estimated == pytest.approx(pearson(truth, halves.mean(axis=0)), abs=3e-3)
    assert 0.8 < estimated < 0.9


@pytest.mark.parametrize("r, ceiling", [(1.0, 1.0), (1e-6, np.sqrt(2e-6)), (0.5, np.sqrt(2 / 3))])
def test_noise_ceiling_values(r, ceiling):
    assert noise_ceiling(r) == pytest.approx(ceiling)


@pytest.mark.parametrize(
    "r, n", [(np.nan, None), (0.0, None), (-0.3, None), (-0.3, 1000), (0.5, 29)], ids=str
)
def test_halves_that_agree_on_nothing_have_no_ceiling(r, n):
    assert np.isnan(noise_ceiling(r, n))
    assert np.isfinite(noise_ceiling(0.5, 30))


def structures(n, rng, spread=0.0):
    """Moments of n structures of 40 particles with correlation 0.6 within each."""
    sums = []
    for _ in range(n):
        shift = spread * rng.normal()
        x = rng.normal(size=40)
        sums.append(moments(x + shift, 0.6 * x + 0.8 * rng.normal(size=40) + shift))
    return np.array(sums)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(3)
    inside = 0
    for k in range(200):
        low, high = bootstrap(structures(25, rng), n_resamples=200, seed=k)[0]
        inside += low <= 0.6 <= high
    assert 0.87 <= inside / 200 <= 0.99


def test_few_samples_have_no_percentiles():
    """One sample would be an interval of no width, which looks like certainty."""
    sums = structures(8, np.random.default_rng(4))
    for few in (1, 19):
        assert all(np.isnan(interval).all() for interval in bootstrap(sums, n_resamples=few))
    assert np.isfinite(bootstrap(sums, n_resamples=20)).all()


def test_structures_of_one_group_are_drawn_together():
    """Copies of a structure add no knowledge: the interval is that without them."""
    sums = structures(8, np.random.default_rng(4))
    copies, groups = np.repeat(sums, 5, axis=0), np.repeat(np.arange(8), 5)
    for ours, single in zip(bootstrap(copies, groups=groups), bootstrap(sums), strict=True):
        np.testing.assert_allclose(ours, single)
    naive = bootstrap(copies)[0]
    assert np.ptp(naive) < 0.8 * np.ptp(bootstrap(sums)[0])


def test_one_structure_has_no_interval():
    pooled, single = bootstrap(structures(1, np.random.default_rng(5)))
    assert np.isnan(pooled).all() and np.isnan(single).all()


def test_pooled_is_above_per_structure_where_means_differ():
    sums = structures(20, np.random.default_rng(6), spread=3.0)
    assert pearson_of_moments(sums.sum(0)) > mean_over_structures(pearson_of_moments(sums)) + 0.2


def test_mean_leaves_out_structures_without_that_species():
    rho = np.array([[0.5, np.nan], [0.7, np.nan]])
    np.testing.assert_allclose(mean_over_structures(rho), [0.6, np.nan])
