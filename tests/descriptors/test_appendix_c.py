from __future__ import annotations

import numpy as np

from propensity.descriptors.appendix_c import one_layer_features
from propensity.descriptors.averaged import angular_descriptors, radial_descriptors

SHELLS = [(1.0, 0.05), (1.3, 0.1), (1.6, 0.1)]


def test_one_layer_gives_the_radial_and_angular_features(structure):
    radial, angular = one_layer_features(structure, 2, SHELLS, 6, cutoff=2.45)
    expected = radial_descriptors(structure, 2, SHELLS)
    assert expected.std() > 0.1
    np.testing.assert_allclose(radial, expected, atol=1e-10)
    expected = angular_descriptors(structure, SHELLS, 6)
    assert expected.std() > 0.05
    np.testing.assert_allclose(angular, expected, atol=1e-10)


def test_without_the_normalisation_they_differ(structure):
    radial, angular = one_layer_features(structure, 2, SHELLS[1:2], 6, cutoff=2.45)
    norms = angular * radial.sum(axis=1, keepdims=True)  # what the layer gives before the division
    expected = angular_descriptors(structure, SHELLS[1:2], 6)
    assert np.corrcoef(norms[:, 5], expected[:, 5])[0, 1] < 0.99
