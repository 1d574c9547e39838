"""From what a file calls its particles (symbol, number, LAMMPS type) to the species that a model knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from propensity.errors import InputError, suggest

SpeciesMap = Mapping[Any, str]

#: Columns that may name the species, in order of preference.
LABELS = ("type", "types", "typelabel", "label", "particle", "species", "element", "name", "symbol", "number")


def map_species(
    columns: Mapping[str, np.ndarray], species: Sequence[str], species_map: SpeciesMap | None = None
) -> np.ndarray:
    """Return integer types, shape (N,), as indices into ``species``.

    Parameters
    ----------
    columns
        What the file says of each particle, by name of the column (``"type"``, ``"symbol"``, ...),
        each of shape (N,).
    species
        Species that the model knows, in its order.
    species_map
        From labels to species.  Strings match string columns and integers integer ones; ``"1"`` and
        ``1`` are the same label.  Without a map, a column is used only if every label in it is
        already the name of a species.

    Raises
    ------
    InputError
        When labels stay unmapped, two columns disagree, or nothing can be inferred with certainty.
    """
    names = [str(s) for s in species]
    mapping = named(species_map, names)
    found: dict[str, np.ndarray] = {}
    for column, labels in columns.items():
        if np.ma.is_masked(labels):
            raise InputError(f"labels {column!r} are masked in places: fill or drop those particles.")
        labels = np.asarray(labels)
        # Integers are sorted faster than their names.
        labels = labels if labels.dtype.kind in "iu" else labels.astype(str)
        unique, inverse = np.unique(labels, return_inverse=True)
        if all(label in mapping for label in unique.astype(str)):
            known = [names.index(mapping[label]) for label in unique.astype(str)]
            found[column] = np.array(known, dtype=np.int64)[inverse]
    if not found:
        raise InputError(_unmapped(columns, names, species_map))
    first, *others = found.values()
    for other in others:
        if not np.array_equal(first, other):
            a, b = list(found)[:2]
            raise InputError(
                f"species by {a!r} and by {b!r} disagree: give a species_map whose labels occur in one of"
                " them only."
            )
    return first


def named(species_map: SpeciesMap | None, species: Sequence[str]) -> dict[str, str]:
    """Return labels → species as text; without a map, each species is called by its name.

    Parameters
    ----------
    species_map
        As for :func:`map_species`.
    species
        Species that the model knows.

    Returns
    -------
    dict
        Every value is one of ``species``.

    Raises
    ------
    InputError
        When the map is none, leads to other species, or calls a label by two names.
    """
    names = [str(s) for s in species]
    if species_map is None:
        return {name: name for name in names}
    if not isinstance(species_map, Mapping):
        raise InputError(f"species_map is {species_map!r}: give a mapping such as {{1: {names[0]!r}}}.")
    mapping: dict[str, str] = {}
    for label, name in ((str(label), str(name)) for label, name in species_map.items()):
        if name not in names:
            raise InputError(
                f"species_map sends {label!r} to {name!r}, but the model knows {names}"
                f"{suggest(name, names)}: map to one of these."
            )
        if mapping.setdefault(label, name) != name:
            raise InputError(f"species_map sends {label!r} to two species: give each label once.")
    return mapping


def parse_species_map(text: str | None) -> dict[str, str] | None:
    """Read ``"1=A,2=B"``, the form that the command line takes; None stays None."""
    if text is None:
        return None
    mapping: dict[str, str] = {}
    for pair in text.split(","):
        label, separator, name = pair.partition("=")
        if not separator or not label.strip() or not name.strip():
            raise InputError(
                f"species map {text!r} has the entry {pair!r}: write label=species pairs, e.g. 1=A,2=B."
            )
        if label.strip() in mapping:
            raise InputError(f"species map {text!r} names {label.strip()!r} twice: give each label once.")
        mapping[label.strip()] = name.strip()
    return mapping


def _unmapped(columns: Mapping[str, np.ndarray], names: list[str], species_map: SpeciesMap | None) -> str:
    seen = {
        column: sorted(set(np.asarray(labels).astype(str).tolist())) for column, labels in columns.items()
    }
    shown = ", ".join(f"{column} {labels[:8]}" for column, labels in seen.items()) or "no labels"
    example = {
        label: names[min(k, len(names) - 1)]
        for k, label in enumerate(next(iter(seen.values()), ["1", "2"])[:4])
    }
    what = "can't be inferred with certainty" if species_map is None else "are not all covered by species_map"
    return (
        f"species {what}: the structure has {shown} and the model knows {names}: pass species_map, e.g."
        f" {example} (--species-map {','.join(f'{label}={name}' for label, name in example.items())})."
    )
