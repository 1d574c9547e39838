"""Data sets: laziness, common times, choosing times, splits and summaries."""

from __future__ import annotations

import json
import pickle
from functools import partial

import numpy as np
import pytest

from propensity.data import Dataset, Split, from_samples, make_split, open_dataset, select_times
from propensity.data.entry import Entry
from propensity.errors import DataError, InputError

from .conftest import make_sample


def levels(name: str, stretch: float, **changes):
    """A sample that has the times at which its own F_s takes the levels .9, .5, 1/e, .1."""
    fs = np.array([0.9, 0.5, np.exp(-1), 0.1])
    times = (0.13, 100.0 * stretch, 200.0 * stretch, 900.0 * stretch)
    return make_sample(name, times=times, fs=fs, tau_alpha=times[2], **changes)


# Sequence


def test_samples_are_loaded_only_when_asked_for():
    loaded = []

    def load(name):
        loaded.append(name)
        return make_sample(name)

    dataset = Dataset([Entry(name, partial(load, name)) for name in "abc"])
    assert (len(dataset), dataset.names, loaded) == (3, ("a", "b", "c"), [])
    assert dataset[1].name == "b" and loaded == ["b"]
    assert [s.name for s in dataset[1:]] == ["b", "c"]
    assert dataset[[2, 0]].names == ("c", "a") and dataset[np.array([0])].names == ("a",)
    assert dataset[-1].name == "c"
    with pytest.raises(InputError, match="beyond the 3"):
        dataset.subset([5])
    with pytest.raises(InputError, match=r"has no structure 'aa'.*'a'"):
        from_samples([make_sample("a"), make_sample("other")]).by_name("aa")
    with pytest.raises(IndexError):
        dataset[7]


def test_in_memory_loads_once(data):
    dataset = open_dataset(data / "ka3d_few_train.npz").in_memory()
    assert dataset[0] is dataset[0]
    assert dataset.entries[0].split == "train" and dataset.entries[0].group == "T0.44 structure 1"


def test_map_and_pickling(data):
    dataset = open_dataset(data / "ka3d_few_train.npz").map(first_time)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.times.tolist() == [0.13] and len(copy) == 6
    np.testing.assert_array_equal(
        copy[2].propensities, open_dataset(data / "ka3d_few_train.npz")[2].propensities[:, :1]
    )


def first_time(sample):
    return sample.at_columns([0])


def test_no_structures():
    with pytest.raises(DataError, match="no structures"):
        from_samples([])


# Times


def test_common_times():
    same = from_samples([make_sample("a"), make_sample("b")])
    np.testing.assert_array_equal(same.times, [1, 10, 100])
    np.testing.assert_allclose(same.fs, [0.9, 0.6, 0.3])
    own = from_samples([levels("a", 1.0), levels("b", 1.2), levels("c", 3.0)])
    np.testing.assert_allclose(own.times, [0.13, 120, 240, 1080])
    mixed = from_samples(
        [make_sample("a", temperature=0.5), make_sample("b", times=(1.0, 7.0), temperature=0.44)]
    )
    with pytest.raises(
        DataError, match=r"different times \(T = 0.44: 2 times 1 to 7; T = 0.5: 3 times 1 to 100\)"
    ):
        _ = mixed.times
    assert [len(state) for state in mixed.state_points()] == [1, 1]


@pytest.mark.parametrize(
    ("choice", "columns"),
    [
        (10.0, [1]),
        (10.05, [1]),
        ("10", [1]),
        (1, [0]),
        ("#1", [1]),
        ("#-1", [2]),
        ("tau_alpha", [2]),
        ("all", [0, 1, 2]),
        (None, [0, 1, 2]),
        ("fs=0.9", [0]),
        ("Fs = 0.6", [1]),
        ("100, 1", [2, 0]),
        (["#0", 100], [0, 2]),
        ("1,1,#0", [0]),
    ],
)
def test_choices_of_times(choice, columns):
    dataset = from_samples([make_sample("a"), make_sample("b")])
    chosen = select_times(dataset, choice)
    np.testing.assert_array_equal(chosen.times, dataset.times[columns])
    sample, original = chosen[1], dataset[1]
    np.testing.assert_array_equal(sample.propensities, original.propensities[:, columns])
    np.testing.assert_array_equal(sample.halves, original.halves[..., columns])
    np.testing.assert_array_equal(sample.squared_displacement, original.squared_displacement[:, columns])
    np.testing.assert_array_equal(sample.fs, original.fs[columns])
    assert sample.inherent_positions is original.inherent_positions


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (5.0, "no time .* is 5: choose among 1, 10, 100"),
        ("#3", "index #3 is beyond the 3 times"),
        ("#x", "write #2"),
        ("fs=0.2", "F_s = 0.2: choose among 0.9, 0.6, 0.3"),
        ("fs=", "write #2"),
        ("later", "isn't understood"),
        ([], "no time was chosen"),
        (float("nan"), "no time"),
        ("", "isn't understood"),
    ],
)
def test_choices_that_match_nothing(choice, message):
    with pytest.raises(InputError, match=message):
        select_times(from_samples([make_sample("a")]), choice)


def test_unknown_levels_and_tau_alpha():
    bare = from_samples([make_sample("a", fs=None, tau_alpha=None)])
    with pytest.raises(InputError, match="doesn't say F_s"):
        select_times(bare, "fs=0.5")
    with pytest.raises(InputError, match="don't say what τ_α is"):
        select_times(bare, "tau_alpha")


def test_times_of_own_are_called_by_their_medians():
    own = from_samples([levels("a", 1.0), levels("b", 1.2), levels("c", 3.0)])
    for choice, expected in [
        ("fs=1/e", [240]),
        ("tau_alpha", [240]),
        (240, [240]),
        ("all", [0.13, 120, 240, 1080]),
    ]:
        chosen = select_times(own, choice)
        assert chosen.times.tolist() == pytest.approx(expected)
        for sample in chosen:
            assert sample.times.tolist() == pytest.approx(expected)
    np.testing.assert_array_equal(select_times(own, 240)[2].propensities, own[2].propensities[:, [2]])


def test_tau_alpha_joins_temperatures():
    mixed = from_samples([make_sample("a"), make_sample("b", times=(1.0, 7.0), fs=None, tau_alpha=7.0)])
    assert select_times(mixed, "tau_alpha")[1].propensities.shape == (40, 1)
    assert select_times(mixed, 1.0).times.tolist() == [1.0]
    with pytest.raises(DataError, match="different times"):
        select_times(mixed, "all")
    with pytest.raises(InputError, match="no time"):
        select_times(mixed, 10.0)


def test_files_whose_times_differ(data):
    both = open_dataset([data / "bapst_small.pickle", data / "bapst_targets.pickle"])
    assert (both[0].times != both[1].times).any()
    at = select_times(both, "fs=1/e")
    assert at.fs[0] == pytest.approx(np.exp(-1))
    np.testing.assert_array_equal(at[1].propensities[:, 0], both[1].propensities[:, 6])


# Splits


def numbered(n, **changes):
    return from_samples(
        [make_sample(f"s{i}", n=5, **{"split": None, "group": None, **changes}) for i in range(n)]
    )


def sizes(split):
    return len(split.train), len(split.valid), len(split.test)


def test_default_split_has_the_proportions_of_the_paper():
    split = make_split(numbered(80))
    assert sizes(split) == (40, 32, 8)
    assert split.how["method"] == "structure"
    assert len({*split.train, *split.valid, *split.test}) == 80


def test_split_is_seeded_and_survives_json():
    dataset = numbered(30)
    assert make_split(dataset, seed=1) == make_split(dataset, seed=1) != make_split(dataset, seed=2)
    split = make_split(dataset)
    assert Split.from_dict(json.loads(json.dumps(split.to_dict()))) == split
    with pytest.raises(DataError, match="train, valid and test"):
        Split.from_dict({"train": []})


@pytest.mark.parametrize("n", [3, 4, 7])
def test_small_sets_have_every_part(n):
    assert min(sizes(make_split(numbered(n)))) >= 1


def test_apply():
    dataset = numbered(10)
    split = make_split(dataset, fractions=(0.8, 0.2, 0))
    parts = split.apply(dataset)
    assert parts["train"].names == split.train and parts["test"] is None
    with pytest.raises(DataError, match="lacks"):
        split.apply(numbered(5))


def test_groups_stay_together(data):
    samples = [make_sample(f"s{i}", n=5, split=None, group=f"g{i % 6}") for i in range(24)]
    split = make_split(from_samples(samples))
    assert split.how["method"] == "group" and split.how["groups_on_both_sides"] == 0
    group = {s.name: s.group for s in samples}
    parts = [{group[name] for name in part} for part in (split.train, split.valid, split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert min(sizes(split)) >= 4


def test_files_say_what_trains():
    samples = [make_sample(f"s{i}", n=5, group=None, split="train" if i < 10 else "test") for i in range(20)]
    split = make_split(from_samples(samples))
    # Four fifths of the test structures validate: 320 of 400 in the paper.
    assert sizes(split) == (10, 8, 2) and split.how["method"] == "files"
    assert set(split.train) == {f"s{i}" for i in range(10)}


def test_shared_parents_are_counted(data):
    dataset = open_dataset([data / "ka3d_few_train.npz", data / "ka3d_one_valid.npz"])
    split = make_split(dataset)
    assert sizes(split) == (6, 1, 0) and split.how["groups_on_both_sides"] == 1


def test_bad_splits():
    dataset = numbered(5)
    for fractions in [(0.5, 0.5), (-1, 1, 1), (0, 1, 1), (float("nan"), 1, 1)]:
        with pytest.raises(InputError, match="three shares"):
            make_split(dataset, fractions=fractions)
    with pytest.raises(InputError, match="doesn't say whether"):
        make_split(dataset, method="files")
    with pytest.raises(InputError, match="choose auto"):
        make_split(dataset, method="random")


# Summary


def test_summary_equals_plain_numpy():
    samples = [make_sample("a"), make_sample("b", n=30), make_sample("c", halves=None)]
    summary = from_samples(samples).summary()
    types = np.concatenate([s.structure.types for s in samples])
    p = np.concatenate([s.propensities for s in samples])
    for species in (0, 1):
        np.testing.assert_allclose(summary.mean[species], p[types == species].mean(0))
        np.testing.assert_allclose(summary.std[species], p[types == species].std(0))
    known = samples[:2]
    first, second = (np.concatenate([s.halves[k][s.structure.types == 0] for s in known]) for k in (0, 1))
    r = np.array([np.corrcoef(first[:, t], second[:, t])[0, 1] for t in range(3)])
    np.testing.assert_allclose(summary.ceiling[0], np.sqrt(2 * r / (1 + r)))
    each = np.array(
        [
            [
                np.corrcoef(s.halves[0][s.structure.types == 0, t], s.halves[1][s.structure.types == 0, t])[
                    0, 1
                ]
                for t in range(3)
            ]
            for s in known
        ]
    ).mean(0)
    np.testing.assert_allclose(summary.ceiling_per_structure[0], np.sqrt(2 * each / (1 + each)))
    assert summary.n_particles == (30, 40) and summary.n_structures == 3
    assert summary.composition.tolist() == pytest.approx([0.8, 0.2])
    assert summary.temperature == 0.5 and summary.splits == {"train": 3} and summary.n_groups == 1


def test_ceiling_of_the_published_labels(shared):
    summary = open_dataset(shared / "data/ka3d_fs_T0.44_valid.npz", labels="published").summary()
    assert summary.ceiling[0, 0] == pytest.approx(0.935, abs=0.001)
