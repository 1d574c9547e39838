from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from propensity.descriptors.averaged import (
    DescriptorGrid,
    angular_descriptors,
    averaged_descriptors,
    averaging_matrix,
    radial_descriptors,
)
from propensity.errors import InputError
from propensity.structure import Structure

PARTYCLS = Path(__file__).parents[1] / "fixtures" / "partycls" / "radial_bond_orientational.npz"


def all_vectors(structure: Structure, reach: float) -> np.ndarray:
    """r_j + image − r_i of every pair and every image within reach, (N, N·images, 3); self at infinity."""
    box = structure.cell[0, 0]
    shifts = range(-int(reach // box) - 1, int(reach // box) + 2)
    images = box * np.array([[a, b, c] for a in shifts for b in shifts for c in shifts])
    wrapped = structure.positions % box
    vectors = wrapped[None] + images[:, None] - wrapped[:, None, None]
    vectors = vectors.reshape(len(wrapped), -1, 3)
    vectors[np.linalg.norm(vectors, axis=2) == 0] = 1e6
    return vectors


def test_radial_against_brute_force(structure):
    shells = [(0.9, 0.025), (1.5, 0.1), (2.6, 0.3)]
    vectors = all_vectors(structure, 5.5)
    distance = np.linalg.norm(vectors, axis=2)
    types = np.tile(structure.types, vectors.shape[1] // len(structure))
    expected = np.stack(
        [
            (np.exp(-((distance - r) ** 2) / (2 * d * d)) * (types == s)).sum(1)
            for s in (0, 1)
            for r, d in shells
        ],
        axis=1,
    )
    ours = radial_descriptors(structure, 2, shells)
    assert ours.shape == (len(structure), 6) and expected.std() > 0.1
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-11)


def test_angular_against_brute_force(structure):
    shells, l_max = [(1.0, 0.1), (1.7, 0.2)], 12
    few = slice(0, 10)
    vectors = all_vectors(structure, 3.5)[few]
    # The nearest of each particle: what lies farther weighs less than 1e-17.
    distance = np.linalg.norm(vectors, axis=2)
    most = (distance < 3.5).sum(axis=1).max()
    nearest = np.argsort(distance, axis=1)[:, :most]
    vectors = np.take_along_axis(vectors, nearest[..., None], axis=1)
    distance = np.linalg.norm(vectors, axis=2)
    theta = np.arccos(np.clip(vectors[..., 2] / distance, -1, 1))
    phi = np.arctan2(vectors[..., 1], vectors[..., 0])
    columns = []
    for r, d in shells:
        weight = np.exp(-((distance - r) ** 2) / (2 * d * d))
        for l in range(1, l_max + 1):
            power = 0.0
            for m in range(-l, l + 1):
                q = (weight * sph_harm_y(l, m, theta, phi)).sum(1) / weight.sum(1)
                power = power + np.abs(q) ** 2
            columns.append(np.sqrt(4 * np.pi / (2 * l + 1) * power))
    expected = np.stack(columns, axis=1)
    assert expected.std() > 0.05
    ours = angular_descriptors(structure, shells, l_max)
    np.testing.assert_allclose(ours[few], expected, rtol=1e-8, atol=1e-10)


def test_angular_against_partycls():
    stored = np.load(PARTYCLS)
    structure = Structure(stored["positions"], stored["types"], stored["cell"])
    distances = np.unique(stored["distances"])
    ours = angular_descriptors(structure, [(r, 0.1) for r in distances], 12).reshape(len(structure), 3, 12)
    for column, (l, r) in enumerate(zip(stored["orders"], stored["distances"], strict=True)):
        np.testing.assert_allclose(
            ours[:, np.searchsorted(distances, r), l - 1], stored["values"][:, column], atol=1e-12
        )


def test_averages_against_brute_force(structure):
    length = 1.6
    vectors = all_vectors(structure, length)
    distance = np.linalg.norm(vectors, axis=2).reshape(len(structure), -1, len(structure))
    weights = np.where(distance < length, np.exp(-distance / length), 0).sum(1) + np.eye(len(structure))
    weights /= weights.sum(1, keepdims=True)
    np.testing.assert_allclose(averaging_matrix(structure, length).toarray(), weights, atol=1e-12)
    grid = DescriptorGrid(radial=((1.1, 0.1),), angular=((1.2, 0.1),), l_max=2, averaging_length=length)
    features = averaged_descriptors(structure, 2, grid).reshape(len(structure), 3, 4)
    np.testing.assert_allclose(features[:, 1], weights @ features[:, 0], rtol=1e-10)
    np.testing.assert_allclose(features[:, 2], weights @ weights @ features[:, 0], rtol=1e-10)


def test_invariance(structure):
    open_cluster = Structure(structure.positions, structure.types, np.zeros((3, 3)), False)
    before = averaged_descriptors(open_cluster, 2)
    turn = Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix()
    order = np.random.default_rng(1).permutation(len(structure))
    moved = Structure(
        structure.positions[order] @ turn.T + [5, -3, 1], structure.types[order], np.zeros((3, 3)), False
    )
    np.testing.assert_allclose(averaged_descriptors(moved, 2), before[order], atol=1e-9)


def test_about_a_thousand_features(structure):
    names = DescriptorGrid().names(("A", "B"))
    features = averaged_descriptors(structure, 2)
    assert features.shape == (len(structure), len(names)) and len(names) == len(set(names)) == 1092
    assert np.isfinite(features).all()
    column = names.index("q1(l=6,r=1.5)")
    single = averaging_matrix(structure, 2.1) @ angular_descriptors(structure, [(1.5, 0.1)], 6)[:, 5]
    np.testing.assert_allclose(features[:, column], single)


def test_lonely_particle_has_zeros():
    structure = Structure([[0.0, 0, 0]], [0], 50.0)
    assert not averaged_descriptors(structure, 2).any()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s: radial_descriptors(s, 1, [(1.0, 0.1)]), "type 1"),
        (lambda s: DescriptorGrid(radial=((1.0, 0.0),)), "positive distances and widths"),
        (lambda s: DescriptorGrid(l_max=0), "l_max ≥ 1"),
        (lambda s: averaged_descriptors(Structure([[0.0] * 3] * 2, [0, 0], 9.0), 2), "coincide"),
    ],
)
def test_bad_input(structure, call, message):
    with pytest.raises(InputError, match=message):
        call(structure)
