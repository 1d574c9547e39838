"""Propensities in ASE: a calculator, and an observer of dynamics that another calculator drives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import ase
import ase.io
import numpy as np
from ase.calculators.calculator import Calculator, all_changes, equal
from ase.io.trajectory import TrajectoryWriter
from ase.outputs import Properties, all_outputs

from propensity.errors import InputError, PropensityError
from propensity.estimators.likeness import Likeness
from propensity.model_options import PredictorOptions
from propensity.predictor import COLUMNS, Predictor
from propensity.provenance import facts, of_frame, without
from propensity.species import LABELS
from propensity.structure import Structure
from propensity.threads import Turns
from propensity.travelling import Travelling

if TYPE_CHECKING:
    from typing_extensions import Unpack


class PropensityCalculator(Travelling, Calculator):
    """Predict the propensity of every particle of ``ase.Atoms``.

    ``get_property("propensity", atoms)`` gives the propensity at the default time, shape (N,), and
    ``"propensities"`` that at all times, shape (N, n_times); where the model knows its errors
    ``"propensity_std"`` and ``"propensities_std"`` give them.  Units are those of the
    positions; ``times`` are in Lennard-Jones units.  Results are cached and forgotten when positions,
    species, cell or periodic directions change.

    Parameters
    ----------
    model
        Name, folder or file of a model; a list of them is a committee.
    **options
        See :class:`propensity.model_options.PredictorOptions`.

    Examples
    --------
    >>> atoms.calc = PropensityCalculator("ka-default", species_map={"Ni": "A", "P": "B"})  # doctest: +SKIP
    >>> propensity = atoms.calc.get_property("propensity", atoms)                            # doctest: +SKIP
    """

    implemented_properties = list(COLUMNS[:2])
    # Neither changes what the network reads.
    ignored_changes = {"initial_charges", "initial_magmoms"}

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "ka-default",
        **options: Unpack[PredictorOptions],
    ) -> None:
        super().__init__()
        self._one = Turns()
        self._of_last: Likeness | None = None
        self.predictor = Predictor(model, **options)
        if self.predictor.has_std:
            self.implemented_properties = list(COLUMNS)

    @property
    def times(self) -> np.ndarray:
        """Times of ``"propensities"`` in LJ units, shape (n_times,)."""
        return self.predictor.times

    def structure(self, atoms: ase.Atoms) -> Structure:
        """Return what the network will read of ``atoms``; raises InputError for species it doesn't know.

        Parameters
        ----------
        atoms
            Any ASE configuration.

        Returns
        -------
        Structure
            In the units of ``atoms``.
        """
        return Structure.from_ase(atoms, self.predictor.species, self.predictor.species_map)

    def set_atoms(self, atoms: ase.Atoms) -> None:
        """Check the species; ASE calls this at ``atoms.calc = calculator``.

        Parameters
        ----------
        atoms
            To which the calculator is attached.
        """
        if len(atoms):
            self.structure(atoms)

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """Changes since the last calculation, those of a ``type`` array among them.

        Parameters
        ----------
        atoms
            To compare with those of the last calculation.
        tol
            Difference of numbers that counts as a change.

        Returns
        -------
        list[str]
            As ASE names them, and ``"type"``.
        """
        changes = super().check_state(atoms, tol)
        if self.atoms is not None:
            changes += [
                name for name in LABELS if not equal(self.atoms.arrays.get(name), atoms.arrays.get(name))
            ]
        return cast("list[str]", changes)

    def get_property(self, name: str, atoms: ase.Atoms | None = None, allow_calculation: bool = True) -> Any:
        """One property of ``atoms``; threads take turns, so that each gets that of its own atoms.

        Parameters
        ----------
        name
            One of ``implemented_properties``.
        atoms
            None: those of the last calculation.
        allow_calculation
            Whether it may be computed; otherwise None where it isn't known.

        Returns
        -------
        numpy.ndarray
            A row for each atom.
        """
        with self._one:
            return super().get_property(name, atoms, allow_calculation)  # type: ignore[no-untyped-call]

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("propensity",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results`` with every implemented property."""
        with self._one:
            super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
            structure = self.structure(self.atoms if atoms is None else atoms)  # type: ignore[arg-type]
            self.results = self.predictor.columns(structure)
            self._of_last = self.predictor.known_likeness(structure)

    def export_properties(self) -> Any:
        """Results that ASE has names for: none of ours, which :meth:`annotate` writes to the atoms.

        Returns
        -------
        Properties
            ASE's container, empty.
        """
        return Properties({name: value for name, value in self.results.items() if name in all_outputs})

    def annotate(self, atoms: ase.Atoms) -> ase.Atoms:
        """Write every property to ``atoms.arrays``, and to ``atoms.info`` by what they were made.

        ASE's writers drop results that are not energies, forces, ...; arrays survive in extended XYZ
        (``.traj`` files drop them too, see :func:`for_traj`).  ``info["propensity_times"]`` are the times,
        ``info["propensity_time"]`` that of ``propensity``; see :func:`propensity.provenance.facts`.  Returns
        ``atoms``.

        Parameters
        ----------
        atoms
            To be written to.

        Returns
        -------
        ase.Atoms
            ``atoms`` itself.
        """
        for name in COLUMNS:
            atoms.arrays.pop(name, None)
        with self._one:  # all of one calculation
            for name in self.implemented_properties:
                atoms.arrays[name] = self.get_property(name, atoms)
            likeness = self._of_last
        atoms.info = without(atoms.info) | facts(self.predictor) | of_frame(likeness)
        return atoms


def for_traj(atoms: ase.Atoms) -> ase.Atoms:
    """Copy of annotated atoms whose columns are in ``info``, too, where ``.traj`` files keep them.

    :func:`propensity.trajectory.open_trajectory` puts them back among the arrays.

    Parameters
    ----------
    atoms
        From :meth:`PropensityCalculator.annotate`.

    Returns
    -------
    ase.Atoms
        To be written to ``.traj``.
    """
    copy: ase.Atoms = atoms.copy()
    copy.calc = atoms.calc
    copy.info |= {name: array for name, array in atoms.arrays.items() if name in COLUMNS}
    return copy


class PropensityObserver:
    """Annotate the atoms of running dynamics, whose calculator and trajectory stay as they are.

    Parameters
    ----------
    atoms
        The atoms that the dynamics move, with the calculator that drives them.
    calculator
        A :class:`PropensityCalculator`, or a model to make one of.
    file
        Extended XYZ or ``.traj`` file to which each observed frame goes; an existing one is replaced at the
        first.
    options
        Passed to :class:`PropensityCalculator` when ``calculator`` is a model.

    Attributes
    ----------
    n_observed : int
        Frames seen so far.

    Examples
    --------
    >>> dynamics.attach(PropensityObserver(atoms, "ka-default", file="run.extxyz"), interval=100)  # doctest:
    +SKIP
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        calculator: PropensityCalculator
        | str
        | os.PathLike[str]
        | Sequence[str | os.PathLike[str]] = "ka-default",
        *,
        file: str | os.PathLike[str] | None = None,
        **options: Unpack[PredictorOptions],
    ) -> None:
        if not isinstance(calculator, PropensityCalculator):
            calculator = PropensityCalculator(calculator, **options)
        elif options:
            raise InputError(
                f"options {sorted(options)} come with a finished calculator: give them to the calculator."
            )
        if not isinstance(atoms, ase.Atoms):
            raise InputError(f"atoms is a {type(atoms).__name__}: give the ase.Atoms that the dynamics move.")
        self.atoms = atoms
        self.calculator = calculator
        self.file = None if file is None else os.fspath(file)
        self.n_observed = 0
        calculator.set_atoms(atoms)
        if self.file is not None and not os.access(os.path.dirname(os.path.abspath(self.file)), os.W_OK):
            raise PropensityError(
                f"{self.file} can't be written: choose a folder that exists and is writable."
            )

    def __call__(self) -> None:
        """Annotate the atoms as they are now, and append them to the file."""
        self.calculator.annotate(self.atoms)
        if self.file is not None:
            try:
                if self.file.endswith(".traj"):
                    with TrajectoryWriter(self.file, "a" if self.n_observed else "w") as stream:
                        stream.write(for_traj(self.atoms))
                else:
                    ase.io.write(self.file, self.atoms, format="extxyz", append=self.n_observed > 0)
            except OSError as error:
                raise PropensityError(
                    f"{self.file} can't be written ({error.strerror}): choose a writable folder."
                ) from None
        self.n_observed += 1
