"""Structures without neighbours, as a wrong unit of length makes them, are no training data."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from propensity.errors import DataError, PropensityWarning
from propensity.estimators.kinds import estimator_class
from propensity.estimators.neighbourhood import fitting_length_scale
from propensity.statistics import moments, pearson_of_moments
from propensity.training import fit_network
from propensity.training.module import torch_pearson
from tests.training.conftest import SMALL, make_sample


def in_other_units(sample, factor):
    inherent = np.asarray(sample.inherent_positions) * factor
    return replace(sample, structure=sample.structure.scaled(factor), inherent_positions=inherent)


@pytest.mark.parametrize("kind", ["se3gnn", "ridge", "softness", "bapst"])
def test_an_isolated_structure_is_refused_with_the_scale_that_fits(kind):
    samples = [make_sample(0), in_other_units(make_sample(1), 2.7)]
    samples[1] = in_other_units(samples[1], 3.0)
    options = SMALL if kind == "se3gnn" else {}
    with pytest.raises(DataError, match=r"no particle of toy/1 has a neighbour.*--length-scale 8\.\d+"):
        estimator_class(kind).fit(samples, **options)


def test_few_and_many_neighbours_are_warned_about_and_kept_in_the_card():
    sample = make_sample(0)
    options = SMALL | {"epochs": 1}
    with pytest.warns(PropensityWarning, match=r"neighbours within 1\.05 σ on average"):
        few = fit_network([sample], **{**options, "cutoff": 1.05})
    assert 0 < few.card.mean_neighbours < 6
    with pytest.warns(PropensityWarning, match=r"neighbours within 4 σ"):
        assert fit_network([sample], **{**options, "cutoff": 4.0}).card.mean_neighbours > 200
    usual = fit_network([sample], **options)
    assert usual.card.mean_neighbours == pytest.approx(1.2 * 4 / 3 * math.pi * 8, rel=0.15)


def test_the_scale_that_fits():
    assert fitting_length_scale(1.2 / 2.7**3) == pytest.approx(2.7)
    assert fitting_length_scale(0.9 / 0.5**2, usual=0.9, dimension=2) == pytest.approx(0.5)


def test_a_score_that_is_no_number_is_no_score():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 3))
    x[:, 1] = 0.1  # constant: its variance is rounding, and ρ would be anything
    sums = moments(x, y)
    ours = torch_pearson(torch.from_numpy(sums)).numpy()
    assert np.isnan(ours[1]) and np.allclose(ours, pearson_of_moments(sums), equal_nan=True)


def test_constant_predictions_are_never_the_best(tmp_path, monkeypatch):
    """The second of three validations has no finite score, the first and the third have."""
    from propensity.training import module

    scores = iter([0.2, math.nan, 0.1])
    monkeypatch.setattr(
        module, "torch_pearson", lambda sums: torch.full(sums.shape[:-1], next(scores), dtype=torch.float64)
    )
    fit_network([make_sample(0)], [make_sample(1)], folder=tmp_path, **(SMALL | {"epochs": 3, "patience": 2}))
    from propensity.training.checkpoints import read_checkpoint

    assert read_checkpoint(tmp_path / "checkpoints/best.ckpt")["epoch"] == 0
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert len(rows) == 4 and "inf" not in "".join(rows[1:])
