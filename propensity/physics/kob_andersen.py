"""The Kob–Andersen mixture: its pair potentials, local energies, and forces for ASE by a neighbour list with
a skin.

Symbols of the compiled forces
------------------------------
=======  =================================================  ==========
letter   meaning                                            shape
=======  =================================================  ==========
i, j     a particle and its neighbour
a, b     their species, 0 or 1
x, y, z  vector from i to j, in σ                           one a pair
step     how far each particle is from where it was listed  (N, 3)
sixth    (σ_ab/r)⁶                                          one a pair
pull     u′/r                                               one a pair
=======  =================================================  ==========
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from propensity.compiling import njit
from propensity.errors import InputError, suggest
from propensity.neighbours import neighbour_list
from propensity.physics.interaction import CUT, EPSILON, SIGMA
from propensity.registry import Registry
from propensity.structure import Structure, checked_structure
from propensity.threads import blocks_of, share

#: Name of the interaction, as in :class:`propensity.data.Sample` → is the force shifted to zero at the cut?
POTENTIALS = {"lj/cut": False, "lj/cut force-shifted": True}

#: Range of the neighbour list beyond that of the potential, in σ: the list serves until a particle has moved
#: half of it.
SKIN = 0.3


#: Prefix of interactions that LAMMPS computes, before the path of its input.
LAMMPS = "lammps:"

#: What LAMMPS computes, made where LAMMPS is run.
_BY_LAMMPS: Registry[Callable[..., Any]] = Registry(
    "quantity",
    {
        "minimum": "propensity.simulate.minima:minimum",
        "energies": "propensity.simulate.minima:energies",
        "liquid": "propensity.simulate.minima:liquid",
    },
)


def by_lammps(what: str) -> Callable[..., Any]:
    """Function (structure, input) that has LAMMPS compute a ``"minimum"`` or ``"energies"``.

    ``"liquid"`` takes the input alone and says what it describes.
    """
    return _BY_LAMMPS[what]


def check_potential(potential: str) -> None:
    """Refuse a potential that is not known."""
    if not isinstance(potential, str):
        raise InputError(f"potential is {potential!r}: give a name, such as 'lj/cut'.")
    if potential.startswith(LAMMPS):
        return
    if potential not in POTENTIALS:
        raise InputError(
            f"potential {potential!r} is unknown: give 'lammps:my.in', the interaction's LAMMPS input, or"
            f" choose from {sorted(POTENTIALS)}{suggest(potential, POTENTIALS)}."
        )


def check_two_species(structure: Structure) -> None:
    """Refuse what is no structure, and more than two species."""
    checked_structure(structure)
    if structure.types.max() > 1:
        raise InputError(
            f"the structure has type {structure.types.max()}: the Kob–Andersen mixture has types 0 and 1."
        )


def local_potential_energy(structure: Structure, potential: str = "lj/cut") -> np.ndarray:
    """½ Σ_j u(r_ij) of each particle of a Kob–Andersen mixture, in ε_AA, shape (N,).

    ``"lj/cut"``: 4ε[(σ/r)¹² − (σ/r)⁶] shifted to zero at 2.5σ_ab (Bapst et al.);
    ``"lj/cut force-shifted"``: its derivative vanishes there too (BOTAN, GlassBench).

    ``"lammps:my.in"``: that of LAMMPS's ``compute pe/atom``, in the input's units.

    Raises
    ------
    InputError
        For an unknown potential or more than two species.
    """
    check_potential(potential)
    if potential.startswith(LAMMPS):
        return cast("np.ndarray", by_lammps("energies")(structure, potential.removeprefix(LAMMPS)))
    calculator = KobAndersen(potential)
    atoms = Atoms(structure.types + 1, structure.positions, cell=structure.cell, pbc=structure.pbc)
    return cast("np.ndarray", calculator.get_property("energies", atoms))


def rms_force(structure: Structure, potential: str = "lj/cut") -> float:
    """Root mean square force on a particle in ε/σ: 25 at T = 0.44, below 0.2 at minima of either potential.

    Raises
    ------
    InputError
        For an unknown potential or more than two species.
    """
    check_two_species(structure)
    atoms = Atoms(structure.types + 1, structure.positions, cell=structure.cell, pbc=structure.pbc)
    forces = KobAndersen(potential).get_property("forces", atoms)
    return float(np.sqrt(np.square(forces).sum(axis=1).mean()))


class _Neighbours(NamedTuple):
    """Neighbours of each particle when the list was made, and species."""

    start: np.ndarray  # (N + 1,), first neighbour of each particle
    source: np.ndarray  # (E,), who it is
    vectors: np.ndarray  # (E, 3), in σ, to it
    types: np.ndarray  # (N,), 0 or 1


class KobAndersen(Calculator):
    """Energy, its share of each particle and forces of the mixture in ε_AA and σ_AA; atomic number 1 is A and
    2 is B.

    Parameters
    ----------
    potential
        ``"lj/cut"`` (Bapst et al.) or ``"lj/cut force-shifted"`` (BOTAN, GlassBench).
    """

    implemented_properties = ["energy", "energies", "forces"]

    def __init__(self, potential: str = "lj/cut") -> None:
        check_potential(potential)
        super().__init__()
        self.pairs = pair_table(POTENTIALS[potential])
        self._at: np.ndarray | None = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy", "forces"),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill ``results`` for ``atoms``."""
        super().calculate(atoms, properties, system_changes)
        now: Any = self.atoms
        positions = now.positions
        if self._at is None or set(system_changes) - {"positions"} or self._moved(positions) > SKIN / 2:
            self._list(now)
        n = len(positions)
        forces, energies = np.empty((n, 3)), np.empty(n)
        share(
            _forces,
            blocks_of(n),
            self._near,
            positions - self._at,
            self.pairs,
            forces,
            energies,
        )
        self.results = {"energy": float(energies.sum()), "energies": energies, "forces": forces}

    def _moved(self, positions: np.ndarray) -> float:
        """Longest way of a particle since the list was made."""
        return float(np.sqrt(np.square(positions - self._at).sum(axis=1).max()))

    def _list(self, atoms: Any) -> None:
        types, self._at = atoms.numbers - 1, atoms.positions.copy()
        structure = Structure(self._at, types, atoms.cell.array, atoms.pbc)
        check_two_species(structure)
        edge_index, vectors = neighbour_list(structure, CUT * float(SIGMA.max()) + SKIN)
        start = np.searchsorted(edge_index[1].numpy(), np.arange(len(atoms) + 1))
        self._near = _Neighbours(start, edge_index[0].numpy(), vectors.numpy(), types)


def pair_table(force_shifted: bool) -> np.ndarray:
    """Squared cut, σ², 4ε, energy and slope at the cut of each pair of species, shape (2, 2, 5)."""
    cut, four = CUT * SIGMA, 4 * EPSILON
    energy = four * (CUT**-12 - CUT**-6)
    slope = four * (-12 * CUT**-12 + 6 * CUT**-6) / cut
    return np.stack([cut**2, SIGMA**2, four, energy, slope if force_shifted else 0 * slope], axis=-1)


@njit(nogil=True)
def _forces(first, last, blocks, near, step, pairs, forces, energies):  # type: ignore[no-untyped-def]
    """Of the particles of some blocks: force on each, and half of the energy of its pairs.

    Reads   near; step (N, 3), how far each is from where it was then; pairs (2, 2, 5) of :func:`pair_table`.
    Writes  forces (N, 3) and energies (N,).
    One call is a range of blocks of particles.
    """
    start, source, vectors, types = near
    n = len(types)
    for i in range(n * first // blocks, n * last // blocks):
        fx = fy = fz = energy = 0.0
        for k in range(start[i], start[i + 1]):
            j = source[k]
            x = vectors[k, 0] + step[j, 0] - step[i, 0]
            y = vectors[k, 1] + step[j, 1] - step[i, 1]
            z = vectors[k, 2] + step[j, 2] - step[i, 2]
            square = x * x + y * y + z * z
            a, b = types[i], types[j]
            if square < pairs[a, b, 0]:
                four, slope, r = pairs[a, b, 2], pairs[a, b, 4], math.sqrt(square)
                sixth = (pairs[a, b, 1] / square) ** 3
                pull = four * (6 - 12 * sixth) * sixth / square - slope / r  # u′/r
                fx += pull * x
                fy += pull * y
                fz += pull * z
                energy += (
                    four * (sixth - 1) * sixth - pairs[a, b, 3] - (r - math.sqrt(pairs[a, b, 0])) * slope
                )
        forces[i, 0], forces[i, 1], forces[i, 2] = fx, fy, fz
        energies[i] = energy / 2
