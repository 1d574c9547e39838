"""A model's LAMMPS commands as pair potentials for the GPU engine, or why it needs another engine."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from propensity.errors import InputError
from propensity.physics import interaction as pairs
from propensity.physics.interaction import Interaction, PairFunction
from propensity.simulate.model import LiquidModel

_STYLES = ("lj/cut", "lj/smooth/linear", "lennard/mdf", "table")
_ELSE = "use --engine lammps"


def interaction_of(model: LiquidModel) -> Interaction:
    """Read masses and pair potentials of a model.

    Raises
    ------
    InputError
        For commands that this engine can't follow, with ``--engine lammps`` as the way out.
    """
    if model.units != "lj":
        raise InputError(f"the GPU engine works in LJ units and {model.name} in {model.units}: {_ELSE}.")
    k = len(model.species)
    masses = np.full(k, np.nan)
    style: list[str] = []
    shift = False
    coefficients: dict[tuple[int, int], list[str]] = {}
    for line in model.commands.splitlines():
        word, *rest = shlex.split(line.replace("${here}", model.folder))
        if word == "mass":
            masses[_indices(rest[0], k)] = _float(rest[1], line)
        elif word == "pair_style":
            style = rest
        elif word == "pair_coeff":
            for a in _indices(rest[0], k):
                for b in _indices(rest[1], k):
                    if a <= b:
                        coefficients[a, b] = rest[2:]
        elif word == "pair_modify":
            if len(rest) != 2 or rest[0] != "shift" or rest[1] not in ("yes", "no"):
                raise InputError(f"the GPU engine doesn't know '{line}': {_ELSE}.")
            shift = rest[1] == "yes"
        elif word not in ("neighbor", "neigh_modify", "comm_modify"):
            raise InputError(f"the GPU engine doesn't know the command '{word}': {_ELSE}.")
    if not style or style[0] not in _STYLES or model.atom_style != "atomic":
        what = f"pair_style {style[0]}" if style else "no pair_style"
        raise InputError(f"the GPU engine knows {', '.join(_STYLES)}, and {model.name} has {what}: {_ELSE}.")
    if np.isnan(masses).any():
        raise InputError(f"{model.name} sets no mass of type {int(np.isnan(masses).argmax()) + 1}: add it.")
    for a in range(k):
        for b in range(a, k):
            if (a, b) not in coefficients and not (style[0] == "lj/cut" and a != b):
                raise InputError(f"{model.name} has no pair_coeff {a + 1} {b + 1}: add it.")
    if style[0] in ("lj/cut", "lj/smooth/linear"):
        epsilon, sigma, cutoff = _lennard_jones(style, coefficients, k)
        truncation: pairs.Truncation = (
            "force" if style[0] == "lj/smooth/linear" else "energy" if shift else "plain"
        )
        return Interaction(masses, cutoff, model.dimension, epsilon, sigma, truncation)
    cutoff = np.zeros((k, k))
    functions: list[list[PairFunction]] = [[pairs.inverse_power(1, 1, 12, 1)] * k for _ in range(k)]
    for (a, b), words in coefficients.items():
        cutoff[a, b], function = (_tapered if style[0] == "lennard/mdf" else _table)(style, words)
        cutoff[b, a] = cutoff[a, b]
        functions[a][b] = functions[b][a] = function
    return Interaction(masses, cutoff, model.dimension, functions=functions)


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
