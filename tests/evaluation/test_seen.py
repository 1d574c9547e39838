"""What a model has seen is left out of its scores, whatever the structures are called by then."""

from __future__ import annotations

import json

import pytest

from propensity.data.dataset import from_samples
from propensity.errors import DataError, InputError
from propensity.estimators.storage import load_model
from propensity.evaluation.seen import Seen, choose, seen_by
from tests.conftest import make_tiny_model
from tests.data.conftest import make_sample


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
