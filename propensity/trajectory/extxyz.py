"""Extended XYZ as ASE writes it, without its loop over the particles."""

from __future__ import annotations

import io
import warnings
from functools import lru_cache
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols

from propensity.errors import InputError, PropensityWarning
from propensity.trajectory.table import format_rows

#: Names of extended XYZ → those of ASE's arrays, where they differ.
_ARRAYS = {"pos": "positions", "Z": "numbers", "species": "numbers"}
_SYMBOLS = np.array(chemical_symbols, dtype="S")
#: Significant digits of a number: ASE's eight decimals up to a hundred.
_DIGITS = 10
#: Whole number that ASE reads.
_LARGEST = 2**31 - 1


def _survives(key: Any, value: Any) -> bool:
    """Whether ASE reads a remark, and what follows it, as it writes them: not where a name holds =, say, or
    a list is empty.
    """
    from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict

    try:
        text = key_val_dict_to_str({key: value})
        return not {"\n", "\r"} & set(text) and set(key_val_str_to_dict(text + " z=1")) == {key, "z"}
    except (ValueError, LookupError, TypeError):
        return False


@lru_cache(maxsize=64)
def _say_once(names: str) -> None:
    warnings.warn(
        f"extended XYZ has no room for {names} of the frame, which are left out: write .traj to keep them.",
        PropensityWarning,
        stacklevel=3,
    )


def format_xyz(atoms: ase.Atoms) -> str:
    """Text of a frame; ASE writes those that hold more than arrays (results of a calculator, constraints).

    What else is said of the frame is left out, and named once, where nobody could read the file for it.
    """
    from ase.io.extxyz import write_xyz  # half a second, which dumps need not wait for

    kept = {key: value for key, value in atoms.info.items() if _survives(key, value)}
    if len(kept) < len(atoms.info):
        _say_once(", ".join(repr(key) for key in atoms.info if key not in kept))
    atoms.info = kept
    text = io.StringIO()
    if atoms.calc is not None or atoms.constraints:
        write_xyz(text, [atoms])
        return text.getvalue()
    # ASE's own header, which names the columns.
    write_xyz(text, [atoms[:1]])
    _, header, _ = text.getvalue().split("\n", 2)
    properties = header.split("Properties=", 1)[1].split(None, 1)[0].split(":")
    columns = []
    for name in properties[::3]:
        column = atoms.arrays[_ARRAYS.get(name, name)]
        largest = np.abs(column).max() if column.dtype.kind in "iu" else 0
        if largest > _LARGEST:
            raise InputError(
                f"the column {name!r} holds {largest}, and whole numbers of extended XYZ are read up to"
                f" {_LARGEST}: write .dump or .h5."
            )
        columns.append(_SYMBOLS[column] if name == "species" else column)
    return f"{len(atoms)}\n{header}\n{format_rows(columns, _DIGITS)}"
