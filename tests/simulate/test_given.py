"""Labelling structures that exist already: what fits the model, and what doesn't."""

from dataclasses import replace

import numpy as np
import pytest

from propensity.data import Sample, StoreWriter, open_dataset
from propensity.errors import InputError, PropensityWarning
from propensity.simulate import load_preset, simulate_propensities, with_given
from propensity.simulate.arguments import make_settings
from propensity.simulate.given import given_microstate
from propensity.simulate.pieces import check_identity
from propensity.structure import Structure
from tests.simulate.helpers import FreeFlight, random_microstate, small_settings


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


def test_all_structures_are_labelled_unless_fewer_are_asked_for(tmp_path):
    with StoreWriter(tmp_path / "a.h5") as writer:
        for k in range(22):
            writer.add(replace(sample(108, f"s{k}"), temperature=1.0))
    model, options = load_preset("kob-andersen"), {"temperature": 1.0, "times": "0.1"}
    for asked, number in ((None, 22), (3, 3)):
        settings, given = make_settings(model, **options, structures=asked, start_from=tmp_path / "a.h5")
        assert (settings.structures, len(given)) == (number, number)
    assert make_settings(model, **options)[0].structures == 20
    for wrong, message in (
        ({"structures": 23}, "--structures is 23 and .* has 22"),
        ({"density": 1.0}, "--density is 1: leave it out"),
        ({"chains": 2}, "--chains is 2: leave it out"),
    ):
        with pytest.raises(InputError, match=message):
            make_settings(model, **options, **wrong, start_from=tmp_path / "a.h5")


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
    with pytest.raises(
        InputError, match="has 3 dimensions and kob-andersen-2d has 2, in the plane of x and y"
    ):
        with_given(small_settings(model=model), [sample()])
    with pytest.raises(InputError, match="has 2 dimensions and kob-andersen has 3"):
        with_given(small_settings(), [flat])
    turned = Structure(
        microstate.positions[:, [0, 2, 1]],
        microstate.types,
        [microstate.box[0], 0.0, microstate.box[1]],
        (True, False, True),
    )
    with pytest.raises(InputError, match="in the plane of x and y"):
        with_given(small_settings(model=model), [replace(flat, structure=turned)])


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


@pytest.mark.parametrize("count", [1, 2])
def test_annealing_comes_before_labels(tmp_path, capsys, count):
    given = [sample(name=f"s{i}", potential="x", temperature=0.3) for i in range(count)]
    settings = with_given(replace(small_settings(), anneal=4.0, structures=count, chains=1), given)
    output = tmp_path / "a.h5"
    report = simulate_propensities(settings, output, FreeFlight(), given=given, workers=1)
    record = report["annealing"]
    assert record["half"] == 2.0 and len(record["energies"]) == 10
    # A free particle moves by v t, so that F_s is a Gaussian of it.
    assert record["tau_alpha"] == pytest.approx(
        np.sqrt(2 / settings.temperature) / settings.wavenumber, rel=0.2
    )
    found = open_dataset(output)[0]
    assert found.name == "s0-annealed-kob-andersen-T1.5-seed0" and found.group == "s0"
    assert found.tau_alpha == record["tau_alpha"] and found.potential == "lj/cut"
    assert not np.allclose(found.structure.positions, given[0].structure.positions, atol=0.5)
    assert "annealed for 4: U/N by tenths" in capsys.readouterr().err


def test_annealing_is_part_of_what_a_data_set_is():
    begun = small_settings().identity()
    now = replace(small_settings(), anneal=1.0).identity()
    with pytest.raises(InputError, match=r"begun with anneal 0.0, and now it is 1.0"):
        check_identity(begun, now, "x.h5")
    del begun["anneal"]  # as in data sets made before there was any
    check_identity(begun, small_settings().identity(), "x.h5")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"anneal": 2.0}, "--anneal is for --start-from"),
        ({"anneal": -1.0}, "--anneal is -1"),
        ({"anneal": float("nan")}, "--anneal is nan"),
    ],
)
def test_annealing_that_makes_no_sense(options, match):
    with pytest.raises(InputError, match=match):
        small_settings(**options)
