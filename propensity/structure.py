"""One snapshot of a liquid: positions, integer types, cell and periodic directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.caging import CageState
from propensity.diameters import checked_diameters, diameters_of
from propensity.dimension import axis_across, in_space, is_planar, out_of_plane, planar_cell, planar_pbc
from propensity.errors import InputError
from propensity.lattice import (
    checked_cell,
    checked_pbc,
    minimum_image,
    refuse_sheared,
    refuse_singular,
)
from propensity.numeric import as_numbers, positive, refuse_few_digits, refuse_masked
from propensity.species import LABELS, SpeciesMap, map_species

if TYPE_CHECKING:
    import ase
    from MDAnalysis import AtomGroup


#: Distance of two minima, in mean spacings, beyond which one is not a rounded other.
OTHER_MINIMUM = 0.05
#: Distances of neighbours, in σ, beyond which no liquid is: the mean spacing of Kob and Andersen's is 0.94.
SPACINGS = 0.25, 4.0
#: Particles whose nearest one is looked for: enough for a median.
_SAMPLE = 10_000


@dataclass(frozen=True, eq=False)
class Structure:
    """A particle configuration, checked on construction.

    Particles that lie in one plane are a two-dimensional liquid, whatever the file says of the third
    direction: it is open then, no particle is its own neighbour there, and densities are those of an area.

    Parameters
    ----------
    positions
        Coordinates, shape (N, 3), in units of σ_AA unless a length scale is applied; (N, 2) in a plane.
    types
        Species of each particle as integers 0..n_species−1, shape (N,).
    cell
        Three cell vectors as rows, shape (3, 3); a (3,) sequence is read as the edges of an
        orthorhombic box and a number as a cubic one.  Vectors of open directions may be zero.  With planar
        positions (N, 2) also two vectors (2, 2) or two edges.
    pbc
        Periodic directions, shape (3,) or one value for all.
    thermal_offset
        Where positions are those of an inherent structure: vectors from them to the thermal positions,
        shape (N, 3), which some models see as well.
    cage
        Cage state about these inherent positions, which some models see as well.
    dimension
        2 or 3; None sees it from the positions.
    diameters
        Diameter of each particle of a polydisperse liquid, shape (N,), in the units of the positions; None
        where the species says all.

    Raises
    ------
    InputError
        For NaN or infinite coordinates, a singular cell, an empty structure, negative types,
        wrong shapes or arrays of unequal length, or a dimension of 2 for particles in no plane.
    """

    positions: np.ndarray
    types: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    thermal_offset: np.ndarray | None
    cage: CageState | None
    diameters: np.ndarray | None
    #: Cell vector that leads out of the plane of a two-dimensional liquid; None in three dimensions.
    normal: int | None

    def __init__(
        self,
        positions: Any,
        types: Any,
        cell: Any,
        pbc: Any = True,
        thermal_offset: Any = None,
        dimension: int | None = None,
        cage: CageState | None = None,
        diameters: Any = None,
    ) -> None:
        for array, what in ((positions, "positions"), (types, "types"), (cell, "cell vectors")):
            refuse_masked(array, what)
        if is_planar(positions):
            positions, cell, pbc, dimension = in_space(positions), planar_cell(cell), planar_pbc(pbc), 2
        object.__setattr__(self, "positions", _vectors(positions, "positions"))
        object.__setattr__(self, "types", _types(types, len(self.positions)))
        object.__setattr__(self, "pbc", checked_pbc(pbc))
        object.__setattr__(self, "cell", checked_cell(cell))
        # First, since other tests of a cell lose their digits there.
        refuse_sheared(self.cell, self.pbc)
        object.__setattr__(self, "normal", out_of_plane(self.positions, self.cell, dimension))
        if self.normal is not None:
            self.pbc[self.normal] = False
        refuse_singular(self.cell, self.pbc)
        refuse_few_digits(positions, self.positions, self.volume, self.dimension)
        if thermal_offset is not None:
            thermal_offset = _vectors(in_space(thermal_offset), "vectors of thermal_offset")
            if len(thermal_offset) != len(self):
                raise InputError(
                    f"thermal_offset has shape {thermal_offset.shape} for {len(self)} particles: give a"
                    " vector for each."
                )
        object.__setattr__(self, "thermal_offset", thermal_offset)
        if cage is not None and (thermal_offset is None or len(cage) != len(self)):
            raise InputError(
                f"a cage state of {len(cage)} particles goes with the inherent structure of as many and its"
                f" thermal_offset: here are {len(self)} particles"
                f" {'without' if thermal_offset is None else 'with'} it."
            )
        if cage is not None:
            self._check_cage(cage)
        object.__setattr__(self, "cage", cage)
        if diameters is not None:
            diameters = checked_diameters(diameters, len(self))
        object.__setattr__(self, "diameters", diameters)

    def _check_cage(self, cage: CageState) -> None:
        """Refuse a cage state about another minimum."""
        away = minimum_image(cage.inherent_positions - self.positions, self.cell, self.pbc)
        far, density = float(np.median(np.linalg.norm(away, axis=1))), self.density
        if density is not None and far > OTHER_MINIMUM * density ** (-1 / self.dimension):
            raise InputError(
                f"the cage state is about a minimum that lies {far:.3g} from these positions in the median:"
                " give the one that was made from them, in the same units."
            )

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def dimension(self) -> int:
        """2 where the particles lie in one plane, else 3."""
        return 3 if self.normal is None else 2

    @property
    def directions(self) -> np.ndarray:
        """Indices of the cell vectors of the liquid's own space, shape (dimension,)."""
        return np.arange(3) if self.normal is None else np.delete(np.arange(3), self.normal)

    @property
    def across(self) -> int | None:
        """Cartesian axis across the plane of a two-dimensional liquid; None in three dimensions."""
        return None if self.normal is None else axis_across(self.positions, self.cell[self.directions])

    @property
    def is_periodic(self) -> bool:
        """Whether every direction of the liquid's own space is periodic."""
        return bool((self.pbc if self.normal is None else self.pbc[self.directions]).all())

    @property
    def volume(self) -> float | None:
        """Volume of a fully periodic cell in σ³, area in σ² in two dimensions; None when a direction is
        open.
        """
        if not self.is_periodic:
            return None
        # Gram's determinant: the volume that vectors span in a space of any higher dimension.
        own = self.cell[self.directions]
        return float(abs(np.linalg.det(own)) if len(own) == 3 else np.sqrt(np.linalg.det(own @ own.T)))

    @property
    def density(self) -> float | None:
        """Number density N/V in σ⁻³, N/A in σ⁻² in two dimensions; None when a direction is open."""
        volume = self.volume
        return None if volume is None else len(self) / volume

    def composition(self, n_species: int) -> np.ndarray:
        """Fraction of particles of each species, shape (n_species,).

        Parameters
        ----------
        n_species
            Number of species, those that are absent included.

        Returns
        -------
        numpy.ndarray
            Sums to 1.
        """
        return np.bincount(self.types, minlength=n_species) / len(self)

    def in_units_of(self, length_scale: float) -> Structure:
        """The structure with every length divided by that of σ.

        Parameters
        ----------
        length_scale
            Length of σ in the units of the positions.

        Returns
        -------
        Structure
            Lengths in σ.

        Raises
        ------
        InputError
            For a length that is not positive, or at which no liquid is so dense or so dilute.
        """
        scale = positive(length_scale, "length_scale", "the length of σ in the units of the data")
        density = self.density if len(self) > 1 else None
        spacing = None if density is None else density ** (-1 / self.dimension)
        if spacing is not None and not SPACINGS[0] <= spacing / scale <= SPACINGS[1]:
            # A box may be empty for the most part, so neighbours have the last word.
            spacing = self._nearest() or spacing
            if not SPACINGS[0] <= spacing / scale <= SPACINGS[1]:
                raise InputError(
                    f"neighbours are {spacing / scale:.3g} σ apart where σ is {scale:g} of the units of the"
                    " data, which no liquid's are: give the length of σ in them (length_scale,"
                    f" --length-scale), some {spacing:.3g}."
                )
        return self.scaled(1 / scale)

    def _nearest(self) -> float:
        """Median distance to the nearest particle; images, which a median hardly sees, are left out."""
        from scipy.spatial import cKDTree

        rows = self.cell[self.pbc]
        wrapped = self.positions - np.floor(self.positions @ np.linalg.pinv(rows)) @ rows
        chosen = wrapped[:: len(self) // _SAMPLE + 1]
        return float(np.median(cKDTree(wrapped).query(chosen, k=2)[0][:, 1]))

    def scaled(self, factor: float) -> Structure:
        """Return the structure with every length multiplied by ``factor``.

        Parameters
        ----------
        factor
            A positive finite number.

        Returns
        -------
        Structure
            Diameters, thermal offset and cage state are scaled as well.

        Raises
        ------
        InputError
            For any other factor.
        """
        if not np.isfinite(factor) or factor <= 0:
            raise InputError(f"length scale factor is {factor}: give a positive finite number.")
        moved = None if self.thermal_offset is None else self.thermal_offset * factor
        cage = None if self.cage is None else self.cage.scaled(factor)
        return Structure(
            self.positions * factor,
            self.types,
            self.cell * factor,
            self.pbc,
            moved,
            self.dimension,
            cage,
            None if self.diameters is None else self.diameters * factor,
        )

    def with_positions(self, positions: Any) -> Structure:
        """Return the same particles and cell at other positions, shape (N, 3).

        Parameters
        ----------
        positions
            In the units of the structure; (N, 2) in a plane.

        Returns
        -------
        Structure
            Without thermal offset and cage state.
        """
        if self.normal is None and not is_planar(positions) and len(positions) == len(self):
            return self._moved_to(positions)
        return Structure(
            in_space(positions),
            self.types,
            self.cell,
            self.pbc,
            dimension=self.dimension,
            diameters=self.diameters,
        )

    def _moved_to(self, positions: Any) -> Structure:
        """As many particles elsewhere in three dimensions: all else is known to be right."""
        moved = object.__new__(Structure)
        fields = {
            "types": self.types.copy(),
            "cell": self.cell.copy(),
            "pbc": self.pbc.copy(),
            "normal": None,
        }
        fields |= {"thermal_offset": None, "cage": None, "positions": _vectors(positions, "positions")}
        fields["diameters"] = None if self.diameters is None else self.diameters.copy()
        for name, value in fields.items():
            object.__setattr__(moved, name, value)
        refuse_few_digits(positions, moved.positions, moved.volume, 3)
        return moved

    def part(self, rows: np.ndarray) -> Structure:
        """Return some of the particles, by index, in the same box.

        Parameters
        ----------
        rows
            Indices of particles, shape (K,).

        Returns
        -------
        Structure
            Those particles in the same cell, in this order.
        """
        return Structure(
            self.positions[rows],
            self.types[rows],
            self.cell,
            self.pbc,
            None if self.thermal_offset is None else self.thermal_offset[rows],
            self.dimension,
            None if self.cage is None else self.cage.part(rows),
            None if self.diameters is None else self.diameters[rows],
        )

    def with_cage(self, cage: CageState) -> Structure:
        """Return this inherent structure with its cage state.

        Parameters
        ----------
        cage
            About these positions.

        Returns
        -------
        Structure
            Otherwise the same.
        """
        return Structure(
            self.positions,
            self.types,
            self.cell,
            self.pbc,
            self.thermal_offset,
            self.dimension,
            cage,
            self.diameters,
        )

    def offset_from(self, inherent_positions: np.ndarray) -> np.ndarray:
        """Return the vectors from inherent positions to these thermal ones, shape (N, 3).

        Parameters
        ----------
        inherent_positions
            Of the same particles, in any periodic image, shape (N, 3).

        Returns
        -------
        numpy.ndarray
            Thermal offsets.

        Raises
        ------
        InputError
            When most particles lie farther from their minimum than from their neighbours.
        """
        step = minimum_image(self.positions - inherent_positions, self.cell, self.pbc)
        density = self.density
        if density is not None:
            squared, half = np.square(step) @ np.ones(3), len(step) // 2
            far, spacing = float(np.partition(squared, half)[half]) ** 0.5, density ** (-1 / self.dimension)
            if far > spacing:
                raise InputError(
                    f"inherent positions lie {far:.3g} from the thermal ones in the median, farther than"
                    f" neighbours from each other ({spacing:.3g}): give the same particles in the same order,"
                    " in the same units and box."
                )
        return step

    def at_minimum(self, inherent_positions: Any) -> Structure:
        """Return this thermal structure at its inherent positions, shape (N, 3), with the offset back.

        Parameters
        ----------
        inherent_positions
            Of the same particles, in any periodic image.

        Returns
        -------
        Structure
            With ``thermal_offset``.

        Raises
        ------
        InputError
            When they can't be of these particles.
        """
        found = self.with_positions(inherent_positions)
        object.__setattr__(found, "thermal_offset", self.offset_from(found.positions))
        return found

    @classmethod
    def from_ase(
        cls, atoms: ase.Atoms, species: Sequence[str], species_map: SpeciesMap | None = None
    ) -> Structure:
        """Build from ``ase.Atoms``; species by symbol, atomic number or an array ``type``, ``species``, ...

        Parameters
        ----------
        atoms
            Any ASE configuration.
        species
            Names of the species that the model knows, in its order.
        species_map
            From what the file says to those names, e.g. ``{"Ar": "A", 2: "B"}``; integer keys are
            matched against an array called ``type`` where there is one, else atomic numbers.

        Returns
        -------
        Structure
            In the units of ``atoms``.

        Raises
        ------
        InputError
            For species that the map and the model don't know.
        """
        from ase.data import chemical_symbols

        if not hasattr(atoms, "arrays"):
            raise InputError(f"atoms is a {type(atoms).__name__}: give one ase.Atoms.")
        columns: dict[str, np.ndarray] = {}
        for key in ("type", "types"):
            if key in atoms.arrays:
                columns["type"] = np.asarray(atoms.arrays[key])
                break
        for key in LABELS[2:]:
            if key in atoms.arrays and atoms.arrays[key].dtype.kind in "iuUSO":
                columns[key] = np.asarray(atoms.arrays[key])
        columns["symbol"] = np.array(chemical_symbols)[atoms.numbers]
        if "type" not in columns:
            columns["number"] = atoms.get_atomic_numbers()
        types = map_species(columns, species, species_map)
        sizes = diameters_of(atoms.arrays)
        return cls(atoms.positions, types, atoms.cell.array, atoms.pbc, diameters=sizes)

    @classmethod
    def from_mdanalysis(
        cls,
        atomgroup: AtomGroup,
        species: Sequence[str],
        species_map: SpeciesMap | None = None,
        pbc: Any = True,
    ) -> Structure:
        """Build from the current frame of an MDAnalysis atom group; species by type, name or element.

        A frame without a box (``ts.dimensions is None``) has open boundaries; otherwise ``pbc``
        says which directions are periodic, since MDAnalysis does not.  Types that vary in time
        (swap Monte Carlo) are used where the reader stores them in ``ts.data["type"]``, as the
        LAMMPS dump reader does with ``additional_columns=["type"]``; the topology knows only those
        of the first frame.

        Parameters
        ----------
        atomgroup
            In its current frame.
        species
            Names of the species that the model knows, in its order.
        species_map
            From what the universe says to those names; None: equal names.
        pbc
            Periodic directions of a frame with a box.

        Returns
        -------
        Structure
            In the units of the universe.

        Raises
        ------
        InputError
            For species that are unknown, and for tilted boxes of GSD files.
        """
        timestep = atomgroup.universe.trajectory.ts
        columns = {
            name: np.asarray(getattr(atomgroup, attribute), dtype=object)
            for name, attribute in (("type", "types"), ("name", "names"), ("element", "elements"))
            if hasattr(atomgroup, attribute)
        }
        if np.shape(timestep.data.get("type")) == (timestep.n_atoms,):
            columns = {"type": np.asarray(timestep.data["type"])[atomgroup.ix].astype(np.int64)}
        types = map_species(columns, species, species_map)
        sizes = diameters_of({key: np.asarray(value) for key, value in timestep.data.items()}, atomgroup.ix)
        if sizes is None and hasattr(atomgroup, "radii"):
            sizes = 2 * np.asarray(atomgroup.radii, dtype=float)
        if timestep.dimensions is None:
            return cls(atomgroup.positions, types, np.zeros((3, 3)), False, diameters=sizes)
        if atomgroup.universe.trajectory.format == "GSD" and np.any(timestep.dimensions[3:] != 90):
            raise InputError(
                "MDAnalysis reads the tilt of this GSD box as angles, which gives a wrong cell: "
                "use `propensity annotate` (reads GSD itself) or convert the file to a LAMMPS dump."
            )
        if timestep.dimensions[2] == 0:
            # A planar box of no height, of which MDAnalysis makes no vectors at all.
            from MDAnalysis.lib.mdamath import triclinic_vectors

            cell = triclinic_vectors([*timestep.dimensions[:2], 1.0, *timestep.dimensions[3:]])
            return cls(
                atomgroup.positions, types, cell, checked_pbc(pbc) & [True, True, False], diameters=sizes
            )
        return cls(atomgroup.positions, types, timestep.triclinic_dimensions, pbc, diameters=sizes)


def checked_structure(value: Any) -> Structure:
    """The structure that is given.

    Parameters
    ----------
    value
        A :class:`Structure`.

    Returns
    -------
    Structure
        The same.

    Raises
    ------
    InputError
        For anything else.
    """
    if not isinstance(value, Structure):
        raise InputError(
            f"structure is a {type(value).__name__}: give a Structure (of ASE or MDAnalysis by"
            " Structure.from_ase or from_mdanalysis)."
        )
    return value


def _vectors(vectors: Any, what: str) -> np.ndarray:
    array = as_numbers(vectors, what, "an array of shape (N, 3), or (N, 2) in a plane")
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(
            f"{what} have shape {array.shape}: give an array of shape (N, 3), or (N, 2) in a plane."
        )
    if len(array) == 0:
        raise InputError("the structure is empty: give at least one particle.")
    finite = np.isfinite(array)
    if not finite.all():
        bad = ~finite.all(axis=1)
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{what} of {int(bad.sum())} particle(s) are NaN or infinite (first: particle {first}, "
            f"{array[first]}): remove or repair them."
        )
    return array


def _types(types: Any, n: int) -> np.ndarray:
    array = np.asarray(types)
    if array.shape != (n,):
        raise InputError(
            f"types have shape {array.shape} for {n} particles: give one integer a particle, shape ({n},)."
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"types have dtype {array.dtype}: give integers 0..n_species−1 (see SpeciesMap).")
    array = array.astype(np.int64)  # before the test, since unsigned ones may wrap
    if array.min() < 0:
        raise InputError(f"the smallest type is {array.min()}: types are integers 0..n_species−1.")
    return array
