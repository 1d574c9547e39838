"""Frame: one snapshot with everything that its file says of each particle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
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


class _NamedError(DataError):
    """An error that names its frame."""


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
        Lines of the header, and the lines of the particles without the last one's end, for writers of the
        same format.
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
    text: tuple[list[str], str] | None = None
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


def with_distinct_ids(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns of a LAMMPS file, without ids where its atoms had none (``atom_modify id no`` writes zeros).

    Raises
    ------
    DataError
        When two particles share an id: which is which in another frame could not be told.
    """
    ids = arrays.get("id")
    if ids is None:
        return arrays
    if len(ids) > 1 and not ids.any():
        return {name: column for name, column in arrays.items() if name != "id"}
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise DataError(f"two particles have the id {twice[0]}")
    return arrays


class LaterFrame:
    """A frame that is found and not yet taken apart, which another thread, process or machine may do.

    Parameters
    ----------
    number
        Index in the trajectory, from 0.
    read
        Makes the frame.
    elsewhere
        The same for another process, where ``read`` can't travel; None: the frame itself does.
    """

    def __init__(
        self, number: int, read: Callable[[], Frame], elsewhere: Callable[[], Frame] | None = None
    ) -> None:
        self.number, self._read, self._elsewhere = number, read, elsewhere

    def frame(self) -> Frame:
        """Read it.

        Raises
        ------
        DataError
            With its number, whatever a parser raises.
        """
        with naming_frame(self.number):
            return self._read()

    def changed(self, changes: Sequence[Callable[[Frame], Frame]]) -> LaterFrame:
        """The same, with changes after it is read."""
        if not changes:
            return self
        elsewhere = None if self._elsewhere is None else partial(_changed, self._elsewhere, tuple(changes))
        return LaterFrame(self.number, partial(_changed, self._read, tuple(changes)), elsewhere)

    def elsewhere(self, read: Callable[[], Frame]) -> LaterFrame:
        """The same, which another process reads by ``read``."""
        return LaterFrame(self.number, self._read, read)

    def to_go(self) -> LaterFrame | Frame:
        """What can travel to another process of this machine: itself where it can be read there."""
        if self._elsewhere is None:
            return self.frame()
        return LaterFrame(self.number, self._elsewhere, self._elsewhere)


def _changed(read: Callable[[], Frame], changes: Sequence[Callable[[Frame], Frame]]) -> Frame:
    frame = read()
    for change in changes:
        frame = change(frame)
    return frame


@contextmanager
def naming_frame(number: int) -> Iterator[None]:
    """Turn whatever a parser raises into one line that names the frame."""
    try:
        yield
    except _NamedError:
        raise
    except Exception as error:  # ASE, gsd, zlib, ... each raise their own.
        reason = " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
        raise _NamedError(f"frame {number} can't be read: {reason}.") from None
