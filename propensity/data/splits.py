"""Which structures train, validate and test: reproducible, and stored with every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from propensity.data.dataset import Dataset
from propensity.errors import DataError, InputError

#: Train, validation and test, as in arXiv:2211.03226: 400, 320 and 80 of the 800 structures of a state point.
PAPER = (0.5, 0.4, 0.1)
PARTS = ("train", "valid", "test")
#: Share of the files' test structures that becomes validation where files have none: 320 of 400.
VALID_OF_TEST = 0.8

Method = Literal["auto", "files", "group", "structure"]


@dataclass(frozen=True)
class Split:
    """Names of the structures of each part; ``how`` says how they were chosen.

    Parameters
    ----------
    train, valid, test
        Names of the structures of each part.
    how
        Method, fractions and seed with which they were chosen.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]
    how: dict[str, Any]

    def apply(self, dataset: Dataset) -> dict[str, Dataset | None]:
        """Data sets ``{"train": ..., "valid": ..., "test": ...}``, None for an empty part.

        Parameters
        ----------
        dataset
            One that holds every structure of the split.

        Returns
        -------
        dict
            Data set of each part.

        Raises
        ------
        DataError
            When the data set lacks a structure of the split.
        """
        at = {name: i for i, name in enumerate(dataset.names)}
        parts: dict[str, Dataset | None] = {}
        for part in PARTS:
            names = getattr(self, part)
            missing = [name for name in names if name not in at]
            if missing:
                raise DataError(
                    f"{dataset.source} lacks {len(missing)} structure(s) of the split, e.g. {missing[0]!r}: "
                    "give the data that the split was made for."
                )
            parts[part] = dataset.subset(at[name] for name in names) if names else None
        return parts

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values.

        Returns
        -------
        dict
            Names of each part, and how they were chosen.
        """
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Split:
        """From :meth:`to_dict`.

        Parameters
        ----------
        values
            What :meth:`to_dict` gave, e.g. from a JSON file.

        Returns
        -------
        Split
            Equal to the one that was stored.

        Raises
        ------
        DataError
            When a part is missing, or is no list of names.
        """
        try:
            train, valid, test = (tuple(values[part]) for part in PARTS)
            if not all(isinstance(name, str) for name in (*train, *valid, *test)):
                raise DataError("a split must name structures by text.")
            return cls(train, valid, test, dict(values.get("how", {})))
        except (AttributeError, IndexError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError("a split must be an object with the lists train, valid and test.") from None
        except (KeyError, TypeError) as error:
            raise DataError(
                f"a split must have the lists train, valid and test ({error} is missing)."
            ) from None


def make_split(
    dataset: Dataset, method: Method = "auto", fractions: Sequence[float] = PAPER, seed: int = 0
) -> Split:
    """Split a data set by whole structures.

    Parameters
    ----------
    dataset
        Any data set.
    method
        ``"files"``: as the files say (folders or file names train, valid, test); without validation
        files, four fifths of the test structures validate, as in arXiv:2211.03226.  ``"group"``: whole
        groups of correlated structures.  ``"structure"``: each on its own.  ``"auto"``: the first of
        these that applies.
    fractions
        Shares of train, validation and test; default 400 : 320 : 80.
    seed
        Of the shuffling.

    Returns
    -------
    Split
        Every part of a positive share has at least one structure where there are enough.

    Raises
    ------
    InputError
        For fractions that aren't shares, or a method that the data don't support.
    """
    labels = [entry.split for entry in dataset.entries]
    groups = [entry.group for entry in dataset.entries]
    if method == "auto":
        known = set(labels)
        if None not in known and "train" in known and len(known) > 1:
            method = "files"
        else:
            method = "group" if any(group is not None for group in groups) else "structure"
    if method == "files":
        members, how = _by_files(dataset, seed), {}
    elif method in ("group", "structure"):
        shares = _shares(fractions)
        keys = [
            group if method == "group" and group is not None else f"\0{i}" for i, group in enumerate(groups)
        ]
        members, how = _by_key(keys, shares, seed), {"fractions": shares}
    else:
        raise InputError(f"method is {method!r}: choose auto, files, group or structure.")
    names = dataset.names
    train, valid, test = (tuple(names[i] for i in sorted(member)) for member in members)
    shared = {groups[i] for i in members[0]} & {groups[i] for m in members[1:] for i in m} - {None}
    return Split(
        train, valid, test, {"method": method, "seed": seed, **how, "groups_on_both_sides": len(shared)}
    )


def _by_files(dataset: Dataset, seed: int) -> list[list[int]]:
    members: list[list[int]] = [[], [], []]
    for i, entry in enumerate(dataset.entries):
        if entry.split not in PARTS:
            raise InputError(
                f"{entry.name} doesn't say whether it trains or tests: choose method='structure' or 'group'."
            )
        members[PARTS.index(entry.split)].append(i)
    train, valid, test = members
    if train and test and not valid:
        order = np.random.default_rng(seed).permutation(len(test))
        n = round(VALID_OF_TEST * len(test))
        valid, test = [test[k] for k in order[:n]], [test[k] for k in order[n:]]
    return [train, valid, test]


def _by_key(keys: list[str], shares: list[float], seed: int) -> list[list[int]]:
    """Whole keys, shuffled, each put where most is missing relative to its share."""
    unique = sorted(set(keys), key=keys.index)
    order = np.random.default_rng(seed).permutation(len(unique))
    members: list[list[int]] = [[] for _ in shares]
    targets = [share * len(keys) for share in shares]
    for rank in order:
        block = [i for i, key in enumerate(keys) if key == unique[rank]]
        wanted = [p for p, target in enumerate(targets) if target > 0]
        empty = [p for p in wanted if not members[p]]
        # While a part is empty it comes first, so that a small data set still has all of its parts.
        part = empty[0] if empty else max(wanted, key=lambda p: targets[p] - len(members[p]))
        members[part] += block
    return members


def _shares(fractions: Sequence[float]) -> list[float]:
    values = [float(f) for f in fractions]
    if len(values) != 3 or not np.isfinite(values).all() or min(values) < 0 or values[0] <= 0:
        raise InputError(
            f"fractions are {list(fractions)}: give three shares (train, valid, test), train > 0."
        )
    return [value / sum(values) for value in values]
