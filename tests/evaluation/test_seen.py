"""What a model has seen is left out of its scores, whatever the structures are called by then."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from propensity.data.dataset import from_samples
from propensity.data.fingerprints import fingerprint, fingerprints, same_as
from propensity.errors import DataError, InputError
from propensity.estimators.storage import load_model
from propensity.evaluation.seen import Seen, choose, seen_by
from propensity.structure import Structure
from tests.conftest import make_liquid, make_tiny_model
from tests.data.conftest import make_sample

#: What else a sample holds of each particle.
bare = {"inherent_positions": None, "halves": None, "squared_displacement": None}


def make_liquid_sample(seed):
    structure = make_liquid(seed=seed)
    template = make_sample(f"s/{seed}")
    n_times = len(template.times)
    propensities = np.full((len(structure), n_times), 0.1)
    return replace(template, structure=structure, propensities=propensities, **bare)


def dataset(*names):
    return from_samples([make_sample(name) for name in names])


def test_parts_are_found_under_other_names():
    seen = Seen({"train/a": "train", "deep/train/b": "valid", "c": "test"})
    assert [seen.part(x) for x in ("train/a", "more/train/a", "a", "b", "c", "x/c", "d")] == [
        "train",
        "train",
        "train",
        "valid",
        "test",
        "test",
        None,
    ]


def test_cards_name_their_training_files(tmp_path):
    training = {"sources": ["big_train.npz: 132 structures, 8 runs each", "weights at the start: x.npz", "y"]}
    card = load_model(make_tiny_model(tmp_path, training=training)).card
    seen = seen_by(tmp_path, card)
    assert seen.files == {"big_train"}
    chosen, which = choose(dataset("big_train/00", "big_valid/00", "other"), seen)
    assert chosen.names == ("big_valid/00", "other") and "2 of 3 structures" in which and "1 train" in which
    with pytest.raises(InputError, match=r"trained on all of the 1 structures .*--split"):
        choose(dataset("big_train/00"), seen)
    assert choose(dataset("big_train/00"), seen, "all")[0].names == ("big_train/00",)
    assert "known to have seen" in choose(dataset("other"), seen)[1]


def test_shipped_models_leave_out_what_they_were_trained_on():
    card = load_model("ka-default").card
    chosen, _ = choose(
        dataset("ka3d_fs_T0.44_train/000", "ka3d_fs_T0.44_valid/0"), seen_by("ka-default", card)
    )
    assert chosen.names == ("ka3d_fs_T0.44_valid/0",)


def test_bad_choices_and_damaged_splits(tmp_path):
    card = load_model(make_tiny_model(tmp_path)).card
    with pytest.raises(InputError, match="choose from unseen, all"):
        choose(dataset("a"), seen_by(tmp_path, card), "some")
    with pytest.raises(InputError, match="none is 'test'"):
        choose(dataset("a"), seen_by(tmp_path, card), "test")
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["a"]}))
    with pytest.raises(DataError, match=r"splits\.json"):
        seen_by(tmp_path, card)


def test_structures_are_known_by_their_particles_under_any_name(tmp_path):
    rng = np.random.default_rng(0)
    samples = [make_liquid_sample(seed) for seed in range(4)]
    known = {part: fingerprints([samples[k].structure]) for k, part in enumerate(("train", "valid", "test"))}
    split = {"train": ["a"], "valid": ["b"], "test": ["c"], "fingerprints": known}
    (tmp_path / "splits.json").write_text(json.dumps(split))
    seen = seen_by(tmp_path, load_model(make_tiny_model(tmp_path)).card)

    def disguised(structure):
        """Other order, unit and origin, wrapped, in single precision with three decimals."""
        order, moved = rng.permutation(len(structure)), structure.positions + [0.3, -2, 1]
        edge = structure.cell[0, 0]
        x = np.round(np.mod(moved[order], edge), 3).astype(np.float32) * 2.5
        return Structure(x, structure.types[order], structure.cell * 2.5)

    copies = [
        replace(sample, name=f"renamed/{k}", structure=disguised(sample.structure), **bare)
        for k, sample in enumerate(samples)
    ]
    assert seen.parts_of(from_samples(copies)) == ["train", "valid", "test", None]
    # Another liquid under the name of a training structure is none, nor is the same one a moment later.
    other = replace(samples[3], name="a")
    jittered = samples[0].structure.positions + 0.03 * rng.normal(size=(120, 3))
    later = replace(samples[0], name="b", structure=samples[0].structure.with_positions(jittered))
    assert seen.parts_of(from_samples([other, later])) == [None, None]
    chosen, which = choose(from_samples(copies), seen)
    assert chosen.names == ("renamed/1", "renamed/2", "renamed/3") and "1 train" in which


@pytest.mark.parametrize("bad", [{"train": [[1, 2]]}, {"train": 3}, [1], {"train": [["x"] * 9]}])
def test_damaged_fingerprints_are_one_sentence(bad, tmp_path):
    split = {"train": ["a"], "valid": [], "test": [], "fingerprints": bad}
    (tmp_path / "splits.json").write_text(json.dumps(split))
    with pytest.raises(DataError, match="no split of a training"):
        seen_by(tmp_path, load_model(make_tiny_model(tmp_path)).card)


def test_fingerprints_without_a_box():
    cluster = Structure(make_liquid(seed=1).positions, np.zeros(120, int), 0.0, False)
    print_ = fingerprint(cluster)
    assert print_[0] == 120 and same_as(fingerprint(cluster.scaled(3)), np.array([print_])) == 0
    assert same_as(print_, np.empty((0, 9))) is None
