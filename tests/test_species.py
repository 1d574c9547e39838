"""Species by symbol, number or LAMMPS type: mapped when certain, refused with both sides named when not."""

from __future__ import annotations

import ase
import numpy as np
import pytest

from propensity.errors import InputError
from propensity.species import map_species, parse_species_map
from propensity.structure import Structure


def atoms(symbols="NiNiP", **arrays):
    result = ase.Atoms(symbols, positions=np.arange(9.0).reshape(3, 3), cell=[10] * 3, pbc=True)
    for name, values in arrays.items():
        result.set_array(name, np.asarray(values))
    return result


@pytest.mark.parametrize(
    ("configuration", "species_map"),
    [
        (atoms(), {"Ni": "A", "P": "B"}),
        (atoms(), {28: "A", 15: "B"}),
        (atoms(), {"28": "A", "15": "B"}),
        (atoms(type=[1, 1, 2]), {1: "A", 2: "B"}),
        (atoms(type=[1, 1, 2]), {"1": "A", "2": "B"}),
        (atoms(type=[1, 1, 2]), {"Ni": "A", "P": "B"}),
        (atoms(type=["A", "A", "B"]), None),
        (atoms(types=["A", "A", "B"]), None),
        (atoms("HHHe"), {1: "A", 2: "B"}),
        (atoms(type=["big", "big", "small"]), {"big": "A", "small": "B", "tiny": "B"}),
    ],
)
def test_labels_become_types(configuration, species_map):
    assert Structure.from_ase(configuration, ("A", "B"), species_map).types.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("configuration", "species_map", "seen"),
    [
        (atoms(), None, "Ni.*'A', 'B'"),
        (atoms("HHHe"), None, "'H', 'He'.*'A', 'B'"),
        (atoms(type=[1, 1, 2]), None, "'1', '2'.*'A', 'B'"),
        (atoms(type=[0, 0, 1]), None, "'0', '1'"),
        (atoms(), {"Ni": "A"}, "'P'.*not all covered|not all covered.*'P'"),
        (atoms(type=[1, 1, 3]), {1: "A", 2: "B"}, "'3'"),
        (atoms(type=["A", "A", "C"]), None, "'C'"),
        # Atomic numbers are not LAMMPS types once the file has types.
        (atoms("HHHe", type=[7, 7, 8]), {1: "A", 2: "B"}, "'7', '8'"),
    ],
)
def test_what_is_not_certain_is_refused(configuration, species_map, seen):
    with pytest.raises(InputError, match=seen):
        Structure.from_ase(configuration, ("A", "B"), species_map)


def test_the_map_must_lead_to_species_of_the_model():
    with pytest.raises(InputError, match=r"'Ni' to 'a'.*did you mean 'A'|model knows"):
        Structure.from_ase(atoms(), ("A", "B"), {"Ni": "a", "P": "B"})


def test_columns_that_disagree_are_refused():
    with pytest.raises(InputError, match=r"disagree"):
        map_species(
            {"type": np.array([1, 2]), "name": np.array(["B", "A"])},
            ("A", "B"),
            {1: "A", 2: "B", "A": "A", "B": "B"},
        )


def test_columns_that_agree_are_one():
    columns = {"type": np.array([1, 2]), "name": np.array(["A", "B"])}
    assert map_species(columns, ("A", "B"), {1: "A", 2: "B", "A": "A", "B": "B"}).tolist() == [0, 1]


def test_species_of_the_model_may_share_a_label_target():
    assert map_species({"type": np.array([1, 2, 3])}, ("A", "B"), {1: "A", 2: "A", 3: "B"}).tolist() == [
        0,
        0,
        1,
    ]


def test_command_line_form():
    assert parse_species_map("1=A, 2=B") == {"1": "A", "2": "B"}
    assert parse_species_map(None) is None


@pytest.mark.parametrize("text", ["", "1", "1=", "=A", "1=A,,2=B", "1=A;2=B=C", "1=A,1=B"])
def test_command_line_form_refuses(text):
    if text == "1=A;2=B=C":  # parsed as one label with a strange name: refused when it is used
        with pytest.raises(InputError, match=r"model knows"):
            map_species({"type": np.array([1])}, ("A", "B"), parse_species_map(text))
    else:
        with pytest.raises(InputError, match=r"label=species|twice"):
            parse_species_map(text)
