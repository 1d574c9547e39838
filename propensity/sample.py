"""Sample: one labelled structure, whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Real

import numpy as np

from propensity.caging import CageState
from propensity.errors import DataError, InputError
from propensity.structure import Structure

#: Displacements over this many sizes of the box are none.  A diffusing liquid needs 10⁸ τ_α for them, while
#: numbers by which other formats mark a gap (10²⁰, 9.97·10³⁶) and damaged bytes lie far beyond.
MAX_BOXES = 1000.0


@dataclass(frozen=True, eq=False)
class Sample:
    """A structure with its isoconfigurational propensities, in LJ units.

    Parameters
    ----------
    structure
        Thermal configuration.
    times
        Times of the labels, shape (T,).
    propensities
        Mean displacement of each particle over the runs, in σ, shape (N, T).
    name
        Unique within a data set.
    inherent_positions
        Positions of the inherent structure, shape (N, 3).
    cage
        Cage state about the inherent positions.
    halves
        Propensities from runs 0, 2, 4, ... and from runs 1, 3, 5, ..., shape (2, N, T), NaN where unknown;
        their correlation gives the noise ceiling.
    squared_displacement
        Mean squared displacement of each particle over the runs, shape (N, T), NaN where unknown.
    n_runs
        Runs of the isoconfigurational ensemble.
    temperature
        k_B T/ε_AA.
    potential
        Name of the interaction: ``"lj/cut"`` and ``"lj/cut force-shifted"`` are different liquids.
    fs
        Self-intermediate scattering function F_s(t) at the times, shape (T,), NaN where unknown.
    tau_alpha
        Structural relaxation time.
    split
        ``"train"``, ``"valid"`` or ``"test"`` where the files say so.
    group
        Structures that share a group are correlated (one parent) and stay on one side of a split.
    source
        Where it came from.
    species
        Names of the species in the order of the types.
    length_scale
        Length of σ in the units of the file that the sample came from, by which its lengths were divided.
    """

    structure: Structure
    times: np.ndarray
    propensities: np.ndarray
    name: str
    inherent_positions: np.ndarray | None = None
    cage: CageState | None = None
    halves: np.ndarray | None = None
    squared_displacement: np.ndarray | None = None
    n_runs: int | None = None
    temperature: float | None = None
    potential: str | None = None
    fs: np.ndarray | None = None
    tau_alpha: float | None = None
    split: str | None = None
    group: str | None = None
    source: str = ""
    species: tuple[str, ...] = field(default=("A", "B"))
    length_scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise DataError(f"the name of a sample is {self.name!r}: give text that is not empty.")
        if not isinstance(self.structure, Structure):
            raise DataError(f"{self.name}: structure is a {type(self.structure).__name__}: give a Structure.")
        n, t = len(self.structure), len(self.times)
        self._check("times", (t,), 0.0)
        far = self._farthest()
        self._check("propensities", (n, t), 0.0, far)
        self._check("inherent_positions", (n, 3))
        self._check_minimum()
        self._check("halves", (2, n, t), -far, far, gaps=True)
        self._check("squared_displacement", (n, t), 0.0, far**2, gaps=True)
        self._check_moments()
        self._check("fs", (t,), -1.0, 1.0, gaps=True)
        for name in ("n_runs", "temperature", "tau_alpha"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Real) and 0 < float(value) < np.inf):
                raise DataError(f"{self.name}: {name} is {value!r}: give a positive number, or None.")
        for name, value in (("potential", self.potential), ("split", self.split), ("group", self.group)):
            if value is not None and not isinstance(value, str):
                raise DataError(f"{self.name}: {name} is {value!r}: give text, or None.")
        if not (isinstance(self.length_scale, Real) and 0 < float(self.length_scale) < np.inf):
            raise DataError(f"{self.name}: length_scale is {self.length_scale!r}: give a positive number.")
        self._check_cage()
        if isinstance(self.species, str):
            raise DataError(f"{self.name}: species is {self.species!r}: give a name for each type.")
        for name in ("times", "species"):
            values = np.asarray(getattr(self, name)).tolist()
            if len({*values}) < len(values):
                raise DataError(f"{self.name}: {name} are {values}: give each once.")
        if len(self.species) <= self.structure.types.max():
            raise DataError(
                f"{self.name}: type {self.structure.types.max()} has no name among species {self.species}."
            )

    def _check(
        self,
        name: str,
        shape: tuple[int, ...],
        low: float = -np.inf,
        high: float = np.inf,
        gaps: bool = False,
    ) -> None:
        """Refuse an array of another shape, with values that can't be, or with NaN where there may be no
        ``gaps``.
        """
        given = getattr(self, name)
        if given is None:
            return
        where = f"{self.name}: {name}"
        if np.shape(given) != shape:
            raise DataError(f"{where} has shape {np.shape(given)} instead of {shape}.")
        if isinstance(given, np.ma.MaskedArray) and np.ma.getmaskarray(given).any():
            raise DataError(f"{where} is masked in places: fill or drop them.")
        array = np.asarray(given)
        if array.dtype.kind not in "iuf":
            raise DataError(f"{where} is of type {array.dtype} instead of numbers.")
        if gaps:
            array = array[~np.isnan(array)]
        if not np.isfinite(array).all():
            raise DataError(f"{where} has NaN or infinite entries: drop this structure or those times.")
        if array.size and not (low <= array.min() and array.max() <= high + 1e-6):
            worst = array.min() if array.min() < low else array.max()
            raise DataError(
                f"{where} has the value {worst:g}, which can't be ({low:g} to {high:g}): correct or drop it."
            )

    def _farthest(self) -> float:
        """Displacement that no run explains; unbounded for one particle without a box."""
        s = self.structure
        size = max(float(np.linalg.norm(s.cell, axis=1).max()), float(np.ptp(s.positions, axis=0).max()))
        return MAX_BOXES * size if size else np.inf

    def _check_minimum(self) -> None:
        """Refuse inherent positions of other particles, or of these in another order."""
        if self.inherent_positions is not None:
            try:
                self.structure.offset_from(np.asarray(self.inherent_positions))
            except InputError as error:
                raise DataError(f"{self.name}: {error}") from None

    def _check_cage(self) -> None:
        """Refuse what is no cage state, or one of other particles."""
        if self.cage is None:
            return
        if not isinstance(self.cage, CageState):
            raise DataError(f"{self.name}: cage is a {type(self.cage).__name__}: give a CageState.")
        if self.inherent_positions is None or len(self.cage) != len(self):
            raise DataError(
                f"{self.name}: a cage state of {len(self.cage)} particles goes with the inherent positions of"
                " as many: give both."
            )

    def _check_moments(self) -> None:
        """Refuse mean squares below the square of the mean, beyond what rounding explains."""
        if self.squared_displacement is None:
            return
        square, mean = np.asarray(self.squared_displacement), np.asarray(self.propensities)
        wrong = square < 0.95 * np.square(mean) - 1e-6
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f"{self.name}: squared_displacement of particle {row} at time {self.times[column]:g} is"
                f" {square[row, column]:g}, below the square of its propensity {mean[row, column]:g}: give"
                " both in the same units, of the same runs."
            )

    def __len__(self) -> int:
        return len(self.structure)

    def in_units_of(self, length_scale: float) -> Sample:
        """The sample with every length divided by ``length_scale``, once: one that was divided stays.

        Parameters
        ----------
        length_scale
            Length of σ in the units of the sample.

        Returns
        -------
        Sample
            Lengths in σ.

        Raises
        ------
        DataError
            When it was divided by another one.
        InputError
            As :meth:`propensity.Structure.in_units_of`.
        """
        if self.length_scale == length_scale:
            return self
        if self.length_scale != 1:
            raise DataError(
                f"{self.name} holds lengths that were divided by {self.length_scale:g} already: leave out"
                f" --length-scale {length_scale:g}, or give the original file."
            )

        def divided(array: np.ndarray | None, power: int = 1) -> np.ndarray | None:
            return None if array is None else np.asarray(array) / length_scale**power

        return replace(
            self,
            structure=self.structure.in_units_of(length_scale),
            propensities=np.asarray(self.propensities) / length_scale,
            inherent_positions=divided(self.inherent_positions),
            cage=None if self.cage is None else self.cage.scaled(1 / length_scale),
            halves=divided(self.halves),
            squared_displacement=divided(self.squared_displacement, 2),
            length_scale=length_scale,
        )

    def at_columns(self, columns: Sequence[int] | np.ndarray, times: np.ndarray | None = None) -> Sample:
        """The labels at some times, by index along the time axis; ``times`` replaces what they are called.

        Parameters
        ----------
        columns
            Indices along the time axis.
        times
            In LJ units, one for each column; None: those of the sample.

        Returns
        -------
        Sample
            Labels of shape (N, len(columns)).
        """
        columns = np.asarray(columns, dtype=int)

        def pick(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[..., columns]

        return replace(
            self,
            times=np.asarray(self.times)[columns] if times is None else np.asarray(times, dtype=float),
            propensities=self.propensities[..., columns],
            halves=pick(self.halves),
            squared_displacement=pick(self.squared_displacement),
            fs=pick(self.fs),
        )


def checked_sample(value: object) -> Sample:
    """The sample that is given.

    Parameters
    ----------
    value
        A :class:`Sample`.

    Returns
    -------
    Sample
        The same.

    Raises
    ------
    InputError
        For anything else.
    """
    if not isinstance(value, Sample):
        raise InputError(
            f"samples hold a {type(value).__name__}: give Samples, as of propensity.open_dataset."
        )
    return value
