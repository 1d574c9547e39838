"""The Kob–Andersen context of MDAnalysis: species by their numbers or a map, masses, radii."""

from __future__ import annotations

import MDAnalysis as mda
import numpy as np
import pytest

from propensity import KobAndersenGuesser, PropensityAnalysis
from propensity.errors import InputError
from tests.conftest import make_liquid
from tests.trajectory.conftest import write_dump

ALL = {"context": "kob-andersen", "to_guess": ["radii"], "force_guess": ["types", "masses"]}


@pytest.fixture
def universe(tmp_path):
    write_dump(tmp_path / "run.dump", [make_liquid()])
    return mda.Universe(tmp_path / "run.dump", format="LAMMPSDUMP")


def test_the_more_numerous_are_a(universe):
    before = universe.atoms.types.copy()
    universe.guess_TopologyAttrs(**ALL)
    assert np.array_equal(universe.atoms.types == "A", before == "1")
    assert np.array_equal(universe.atoms.radii, np.where(before == "1", 0.5, 0.44))
    assert (universe.atoms.masses == 1).all()


def test_no_map_is_needed_afterwards(universe, tiny_model):
    expected = PropensityAnalysis(universe, tiny_model, species_map={1: "A", 2: "B"}).run()
    universe.guess_TopologyAttrs(**ALL)
    found = PropensityAnalysis(universe, tiny_model).run()
    assert np.array_equal(found.results.propensities, expected.results.propensities)


def test_a_map_says_it_outright(universe):
    before = universe.atoms.types.copy()
    guesser = KobAndersenGuesser(species_map={2: "A", 1: "B"})
    universe.guess_TopologyAttrs(context=guesser, force_guess=["types"])
    assert np.array_equal(universe.atoms.types == "A", before == "2")


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (["1"] * 60 + ["2"] * 60, r"\{'1': 60, '2': 60\} are no Kob–Andersen mixture"),
        (["1"] * 118 + ["2"] * 2, "no Kob–Andersen mixture"),
        (["1"] * 80 + ["2"] * 20 + ["3"] * 20, "no Kob–Andersen mixture"),
        (["1"] * 120, "no Kob–Andersen mixture"),
    ],
)
def test_other_liquids_are_not_guessed(types, message, universe):
    universe.atoms.types = np.array(types, object)
    with pytest.raises(InputError, match=message):
        universe.guess_TopologyAttrs(context="kob-andersen", force_guess=["types"])


def test_a_map_that_lacks_a_label(universe):
    with pytest.raises(InputError, match=r"species_map says nothing of \['2'\]"):
        universe.guess_TopologyAttrs(context=KobAndersenGuesser(species_map={1: "A"}), force_guess=["types"])
