"""What kernels read: compile-time choices, constants of systems, arguments of launches as numpy records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from propensity.errors import InputError
from propensity.physics.interaction import ROWS, Interaction, rows_of

#: Slots that 16-bit byte offsets reach.
_OFFSETS = 4096
#: Rows of cells that a particle searches at most: cells are at least half the reach wide.
_ROWS = 25
#: 16-byte words that shared memory gives at once, and how a row of cells (y, z) is told its bank:
#: steps along y and z (kernels/deal.cuh).
BANKS, BANK_STEPS = 8, (3, 3)
_PAIR = ("rc2", "ri2", "ro2", "rc", "s2", "c1", "c2", "fs", "e4", "esh", "fe")
_POINTERS = (
    "X",
    "V",
    "ACC",
    "XI",
    "XO",
    "INNER",
    "OUTER",
    "F",
    "systems",
    "items",
    "queue",
    "done",
    "stats",
    "frames",
    "frame_step",
    "seeds",
    "table",
    "etable",
    "centre",
    "origin",
    "sums",
    "fout",
    "error",
    "bar",
    "flag",
    "gsum",
    "gx",
    "gorder",
    "gend",
    "gin",
    "gout",
    "XB",
    "ids",
)
_INTS = (
    "nitems",
    "steps",
    "step0",
    "chunk",
    "sample_every",
    "nrec",
    "nframes",
    "cap_in",
    "cap_out",
    "thermostat",
    "skip",
    "every",
    "centred",
    "maxit",
)
_FLOATS = ("dt", "temp0", "temp1", "ou", "tau", "ftol")
#: ``Args`` of common.cuh.
ARGS = np.dtype(
    [(p, "u8") for p in _POINTERS] + [(i, "i4") for i in _INTS] + [(f, "f4") for f in _FLOATS], align=True
)


@dataclass(frozen=True)
class Variant:
    """Compile-time choices of the kernels: the macros of common.cuh."""

    slots: int
    species: int
    dimension: int
    cubic: bool
    form: int
    cells: int
    grid: bool
    double: bool
    threads: int
    blocks: int
    far_pads: bool
    cluster: int = 1
    inner: int = 0

    @property
    def macros(self) -> dict[str, int]:
        """Name → value."""
        return {
            "NP": self.slots,
            "KS": self.species,
            "DIM": self.dimension,
            "CUBIC": int(self.cubic),
            "FORM": self.form,
            "NCELL": self.cells,
            "GRID": int(self.grid),
            "REAL64": int(self.double),
            "NT": self.threads,
            "MINB": self.blocks,
            "PAD_FAR": int(self.far_pads),
            "CLUSTER": self.cluster,
            "INNER_CAP": self.inner,
            "BANK_Y": BANK_STEPS[0],
            "BANK_Z": BANK_STEPS[1],
        }

    @property
    def real(self) -> np.dtype:
        """Of pair arithmetic."""
        return np.dtype(np.float64 if self.double else np.float32)

    @cached_property
    def system(self) -> np.dtype:
        """``System`` of common.cuh."""
        k = self.species
        pair = np.dtype([(name, self.real) for name in _PAIR], align=True)
        return np.dtype(
            [
                ("n", "i4"),
                ("first", "i4", (k + 1,)),
                ("nc", "i4", (3,)),
                ("reach", "i4"),
                ("rows", "i4"),
                ("row", "i4", (_ROWS, 2)),
                ("h", self.real, (3,)),
                ("hinv", "f4", (3,)),
                ("hp", "f4"),
                ("skin_in2", "f4"),
                ("skin_out2", "f4"),
                ("chords", "i4"),
                ("edge", "f4", (3,)),
                ("share", "f4"),
                ("margin", "f4"),
                ("most", "f4"),
                ("half_out", "f4"),
                ("inv_mass", "f4", (k,)),
                ("wall", "f4"),
                ("stiff", "f4"),
                ("pair", pair, (k * k,)),
            ],
            align=True,
        )

    def shared_bytes(self, warp: int = 32) -> int:
        """Shared memory of a block: ``Shared`` of common.cuh, with room for its alignment."""
        small = self.system.itemsize + 6 * 32 * 8 + 32 * 4 + 16 + 64
        if self.grid:
            return small
        lists = 2 * 2 * (self.slots // warp) * self.species
        each = self.threads * -(-self.slots // (self.threads * self.cluster))
        inner = 8 * (self.inner + 4) * each if self.inner else 0
        return self.slots * (16 + 2) + (self.species * self.cells + 1) * 4 + lists + inner + small


def slots_for(n: int) -> int:
    """Slots for ``n`` particles, one to spare for the dummy that pads lists (but for exactly 4096)."""
    return n if n == _OFFSETS else 32 * (n // 32 + 1)


@dataclass(frozen=True)
class Skins:
    """Reach of the inner and of the outer list beyond the cutoff, in σ.

    Blocks give fast particles more of the inner skin and slow ones less, at least ``margin`` of it.
    """

    inner: float = 0.2
    outer: float = 0.9
    margin: float = 0.16

    def __post_init__(self) -> None:
        if not 0 < self.inner < self.outer:
            raise InputError(f"skins are {self.inner:g} and {self.outer:g}: the outer must exceed the inner.")


def cell_grid(box: np.ndarray, reach: float, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells along each axis, of at least half the reach, and how many to search on each side; shapes (3,)."""
    count = np.maximum(1, np.floor(box / (0.5 * reach)).astype(int))
    count = np.minimum(count, 1023)
    if dimension == 2:
        count[2] = 1
    return count, np.ceil(reach / (box / count) - 1e-9).astype(int)


def search_rows(cells: np.ndarray, reach: np.ndarray) -> list[tuple[int, int]]:
    """Steps along y and z to the rows of cells within reach, those of one bank together."""
    y, z = (
        range(-r, r + 1) if 2 * r + 1 <= n else range(n)
        for n, r in zip(cells[1:].tolist(), reach[1:].tolist(), strict=True)
    )
    return sorted(
        ((a, b) for b in z for a in y),
        key=lambda row: (BANK_STEPS[0] * row[0] + BANK_STEPS[1] * row[1]) % BANKS,
    )


def capacities(interaction: Interaction, densities: np.ndarray, skins: Skins) -> tuple[int, int]:
    """Quads that the inner and outer lists of a particle may need, from the density of each species."""
    out = []
    for skin in (skins.inner, skins.outer):
        r = interaction.cutoff + skin
        ball = np.pi * r**2 if interaction.dimension == 2 else 4 / 3 * np.pi * r**3
        expected = (ball * densities[None, :]).sum(axis=1).max()
        out.append(int(np.ceil((1.35 * expected + 8 * interaction.n_species + 32) / 4)))
    return out[0], out[1]


def tables_of(interaction: Interaction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of all pairs, and (first r², spacing, first row) of each pair (K, K, 3); empty rows for 12-6."""
    k = interaction.n_species
    where = np.zeros((k, k, 3))
    forces, energies = [np.zeros((0, 4), np.float32)], [np.zeros((0, 4), np.float32)]
    if interaction.functions is not None:
        for a in range(k):
            for b in range(a, k):
                f, u, first, spacing = rows_of(interaction, a, b)
                where[a, b] = where[b, a] = first, spacing, sum(len(x) for x in forces)
                forces.append(f)
                energies.append(u)
    return np.concatenate(forces), np.concatenate(energies), where


def system_record(
    variant: Variant,
    interaction: Interaction,
    skins: Skins,
    n: int,
    counts: np.ndarray,
    box: np.ndarray,
    where: np.ndarray,
    wall: float = 0.0,
    stiffness: float = 0.0,
) -> np.ndarray:
    """Constants of one system, of dtype ``variant.system`` and shape ()."""
    s = np.zeros((), variant.system)
    unit = box / 2.0**32
    hp = unit[0] if variant.cubic else 1.0
    s["n"] = n
    s["first"] = np.concatenate([[0], np.cumsum(counts)])
    cells, reach = cell_grid(box, float(interaction.cutoff.max()) + skins.outer, interaction.dimension)
    rows = search_rows(cells, reach)
    s["nc"], s["reach"], s["rows"] = cells, reach[0], len(rows)
    s["row"][: len(rows)] = rows
    d = interaction.dimension
    s["chords"], s["edge"] = (2 * reach + 1 <= cells)[:d].all(), box / cells / hp
    s["h"], s["hinv"], s["hp"] = unit, 1 / unit, hp
    if interaction.dimension == 2:
        s["hinv"][2] = 0.0
    s["skin_in2"] = (0.5 * skins.inner / hp) ** 2
    s["skin_out2"] = (0.5 * (skins.outer - skins.inner) / hp) ** 2
    s["share"], s["half_out"] = 0.5 * skins.inner / hp, 0.5 * skins.outer / hp
    s["margin"], s["most"] = skins.margin * skins.inner / hp, 0.25 * skins.outer / hp
    s["inv_mass"] = 1 / interaction.masses
    s["wall"], s["stiff"] = wall / hp, stiffness * hp
    for a in range(interaction.n_species):
        for b in range(interaction.n_species):
            s["pair"][a * interaction.n_species + b] = _pair(
                variant, interaction, skins, a, b, hp, where[a, b]
            )
    return s


def _pair(
    variant: Variant, interaction: Interaction, skins: Skins, a: int, b: int, hp: float, where: np.ndarray
) -> tuple[float, ...]:
    cut = float(interaction.cutoff[a, b])
    radii = *(((cut + skin) / hp) ** 2 for skin in (0.0, skins.inner, skins.outer)), cut / hp
    if variant.form == 2:
        first, spacing, row = where
        return (*radii, first / hp**2, hp**2 / spacing, hp, row, ROWS - 1, 0.0, 0.0)
    assert interaction.epsilon is not None and interaction.sigma is not None
    e, s = float(interaction.epsilon[a, b]), float(interaction.sigma[a, b])
    c3 = (s / cut) ** 6
    edge = 4 * e * (c3 * c3 - c3) if interaction.truncation != "plain" else 0.0
    pull = 24 * e * (2 * c3 * c3 - c3) / cut if interaction.truncation == "force" else 0.0
    return (
        *radii,
        (s / hp) ** 2,
        24 * e / s**2 * hp,
        48 * e / s**2 * hp,
        -pull,
        4 * e,
        edge + pull * cut,
        -pull * hp,
    )
