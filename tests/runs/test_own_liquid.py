"""Runs on liquids that are not Kob–Andersen: other names, half and half, other units of length."""

from __future__ import annotations

import json
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
