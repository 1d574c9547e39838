"""A model's LAMMPS commands as pair potentials for the GPU engine, or why it needs another engine."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, product
from pathlib import Path

import numpy as np

from propensity.errors import InputError
from propensity.physics import interaction as pairs
from propensity.physics.interaction import Interaction, PairFunction
from propensity.simulate.model import LiquidModel

_STYLES = ("lj/cut", "lj/smooth/linear", "lennard/mdf", "table")
_ELSE = "use --engine lammps"


@dataclass
class _Commands:
    """What the commands of a model say."""

    masses: np.ndarray
    style: list[str] = field(default_factory=list)
    shift: bool = False
    #: (a, b), a ≤ b → words of ``pair_coeff`` after the types.
    coefficients: dict[tuple[int, int], list[str]] = field(default_factory=dict)


def interaction_of(model: LiquidModel) -> Interaction:
    """Read masses and pair potentials of a model.

    Raises
    ------
    InputError
        For commands that this engine can't follow, with ``--engine lammps`` as the way out.
    """
    if model.units != "lj":
        raise InputError(f"the GPU engine works in LJ units and {model.name} in {model.units}: {_ELSE}.")
    k, said = len(model.species), _commands(model)
    _check_complete(model, said)
    style = said.style[0]
    if style in ("lj/cut", "lj/smooth/linear"):
        epsilon, sigma, cutoff = _lennard_jones(said.style, said.coefficients, k)
        truncation: pairs.Truncation = "energy" if said.shift else "plain"
        if style == "lj/smooth/linear":
            truncation = "force"
        return Interaction(said.masses, cutoff, model.dimension, epsilon, sigma, truncation)
    function_of = _tapered if style == "lennard/mdf" else _table
    cutoff = np.zeros((k, k))
    functions: list[list[PairFunction]] = [[pairs.inverse_power(1, 1, 12, 1)] * k for _ in range(k)]
    for (a, b), words in said.coefficients.items():
        cutoff[a, b], function = function_of(said.style, words)
        cutoff[b, a] = cutoff[a, b]
        functions[a][b] = functions[b][a] = function
    return Interaction(said.masses, cutoff, model.dimension, functions=functions)


def _commands(model: LiquidModel) -> _Commands:
    k = len(model.species)
    said = _Commands(np.full(k, np.nan))
    for line in model.commands.splitlines():
        word, *rest = shlex.split(line.replace("${here}", model.folder))
        if word == "mass":
            said.masses[_indices(rest[0], k)] = _float(rest[1], line)
        elif word == "pair_style":
            said.style = rest
        elif word == "pair_coeff":
            both = product(_indices(rest[0], k), _indices(rest[1], k))
            said.coefficients |= {(a, b): rest[2:] for a, b in both if a <= b}
        elif word == "pair_modify":
            if len(rest) != 2 or rest[0] != "shift" or rest[1] not in ("yes", "no"):
                raise InputError(f"the GPU engine doesn't know '{line}': {_ELSE}.")
            said.shift = rest[1] == "yes"
        elif word not in ("neighbor", "neigh_modify", "comm_modify"):
            raise InputError(f"the GPU engine doesn't know the command '{word}': {_ELSE}.")
    return said


def _check_complete(model: LiquidModel, said: _Commands) -> None:
    """Refuse another style, and masses or pairs that are not given."""
    style = said.style[0] if said.style else None
    if style not in _STYLES or model.atom_style != "atomic":
        what = f"pair_style {style}" if style else "no pair_style"
        raise InputError(f"the GPU engine knows {', '.join(_STYLES)}, and {model.name} has {what}: {_ELSE}.")
    if np.isnan(said.masses).any():
        lacking = int(np.isnan(said.masses).argmax()) + 1
        raise InputError(f"{model.name} sets no mass of type {lacking}: add it.")
    for a, b in combinations_with_replacement(range(len(model.species)), 2):
        if (a, b) not in said.coefficients and not (style == "lj/cut" and a != b):
            raise InputError(f"{model.name} has no pair_coeff {a + 1} {b + 1}: add it.")


def _lennard_jones(
    style: list[str], coefficients: dict[tuple[int, int], list[str]], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    out = np.full((3, k, k), np.nan)
    for (a, b), words in coefficients.items():
        values = [_float(w, "pair_coeff") for w in words]
        if len(values) == 2 and len(style) > 1:
            values.append(_float(style[1], "pair_style"))
        if len(values) != 3:
            raise InputError(
                f"pair_coeff {a + 1} {b + 1} has {len(values)} numbers: give epsilon, sigma, cutoff."
            )
        out[:, a, b] = out[:, b, a] = values
    for a in range(k):
        for b in range(a):
            if np.isnan(out[0, a, b]):  # LAMMPS's default: geometric means
                out[:, a, b] = out[:, b, a] = np.sqrt(out[:, a, a] * out[:, b, b])
    return out[0], out[1], out[2]


def _tapered(style: list[str], words: list[str]) -> tuple[float, PairFunction]:
    numbers = [_float(w, "pair_coeff") for w in [*words[:2], *(words[2:4] or style[1:3])]]
    if len(numbers) != 4:
        raise InputError("lennard/mdf needs A, B and two cutoffs: complete its pair_coeff.")
    return numbers[3], pairs.tapered(*numbers)


def _table(style: list[str], words: list[str]) -> tuple[float, PairFunction]:
    """Section of a LAMMPS table file: its points, splined."""
    path, keyword = Path(words[0]), words[1]
    try:
        lines = [line.split("#")[0].split() for line in path.read_text("utf-8", "replace").splitlines()]
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): give the table of pair_coeff.") from None
    start = next((i for i, line in enumerate(lines) if line[:1] == [keyword]), None)
    if start is None:
        raise InputError(f"{path} has no section {keyword!r}: check pair_coeff.")
    body = [line for line in lines[start + 1 :] if line]
    if not body or "N" not in body[0]:
        raise InputError(f"{path}: section {keyword} doesn't begin with 'N count': check the table.")
    count = int(_float(body[0][body[0].index("N") + 1], str(path)))
    try:
        rows = np.array([[float(w) for w in line] for line in body[1 : 1 + count]])
    except ValueError:
        rows = np.empty((0, 0))
    if rows.shape != (count, 4):
        raise InputError(f"{path}: section {keyword} isn't {count} rows of index, r, energy, force.")
    cutoff = _float(words[2], "pair_coeff") if len(words) > 2 else float(rows[-1, 1])
    return cutoff, pairs.interpolated(rows[:, 1], rows[:, 2], rows[:, 3])


def _indices(text: str, k: int) -> list[int]:
    """LAMMPS type ranges: ``2``, ``*``, ``1*2``."""
    try:
        if "*" not in text:
            first = last = int(text)
        else:
            low, _, high = text.partition("*")
            first, last = int(low or 1), int(high or k)
    except ValueError:
        first, last = 0, 0
    if not 1 <= first <= last <= k:
        raise InputError(f"type {text!r} is not within 1..{k}: the model has {k} species.")
    return list(range(first - 1, last))


def _float(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"'{text}' in '{where}' isn't a number, as the GPU engine needs: {_ELSE}.") from None
