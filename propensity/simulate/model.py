"""Model: the liquid to simulate, read from a LAMMPS fragment with a few ``# propensity:`` lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import cast

import numpy as np

from propensity.errors import InputError, suggest
from propensity.files import in_script
from propensity.simulate.interactions import interaction_digest, pair_style
from propensity.simulate.units import UNITS, Units, units_called

#: Commands that define an interaction; everything else (box, atoms, fixes, runs) belongs to ``simulate``.
COMMANDS = (
    "mass",
    "pair_style",
    "pair_coeff",
    "pair_modify",
    "special_bonds",
    "dielectric",
    "kspace_style",
    "kspace_modify",
    "neighbor",
    "neigh_modify",
    "comm_modify",
    "variable",
    "set",
    "group",
)
#: Keys of ``# propensity:`` lines.
KEYS = (
    "species",
    "dimension",
    "density",
    "timestep",
    "wavenumber",
    "melt",
    "damping",
    "potential",
    "atom_style",
    "units",
    "length_scale",
    "sizes",
)
#: Those of them that are numbers.
_NUMBERS = ("density", "timestep", "wavenumber", "melt", "damping", "length_scale", "sizes")


@dataclass(frozen=True)
class LiquidModel:
    """A liquid: its species and the LAMMPS commands of its interactions, in the units that these say.

    Parameters
    ----------
    name
        Name of the preset or of the file.
    title
        First comment of the file.
    commands
        LAMMPS commands, one a line.
    folder
        Where the file lies, ``${here}`` in its commands: for tabulated potentials beside it.
    species
        Names in the order of LAMMPS types.
    fractions
        Number fraction of each species, summing to 1.
    density
        Default number density in σ⁻³ (σ⁻² in two dimensions); None when it must be given.
    dimension
        2 or 3.
    timestep
        Default step of velocity Verlet.
    wavenumber
        q of F_s(q, t), by which τ_α is defined; None takes the first peak of S(k).
    damping
        Damping time of the thermostat.
    melt
        Temperature at which chains are melted; at least twice the target is used.
    potential
        Name of the interaction that the data set carries.
    atom_style
        ``"atomic"`` or ``"charge"``.
    units
        Of all of these.
    length_scale
        Length of σ in these units, by which the lengths of the data set are divided; 1 leaves them.
    sizes
        Relative spread of continuous diameters, P(σ) ∝ σ⁻³ with mean 1; None where species say all.
    """

    name: str
    title: str
    commands: str
    folder: str
    species: tuple[str, ...]
    fractions: tuple[float, ...]
    density: float | None = None
    dimension: int = 3
    timestep: float = 0.005
    wavenumber: float | None = None
    damping: float = 0.5
    melt: float = 2.0
    potential: str = ""
    atom_style: str = "atomic"
    units: str = "lj"
    length_scale: float = 1.0
    sizes: float | None = None

    @property
    def constants(self) -> Units:
        """Constants and names of the units."""
        return UNITS[self.units]

    def counts(self, n_particles: int) -> np.ndarray:
        """Particles of each species: the nearest integers that sum to ``n_particles``, shape (n_species,)."""
        ideal = np.array(self.fractions) * n_particles
        counts = np.floor(ideal).astype(int)
        # Largest remainder; the rounding keeps ties (0.65·N) on the side of the first species.
        order = np.argsort(-np.round(ideal - counts, 9), kind="stable")
        counts[order[: n_particles - counts.sum()]] += 1
        if counts.min() < 1:
            rare = self.species[int(counts.argmin())]
            raise InputError(f"{n_particles} particles hold no {rare}: give a larger --n-particles.")
        return cast("np.ndarray", counts)


def presets() -> dict[str, str]:
    """Name → title of every shipped model."""
    folder = resources.files("propensity.simulate") / "presets"
    names = sorted(f.name[:-3] for f in folder.iterdir() if f.name.endswith(".in"))
    return {name: _title((folder / f"{name}.in").read_text("utf-8")) for name in names}


def preset_text(name: str) -> str:
    """Return the LAMMPS fragment of a shipped model."""
    names = presets()
    if name not in names:
        raise InputError(
            f"no preset {name!r}: choose from {', '.join(names)} or give your own with"
            f" --input{suggest(name, names)}."
        )
    return (resources.files("propensity.simulate") / "presets" / f"{name}.in").read_text("utf-8")


def load_preset(name: str) -> LiquidModel:
    """Read a shipped model."""
    return parse_model(preset_text(name), name, folder=".", where=f"preset {name}", shipped=True)


def load_input(path: str | Path) -> LiquidModel:
    """Read a model from a user's file.

    Raises
    ------
    InputError
        When the file can't be read or breaks the contract (``docs/simulate.md``).
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"{path} can't be read ({reason}): give a LAMMPS fragment to --input.") from None
    folder = str(path.resolve().parent)
    if "${here}" in text:
        in_script(folder)
    return parse_model(text, path.stem, folder=folder, where=str(path))


def parse_model(text: str, name: str, folder: str, where: str, shipped: bool = False) -> LiquidModel:
    """Check a fragment against the contract and read its ``# propensity:`` lines.

    The interaction of a ``shipped`` one has the name that its file says; of any other, the name of the preset
    with the same style and coefficients, or one made of its own style and coefficients.
    """
    header, commands = _header_and_commands(text, where)
    _check_needed(commands, where)
    if "species" not in header:
        raise InputError(f"{where} names no species: add a line such as '# propensity: species A:0.8 B:0.2'.")
    names, fractions = parse_species(header["species"], where)
    units = units_called(header.get("units", "lj"), where)
    number_of = {"timestep": units.timestep, "damping": units.damping, "melt": units.melt}
    number_of |= {key: _number(header, key, where) for key in _NUMBERS if key in header}
    dimension = header.get("dimension", "3")
    if dimension not in ("2", "3"):
        raise InputError(f"{where}: dimension is {dimension}: choose 2 or 3.")
    style = header.get("atom_style", "atomic")
    if style not in ("atomic", "charge"):
        raise InputError(f"{where}: atom_style is {style!r}: choose atomic or charge.")
    return LiquidModel(
        name=name,
        title=_title(text),
        commands=commands,
        folder=folder,
        species=names,
        fractions=fractions,
        dimension=int(dimension),
        potential=_potential(header.get("potential"), commands, folder, int(dimension), units.name, shipped),
        units=units.name,
        atom_style=style,
        **number_of,
    )


def _header_and_commands(text: str, where: str) -> tuple[dict[str, str], str]:
    """Settings of the ``# propensity:`` lines and ``units``, and the commands, one a line."""
    header: dict[str, str] = {}
    commands: list[str] = []
    for number, line in _logical_lines(text):
        match = re.match(r"#\s*propensity:\s*(\S+)\s*(.*)$", line)
        if match:
            key, value = match[1], match[2].strip()
            if key not in KEYS:
                raise InputError(
                    f"{where} line {number}: no setting {key!r}: choose from"
                    f" {', '.join(KEYS)}{suggest(key, KEYS)}."
                )
            header[key] = value
            continue
        command = line.split("#")[0].strip()
        if not command:
            continue
        word = command.split()[0]
        if word == "units":
            header["units"] = command.removeprefix("units").strip()
            continue
        if word not in COMMANDS:
            raise InputError(
                f"{where} line {number}: {word!r} doesn't define an interaction: a model holds only "
                f"{', '.join(COMMANDS)}; simulate makes the box, the atoms and the runs itself."
            )
        if len(command.split()) < 2:
            raise InputError(f"{where} line {number}: {word} says nothing: complete it.")
        commands.append(command)
    return header, "\n".join(commands)


def _check_needed(commands: str, where: str) -> None:
    """Refuse commands without masses or an interaction."""
    words = {command.split()[0] for command in commands.splitlines()}
    # Files of the embedded-atom method bring the masses.
    needed = ("pair_style",) if pair_style(commands).startswith("eam") else ("mass", "pair_style")
    for word in needed:
        if word not in words:
            raise InputError(f"{where} has no {word} command: a model sets mass, pair_style and pair_coeff.")


def _potential(
    said: str | None, commands: str, folder: str, dimension: int, units: str, shipped: bool
) -> str:
    """Name of the interaction that runs."""
    if shipped and said:
        return said
    mark = interaction_digest(commands, folder, dimension, units)
    if not shipped:
        known = _shipped_interactions()
        if mark in known:
            return known[mark]
        if said in known.values():
            said = None  # left over from a template: the coefficients are others
    return f"{said or pair_style(commands)} #{mark}"


@cache
def _shipped_interactions() -> dict[str, str]:
    """Fingerprint → name of the interaction of each preset."""
    models = [load_preset(name) for name in presets()]
    return {interaction_digest(m.commands, m.folder, m.dimension, m.units): m.potential for m in models}


def parse_species(text: str, where: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Read ``A:0.8 B:0.2`` as names and fractions (parts of any sum)."""
    names, parts = [], []
    for item in text.replace(",", " ").split():
        name, _, part = item.partition(":")
        try:
            value = float(part)
        except ValueError:
            value = -1.0
        if not name or not np.isfinite(value) or value <= 0:
            raise InputError(f"{where}: species {item!r} isn't name:fraction, such as A:0.8.")
        names.append(name)
        parts.append(value)
    if not names or len(set(names)) < len(names):
        raise InputError(f"{where}: species {text!r} is empty or repeats a name: write e.g. A:0.8 B:0.2.")
    total = sum(parts)
    return tuple(names), tuple(p / total for p in parts)


def _number(header: dict[str, str], key: str, where: str) -> float:
    try:
        value = float(header[key])
    except ValueError:
        value = -1.0
    if not np.isfinite(value) or value <= 0:
        raise InputError(f"{where}: {key} is {header[key]!r}: give a positive number.")
    return value


def _title(text: str) -> str:
    """First sentence of the leading comments."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#") or "propensity:" in line:
            break
        lines.append(line.lstrip("# ").strip())
    return re.split(r"[:.,;](?:\s|$)", " ".join(lines))[0]


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Lines with LAMMPS continuations (``&``) joined, each with the number of its first line."""
    out: list[tuple[int, str]] = []
    start, held = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        held += line.strip()
        if held.endswith("&") and not held.startswith("#"):
            held = held[:-1].rstrip() + " "
            continue
        out.append((start, held))
        start, held = 0, ""
    if held:
        out.append((start, held))
    return out
