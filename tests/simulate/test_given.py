"""Labelling structures that exist already: what fits the model, and what doesn't."""

from dataclasses import replace

import numpy as np
import pytest

from propensity.data import Sample
from propensity.errors import InputError, PropensityWarning
from propensity.simulate import load_preset, with_given
from propensity.simulate.given import given_microstate
from propensity.structure import Structure
from tests.simulate.helpers import random_microstate, small_settings


def sample(n=64, name="x", cell=None, pbc=True, **facts) -> Sample:
    microstate = random_microstate(load_preset("kob-andersen"), n)
    structure = Structure(
        microstate.positions,
        facts.pop("types", microstate.types),
        microstate.box if cell is None else cell,
        pbc,
    )
    return Sample(structure, np.array([1.0]), np.ones((n, 1)), name, species=("A", "B", "C"), **facts)


def test_settings_follow_the_structures():
    settings = with_given(small_settings(), [sample(108), sample(108, "y")])
    assert (settings.n_particles, settings.structures) == (108, 2)
    assert settings.density == pytest.approx(1.2) and settings.start_from[1].startswith("y:")
    assert settings.identity() != with_given(small_settings(), [sample(108)]).identity()


def test_flat_structures():
    model = load_preset("kob-andersen-2d")
    microstate = random_microstate(model, 64)
    structure = Structure(
        microstate.positions, microstate.types, [*microstate.box[:2], 0.0], (True, True, False)
    )
    flat = Sample(structure, np.array([1.0]), np.ones((64, 1)), "x")
    settings = with_given(small_settings(model=model), [flat])
    assert settings.density == pytest.approx(1.2)
    np.testing.assert_allclose(given_microstate(flat, 2).box, microstate.box)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([sample(), sample(108, "y")], "y has 108 particles and x has 64"),
        ([sample(pbc=False)], "isn't periodic"),
        ([sample(cell=[[4, 0, 0], [1, 4, 0], [0, 0, 4]])], "isn't periodic and orthorhombic"),
        ([sample(types=np.arange(64) % 3)], "type 2 and kob-andersen knows only the species A, B"),
    ],
)
def test_structures_that_do_not_fit(given, match):
    with pytest.raises(InputError, match=match):
        with_given(small_settings(), given)


@pytest.mark.parametrize(
    ("facts", "match"), [({"temperature": 0.44}, "temperature 0.44"), ({"potential": "x"}, "potential x")]
)
def test_another_liquid(facts, match):
    with pytest.warns(PropensityWarning, match=match):
        with_given(small_settings(), [sample(**facts)])
    with_given(replace(small_settings(), temperature=0.44), [sample(temperature=0.44, potential="lj/cut")])
