from __future__ import annotations

import numpy as np
import pytest

from propensity.descriptors.hopping import hop_indicator, hop_labels
from propensity.descriptors.structure_functions import (
    ANGULAR,
    RADIAL,
    angular_functions,
    names,
    structure_functions,
)
from propensity.errors import DataError, InputError
from propensity.estimators.softness import SoftnessEstimator, hyperplane
from propensity.estimators.storage import load_model, save_model
from propensity.evaluation import evaluate
from tests.descriptors.test_averaged import all_vectors


def test_twenty_two_triples_and_166_functions(structure):
    assert len(ANGULAR) == 22 and len(set(ANGULAR)) == 22 and len(RADIAL) == 50
    functions = structure_functions(structure, 2)
    assert functions.shape == (len(structure), 166) and len(set(names(("A", "B")))) == 166
    assert np.isfinite(functions).all()


def test_angular_functions_against_brute_force(structure):
    parameters, cutoff = [(1.2, 1, -1), (2.5, 2, 1), (0.9, 16, 1)], 1.6
    vectors = all_vectors(structure, cutoff)
    types = np.tile(structure.types, vectors.shape[1] // len(structure))
    ours = angular_functions(structure, 2, parameters, cutoff).reshape(len(structure), 3, 3)
    for i in range(8):
        near = np.flatnonzero(np.linalg.norm(vectors[i], axis=1) < cutoff)
        expected = np.zeros((3, 3))
        for a, j in enumerate(near):
            for k in near[a + 1 :]:
                rj, rk = vectors[i, j], vectors[i, k]
                squares = rj @ rj + rk @ rk + (rj - rk) @ (rj - rk)
                cosine = rj @ rk / np.sqrt((rj @ rj) * (rk @ rk))
                for p, (xi, zeta, lam) in enumerate(parameters):
                    expected[types[j] + types[k], p] += np.exp(-squares / xi**2) * (1 + lam * cosine) ** zeta
        np.testing.assert_allclose(ours[i], expected, rtol=1e-10)


def test_the_published_triples():
    # The lists of amlearn (Qi-max/amlearn, examples of BPAngularFunction) and SoftnessML_api, in their order.
    xi = [14.633] * 2 + [14.638] * 2 + [2.554] * 4 + [1.648] * 2 + [1.204] * 4 + [0.933] * 4 + [0.695] * 4
    zeta = [1, 1, 2, 2, 1, 1, 2, 2, 1, 2, *[1, 2, 4, 16] * 3]
    lam = [-1, 1] * 4 + [1] * 14
    assert list(zip(xi, zeta, lam, strict=True)) == list(ANGULAR)


def test_radial_functions_are_gaussians_of_width_0_1(structure):
    vectors = all_vectors(structure, 6.0)
    distance = np.linalg.norm(vectors[0], axis=1)
    is_a = np.tile(structure.types, len(distance) // len(structure)) == 0
    expected = np.exp(-0.5 * ((distance[is_a] - 1.2) / 0.1) ** 2).sum()
    column = names(("A", "B")).index("G(r=1.2,A)")
    assert structure_functions(structure, 2)[0, column] == pytest.approx(expected, rel=1e-9)


def test_models_from_before_the_width_was_stored(samples, tmp_path):
    model = SoftnessEstimator.fit(samples[:2])
    structure = samples[2].structure
    narrow = structure_functions(structure, 2, width=0.1 / np.sqrt(2))
    del model.card.config["radial_width"]
    old = load_model(save_model(tmp_path / "m", model))
    mask = structure.types == 0
    expected = narrow[mask] @ model.normal[0].T + model.offset[0]
    np.testing.assert_allclose(old.softness(structure)[mask], expected, rtol=1e-9)


def test_softness_is_a_signed_distance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)) * [1, 5, 0.2] + [3, 0, -1]
    soft = (x[:, 1] > 0).astype(int)
    normal, offset = hyperplane(x, soft, 1.0)
    distance = x @ normal + offset
    assert np.linalg.norm(normal * x.std(0)) == pytest.approx(1, rel=1e-6)
    assert ((distance > 0) == soft).mean() > 0.97


def test_fit_predict_and_disk(samples, tmp_path):
    model = SoftnessEstimator.fit(samples[:3])
    structure = samples[3].structure
    scores = evaluate(model, samples[3:])
    assert (scores.pooled[0] > 0.3).all()
    again = load_model(save_model(tmp_path / "m", model))
    np.testing.assert_array_equal(again.predict(structure), model.predict(structure))
    np.testing.assert_array_equal(again.softness(structure), model.softness(structure))
    a, softness = structure.types == 0, model.softness(structure)
    assert np.corrcoef(softness[a, 0], model.predict(structure)[a, 0])[0, 1] == pytest.approx(1)


def test_given_labels_are_used(samples):
    flipped = [
        np.where(s.propensities[:, 0] > np.median(s.propensities[s.structure.types == 0, 0]), 0, 1)
        for s in samples[:3]
    ]
    for label, sample in zip(flipped, samples, strict=False):
        label[sample.structure.types == 1] = np.arange((sample.structure.types == 1).sum()) % 2
    ours = SoftnessEstimator.fit(samples[:3]).softness(samples[3].structure)
    theirs = SoftnessEstimator.fit(samples[:3], labels=flipped).softness(samples[3].structure)
    a = samples[3].structure.types == 0
    assert np.corrcoef(ours[a, 0], theirs[a, 0])[0, 1] < -0.5


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"labels": [np.ones(3)]}, InputError, "1 arrays of labels for 2 structures"),
        ({"labels": [np.full(125, 3)] * 2}, InputError, "values beyond −1, 0, 1"),
        ({"labels": [np.ones(125)] * 2}, DataError, "no soft or no hard"),
        ({"fraction": 0.7}, InputError, "option fraction is 0.7"),
    ],
)
def test_bad_input(samples, change, error, message):
    with pytest.raises(error, match=message):
        SoftnessEstimator.fit(samples[:2], **change)


def test_hop_indicator_of_a_single_jump():
    rng = np.random.default_rng(0)
    trajectory = 0.02 * rng.normal(size=(60, 2, 3))
    trajectory[30:, 0] += [1.0, 0, 0]
    indicator = hop_indicator(trajectory, 20)
    assert indicator.shape == (40, 2)
    # At the jump every frame of A is one jump away from ⟨r⟩_B and the other way round: p_hop = d².
    assert indicator[:, 0].argmax() == 20 and indicator[20, 0] == pytest.approx(1.0, abs=0.05)
    assert hop_labels(indicator).tolist() == [1, 0]
    assert hop_labels(indicator, hop=2.0, quiet=0.05).tolist() == [-1, 0]


@pytest.mark.parametrize("window", [0, 3, 60])
def test_hop_window(window):
    with pytest.raises(InputError, match=f"window is {window}"):
        hop_indicator(np.zeros((60, 2, 3)), window)
