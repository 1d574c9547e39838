"""Runs on liquids that are not Kob–Andersen: other names, half and half, other units of length."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from propensity.cli.train import command as train_command
from propensity.data import StoreWriter
from propensity.errors import DataError, InputError
from propensity.estimators.storage import load_model
from propensity.estimators.training_set import chosen_species
from propensity.structure import Structure
from tests.runs.test_run import FAST, run
from tests.training.conftest import make_sample


def store(path, *samples):
    with StoreWriter(path, n_expected=len(samples)) as writer:
        for sample in samples:
            writer.add(sample)
    return path


def named(seed, names, share=None, **changes):
    """Toy sample whose species are called ``names``, in equal parts where ``share`` is None."""
    sample = make_sample(seed, **changes)
    types = np.arange(len(sample)) % len(names) if share is None else sample.structure.types
    structure = Structure(sample.structure.positions, types, sample.structure.cell)
    return replace(sample, structure=structure, species=tuple(names))


@pytest.mark.parametrize(
    ("names", "trained"),
    [
        (("A", "B"), ("A", "B")),  # half and half
        (("small", "large"), ("small", "large")),
        (("big one", "tiny one", "C"), ("big one", "tiny one", "C")),
    ],
)
def test_all_species_are_trained_where_there_is_no_majority_of_a(names, trained):
    assert chosen_species([named(k, names) for k in range(2)]) == trained


def test_a_alone_is_trained_where_most_particles_are_a():
    assert chosen_species([make_sample(0)]) == ("A",)
    assert chosen_species([named(0, ("small", "large"), share=0.8)]) == ("small", "large")


def test_a_species_without_particles_is_no_matter(tmp_path):
    """Of models that learn all species: data that name more than they hold."""
    samples = [named(k, ("A", "B")) for k in range(3)]
    samples = [replace(s, structure=replace_types(s.structure, np.zeros(len(s), int))) for s in samples]
    data = store(tmp_path / "own.h5", *samples)
    words = ["--model", "ridge", "--l-max", 1, "--generations", 0, "--folds", 2, "--split", "structure"]
    result = run(train_command, data, *words, "--fractions", "1,0,0", "-o", tmp_path / "run")
    assert "trained on species A;" in result.output


def replace_types(structure, types):
    return Structure(structure.positions, types, structure.cell)


def test_names_with_spaces_the_whole_way(tmp_path):
    data = store(tmp_path / "own.h5", *(named(k, ("small one", "large one")) for k in range(5)))
    result = run(train_command, data, *FAST, "-o", tmp_path / "run", "--split", "structure")
    assert "trained on species small one, large one" in result.output
    assert "neighbours within 2 σ" in result.output
    card = load_model(tmp_path / "run").card
    assert card.trained_species == ("small one", "large one")
    assert set(json.loads((tmp_path / "run/metrics.json").read_text())["valid"]["species"]) == set(
        card.species
    )


def test_an_unknown_species_names_the_flag_and_leaves_the_name_free(tmp_path):
    data = store(tmp_path / "own.h5", *(named(k, ("small", "large")) for k in range(4)))
    with pytest.raises(InputError, match=r"--species.*'A'.*\['small', 'large'\]"):
        run(train_command, data, *FAST, "--species", "A", "-o", tmp_path / "run", "--quiet")
    assert not (tmp_path / "run").exists()
    # A start that fails later, when the folder is there, frees the name too.
    with pytest.raises(DataError, match="interaction"):
        run(train_command, data, *FAST, "--potential-energy", "-o", tmp_path / "run", "--quiet")
    assert not (tmp_path / "run").exists()
    run(train_command, data, *FAST, "-o", tmp_path / "run", "--quiet", "--split", "structure")
    assert (tmp_path / "run/model.json").exists()


def test_a_failed_start_touches_nothing_else_in_the_folder(tmp_path):
    data = store(tmp_path / "own.h5", *(named(k, ("small", "large")) for k in range(4)))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/notes.txt").write_text("mine")
    with pytest.raises(DataError, match="interaction"):
        run(train_command, data, *FAST, "--potential-energy", "-o", tmp_path / "run", "--quiet")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def in_angstrom(sample, scale=2.7):
    """The same sample as a file in other units would hold it."""
    return replace(sample.in_units_of(1 / scale), length_scale=1.0)


def test_training_in_angstrom_is_training_in_sigma(tmp_path):
    """Divided once: the same weights, and predictions that come back in the units of the data."""
    from propensity import Predictor
    from propensity.data import in_units, open_dataset

    toys = [make_sample(k) for k in range(5)]
    sigma = store(tmp_path / "sigma.h5", *toys)
    metal = store(tmp_path / "metal.h5", *map(in_angstrom, toys))
    run(train_command, sigma, *FAST, "-o", tmp_path / "a", "--quiet", "--split", "structure")
    scaled = ["--length-scale", 2.7, "-o", tmp_path / "b", "--quiet", "--split", "structure"]
    run(train_command, metal, *FAST, *scaled)
    ours, theirs = load_model(tmp_path / "a").card, load_model(tmp_path / "b").card
    assert (ours.length_scale, theirs.length_scale) == (1.0, 2.7)
    assert theirs.density == pytest.approx(ours.density, rel=1e-4)
    np.testing.assert_allclose(theirs.target_mean, ours.target_mean, rtol=2e-3)
    structure = open_dataset(metal)[0].structure
    # A toy is not like the other toys: the two particles nearest to each other are nearer in it, say.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*neighbourhoods that no training particle had")
        predicted = Predictor(tmp_path / "b").predict(structure)
        expected = 2.7 * Predictor(tmp_path / "a").predict(toys[0].structure)
    np.testing.assert_allclose(predicted, expected, rtol=0.05)
    # Once in the store, it is not divided again.
    divided = store(tmp_path / "divided.h5", *in_units(open_dataset(metal), 2.7))
    assert {sample.length_scale for sample in open_dataset(divided)} == {2.7}
    assert open_dataset(divided)[0].in_units_of(2.7).structure.density == pytest.approx(
        ours.density, rel=0.02
    )
    with pytest.raises(DataError, match=r"divided by 2\.7 already"):
        open_dataset(divided)[0].in_units_of(3.0)


def test_metal_without_a_scale_is_refused_before_there_is_a_folder(tmp_path):
    metal = store(tmp_path / "metal.h5", *(in_angstrom(make_sample(k), 4.0) for k in range(5)))
    with pytest.raises(DataError, match=r"--length-scale 4 "):
        run(train_command, metal, *FAST, "-o", tmp_path / "run", "--quiet", "--split", "structure")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("scale", "workers"),
    [(scale, 1) for scale in ("0", "-1", "nan", "inf", "1000", "1e-4", "1e300", "1e-300")] + [("1000", 2)],
)
def test_a_scale_at_which_there_is_no_liquid_is_refused(tmp_path, scale, workers):
    from propensity.cli.convert import command as convert_command

    metal = store(tmp_path / "metal.h5", *(in_angstrom(make_sample(k)) for k in range(2)))
    arguments = [metal, tmp_path / "sigma.h5", "--workers", workers]
    error, message = DataError, r"^2 of 2 structures .*: neighbours are .*, some 2\.1\d\.$"
    if scale in ("0", "-1", "nan", "inf"):
        error, message = InputError, "units of the data, a pos"
    with pytest.raises(error, match=message):
        run(convert_command, *arguments, "--length-scale", scale)
    assert not (tmp_path / "sigma.h5").exists()
    if workers == 1:
        assert run(convert_command, *arguments, "--length-scale", 2.7).exit_code == 0


def test_convert_divides_and_info_says_so(tmp_path):
    from propensity.cli.convert import command as convert_command
    from propensity.cli.info import command as info_command
    from propensity.data import open_dataset

    metal = store(tmp_path / "metal.h5", *(in_angstrom(make_sample(k)) for k in range(2)))
    run(convert_command, metal, tmp_path / "sigma.h5", "--length-scale", 2.7, "--workers", 1)
    sample = open_dataset(tmp_path / "sigma.h5")[0]
    assert sample.length_scale == 2.7 and sample.structure.density == pytest.approx(1.2, rel=1e-3)
    output = run(info_command, tmp_path / "sigma.h5").output
    assert "length scale" in output and "2.7" in output
