from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import trapezoid

from propensity.descriptors.fields import REACH, coarse_grain, local_density
from propensity.errors import DataError, InputError
from propensity.estimators.fields import DensityEstimator, EnergyEstimator, FieldOptions
from propensity.estimators.storage import load_model, save_model
from propensity.evaluation import evaluate
from propensity.physics.kob_andersen import local_potential_energy
from propensity.structure import Structure
from tests.descriptors.test_averaged import all_vectors


@pytest.mark.parametrize("types, epsilon, sigma", [((0, 0), 1, 1), ((0, 1), 1.5, 0.8), ((1, 1), 0.5, 0.88)])
@pytest.mark.parametrize("shifted", [False, True])
def test_pair_energy(types, epsilon, sigma, shifted):
    def u(r):
        return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)

    cut, h = 2.5 * sigma, 1e-6
    slope = (u(cut + h) - u(cut - h)) / (2 * h)
    for r in (0.9 * sigma, 1.3 * sigma, 2.4 * sigma, 2.51 * sigma):
        expected = 0.0 if r > cut else u(r) - u(cut) - shifted * (r - cut) * slope
        pair = Structure([[0.0, 0, 0], [r, 0, 0]], types, 40.0)
        energy = local_potential_energy(pair, "lj/cut force-shifted" if shifted else "lj/cut")
        np.testing.assert_allclose(energy, expected / 2, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("file", ["ka3d_T0.56_valid.npz", "ka3d_fs_T0.44_valid.npz"])
@pytest.mark.parametrize("which", ["positions", "inherent_positions"])
def test_energy_of_the_simulation(shared, file, which):
    stored = np.load(shared / "data" / file)
    box = float(np.ravel(stored["box"])[0])
    structure = Structure(stored[which][0], stored["types"].astype(int), box)
    potential = "lj/cut force-shifted" if "_fs_" in file else "lj/cut"
    known = stored["potential_energy" if which == "positions" else "inherent_energy"][0]
    assert local_potential_energy(structure, potential).mean() == pytest.approx(known, abs=2e-5)


def test_coarse_graining_against_brute_force(structure):
    values = np.random.default_rng(0).normal(size=len(structure))
    n = len(structure)
    distance = np.linalg.norm(all_vectors(structure, REACH), axis=2).reshape(n, -1, n)
    for length in (0.3, 2.0):
        weights = np.where(distance < REACH, np.exp(-distance / length), 0).sum(1)
        own = weights + np.eye(n)
        np.testing.assert_allclose(
            coarse_grain(structure, values, [length])[:, 0], own @ values / own.sum(1), rtol=1e-9
        )
        r = np.linspace(0, REACH, 200_001)
        volume = trapezoid(4 * np.pi * r**2 * np.exp(-r / length), r)
        np.testing.assert_allclose(
            local_density(structure, [length])[:, 0], weights.sum(1) / volume, rtol=1e-6
        )


@pytest.mark.parametrize("kind", [EnergyEstimator, DensityEstimator])
def test_fit_predict_and_disk(samples, tmp_path, kind):
    model = kind.fit(samples[:3], lengths=(0.5, 1.0))
    structure = samples[3].structure
    predicted = model.predict(structure)
    assert predicted.shape == (len(structure), 2) and np.isfinite(predicted).all()
    again = load_model(save_model(tmp_path / "m", model))
    np.testing.assert_array_equal(again.predict(structure), predicted)
    assert np.isfinite(evaluate(model, samples[3:]).pooled).all()


def test_density_finds_crowding(samples):
    scores = evaluate(DensityEstimator.fit(samples[:3]), samples[3:])
    assert (scores.pooled[0] > 0.3).all()


def test_length_is_the_best_one(samples):
    model = DensityEstimator.fit(samples[:3])
    alone = [
        evaluate(DensityEstimator.fit(samples[:3], lengths=(x,)), samples[:3]).pooled[0, 0]
        for x in (0.25, 3.0)
    ]
    assert evaluate(model, samples[:3]).pooled[0, 0] >= max(alone) - 1e-12


def test_bad_input(samples, structure):
    with pytest.raises(InputError, match="the nearest is 'lj/cut'"):
        local_potential_energy(structure, "lj/cat")
    ternary = Structure(structure.positions, structure.types + 1, structure.cell)
    with pytest.raises(InputError, match="type 2"):
        local_potential_energy(ternary)
    unknown = [dataclasses.replace(sample, potential=None) for sample in samples]
    with pytest.raises(DataError, match="give potential="):
        EnergyEstimator.fit(unknown)
    assert EnergyEstimator.fit(unknown, potential="lj/cut").card.config == {"potential": "lj/cut"}


def test_options_as_one_object_or_by_name(samples):
    by_object = DensityEstimator.fit(samples[:2], options=FieldOptions(lengths=(1.0, 2.0)))
    by_name = DensityEstimator.fit(samples[:2], lengths=(1.0, 2.0))
    np.testing.assert_array_equal(by_object.slope, by_name.slope)
    with pytest.raises(InputError, match="give one FieldOptions, or its fields by name"):
        DensityEstimator.fit(samples[:2], options=FieldOptions(), lengths=(1.0,))
