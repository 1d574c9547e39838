"""Frame: one snapshot with everything that its file says of each particle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.diameters import diameters_of
from propensity.errors import DataError
from propensity.species import SpeciesMap, map_species
from propensity.structure import Structure

if TYPE_CHECKING:
    import ase


#: Vector columns by their name here → their components as LAMMPS calls them.
VECTORS = {"velocities": ("vx", "vy", "vz"), "forces": ("fx", "fy", "fz"), "image": ("ix", "iy", "iz")}


@dataclass
class Frame:
    """One frame of a trajectory, as its file says it.

    Parameters
    ----------
    number
        Index in the trajectory, from 0.
    positions
        Coordinates, shape (N, 3).
    cell
        Cell vectors as rows, shape (3, 3); zero rows where there is none.
    pbc
        Periodic directions, shape (3,).
    labels
        Columns that may name the species, each of shape (N,), in order of preference.
    arrays
        Every other column by its name in the file, each of shape (N,) or (N, k); ``velocities``,
        ``forces`` and ``image`` are vectors whatever the file calls them.
    info
        What the file says of the frame as a whole.
    step, time
        MD step and time where known.
    origin
        Corner of the cell, shape (3,).
    text
        Lines of the file without their line ends: the header and one for each particle, for writers
        of the same format.
    atoms
        The ``ase.Atoms`` that were read, for writers that speak ASE.
    dimension
        2 or 3 where the file says it; None to see it from the positions.
    """

    number: int
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    labels: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    step: int | None = None
    time: float | None = None
    origin: np.ndarray | None = None
    text: tuple[list[str], list[str]] | None = None
    atoms: ase.Atoms | None = None
    dimension: int | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def structure(self, species: Sequence[str], species_map: SpeciesMap | None = None) -> Structure:
        """Return what a network reads of this frame.

        Parameters
        ----------
        species
            Names of the species that the model knows, in its order.
        species_map
            From what the file says to those names; None: equal names.

        Returns
        -------
        Structure
            In the units of the file.
        """
        types = map_species(self.labels, species, species_map)
        sizes = diameters_of(self.arrays)
        return Structure(
            self.positions, types, self.cell, self.pbc, dimension=self.dimension, diameters=sizes
        )


@contextmanager
def naming_frame(number: int) -> Iterator[None]:
    """Turn whatever a parser raises into one line that names the frame."""
    try:
        yield
    except Exception as error:  # ASE, gsd, zlib, ... each raise their own.
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"frame {number} can't be read: {reason}.") from None
