"""Which structures of a data set a model was trained on, so that scores are of others unless asked."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

import numpy as np

from propensity.data.dataset import Dataset
from propensity.data.fingerprints import WAVES, fingerprint, same_as
from propensity.documents import read_json
from propensity.errors import DataError, InputError
from propensity.estimators.card import Card

#: ``unseen``: all that the model was not trained on.
Choice = Literal["unseen", "all", "train", "valid", "test"]
CHOICES: tuple[str, ...] = get_args(Choice)


@dataclass(frozen=True)
class Seen:
    """What a model says of its training.

    Parameters
    ----------
    parts
        Name of a structure → ``"train"``, ``"valid"`` or ``"test"``, from ``splits.json`` beside the model.
    files
        Names, without extension, of the files it was trained on, where only the card says so.
    prints
        Part → fingerprints of its structures, shape (n, 9); where there are any, names mean nothing.
    """

    parts: Mapping[str, str]
    files: frozenset[str] = frozenset()
    prints: Mapping[str, np.ndarray] = field(default_factory=dict)

    def parts_of(self, dataset: Dataset) -> list[str | None]:
        """Part that each structure belonged to: by its particles where they are known, else by its name."""
        if not self.prints:
            return [self.part(name) for name in dataset.names]
        return [self._like(fingerprint(sample.structure)) for sample in dataset]

    def _like(self, found: tuple[float, ...]) -> str | None:
        return next((part for part, known in self.prints.items() if same_as(found, known) is not None), None)

    def part(self, name: str) -> str | None:
        """Part that a structure belonged to; None for one that the model doesn't name."""
        if name in self.parts:
            return self.parts[name]
        # The same file opened alone or within a folder.
        pieces = PurePosixPath(name).parts
        for k in range(1, len(pieces)):
            if (shorter := "/".join(pieces[k:])) in self.parts:
                return self.parts[shorter]
        longer = [part for known, part in self._ends.get(pieces[-1], ()) if known.endswith(f"/{name}")]
        if longer:
            return longer[0]
        return "train" if self.files.intersection(pieces) else None

    @property
    def _ends(self) -> dict[str, list[tuple[str, str]]]:
        ends: dict[str, list[tuple[str, str]]] = {}
        for known, part in self.parts.items():
            ends.setdefault(known.rpartition("/")[2], []).append((known, part))
        return ends


def seen_by(model: str | os.PathLike[str], card: Card) -> Seen:
    """What the folder and the card of a model say of its training.

    Raises
    ------
    DataError
        When ``splits.json`` can't be read.
    """
    place = Path(model)
    path = (place if place.is_dir() else place.parent) / "splits.json"
    if place.exists() and path.is_file():
        stored = read_json(path, "split")
        try:
            parts = {str(name): part for part in ("test", "valid", "train") for name in stored[part]}
            prints = _prints(stored.get("fingerprints", {}))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DataError(f"{path} is no split of a training: remove or restore it.") from None
        return Seen(parts, prints=prints)
    sources = card.training.get("sources", [])
    files = {_file(source) for source in sources if isinstance(source, str) and "weights" not in source}
    return Seen({}, frozenset(files - {""}))


def _prints(stored: Mapping[str, list[list[float]]]) -> dict[str, np.ndarray]:
    if not isinstance(stored, Mapping):
        raise TypeError("no object")
    rows = {
        part: np.array(stored[part], dtype=float) for part in ("train", "valid", "test") if part in stored
    }
    return {part: known.reshape(len(known), 1 + len(WAVES)) for part, known in rows.items()}


def _file(source: str) -> str:
    """Stem of the file that an entry of a card's sources names; empty where it names none."""
    name = source.partition(":")[0].split()[0] if source.strip() else ""
    suffix = PurePosixPath(name).suffix.lower()
    return PurePosixPath(name).stem if suffix in (".npz", ".pickle", ".pkl", ".h5", ".hdf5") else ""


def choose(dataset: Dataset, seen: Seen, choice: str = "unseen") -> tuple[Dataset, str]:
    """Structures of a data set to score, and a sentence that says which they are.

    Raises
    ------
    InputError
        For an unknown choice, or one that leaves no structure.
    """
    if choice not in CHOICES:
        raise InputError(f"split is {choice!r}: choose from {', '.join(CHOICES)}.")
    parts = seen.parts_of(dataset)
    wanted = {
        "unseen": [i for i, part in enumerate(parts) if part != "train"],
        "all": list(range(len(parts))),
    }.get(choice, [i for i, part in enumerate(parts) if part == choice])
    count = Counter(part or "other" for part in parts)
    held = ", ".join(f"{count[part]} {part}" for part in ("train", "valid", "test", "other") if count[part])
    if not wanted:
        what = "the model was trained on all of" if choice == "unseen" else f"none is {choice!r} among"
        raise InputError(
            f"{what} the {len(parts)} structures of {dataset.source} ({held}): give others, or choose --split"
            " (all, train, valid, test)."
        )
    if choice == "all":
        trained = count["train"]
        which = f"{trained} of which the model was trained on" if trained else "none known from training"
        return dataset, f"scored: all {len(parts)} structures, {which} (--split all)"
    if len(wanted) == len(parts) and choice == "unseen":
        return dataset, f"scored: all {len(parts)} structures, none of which the model is known to have seen"
    which = "those the model was not trained on" if choice == "unseen" else f"its {choice} structures"
    return dataset.subset(wanted), (
        f"scored: {len(wanted)} of {len(parts)} structures, {which} ({held}; --split chooses others)"
    )
