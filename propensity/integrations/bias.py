"""A bias on the mean propensity in ASE: a calculator to be added to that of the interaction."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from propensity.bias import Bias, Form, in_group
from propensity.errors import InputError, PropensityWarning
from propensity.predictor import Predictor
from propensity.structure import Structure
from propensity.travelling import Travelling

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from propensity.model_options import ModelOptions


class PropensityBias(Travelling, Calculator):
    """Energy U(q) and forces −∇U of a bias on the mean propensity q of a group of atoms.

    Add it to the calculator of the interaction by ``ase.calculators.mixing.SumCalculator``.  Forces are those
    of :meth:`propensity.Predictor.gradient`: exact for models of thermal positions; minima and cage states,
    where a model sees them, are held.

    Parameters
    ----------
    model
        Name, folder or file of a model, a list of them for a committee, or a :class:`~propensity.Predictor`.
    form
        :class:`propensity.bias.Linear`, :class:`propensity.bias.Harmonic`, or a function from q, a torch
        tensor of one number, to the energy, another one.
    group
        Name of a species of the model, indices of atoms, or one boolean for each; None: all atoms of the
        species that the model was trained on.
    time
        Time of the propensity in LJ units; None: the model's default.
    **options
        See :class:`propensity.model_options.ModelOptions`.

    Attributes
    ----------
    mean : float
        q at the last calculation.

    Raises
    ------
    InputError
        For a model without gradient, or a form, group or time that can't be used.

    Warns
    -----
    PropensityWarning
        When the energy is not conserved: at the jumps of a sharp cutoff, at the steps in forces that
        rectifiers leave, or where minima are held.

    Examples
    --------
    >>> bias = PropensityBias("my-smooth-model", Harmonic(5000, 0.3), group="A")  # doctest: +SKIP
    >>> atoms.calc = SumCalculator([lennard_jones, bias])                         # doctest: +SKIP
    """

    implemented_properties = ["energy", "free_energy", "forces"]
    ignored_changes = {"initial_charges", "initial_magmoms"}

    def __init__(
        self,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Predictor,
        form: Form,
        *,
        group: str | Sequence[int] | np.ndarray | None = None,
        time: float | None = None,
        **options: Unpack[ModelOptions],
    ) -> None:
        super().__init__()
        if isinstance(model, Predictor) and options:
            raise InputError(f"options {sorted(options)} come with a finished predictor: give them to it.")
        self.predictor = model if isinstance(model, Predictor) else Predictor(model, **options)
        self._form, self._time = form, time
        self._bias = Bias(self.predictor, form, time)
        if isinstance(group, str) and group not in self.predictor.species:
            raise InputError(
                f"group is {group!r}: give a species of {list(self.predictor.species)}, indices or booleans."
            )
        self._group = copy.copy(group)
        self.mean = float("nan")

    @property
    def form(self) -> Form:
        """U(q); a new one, as of a bias that grows, counts from the next calculation on."""
        return self._form

    @form.setter
    def form(self, form: Form) -> None:
        self._bias, self._form = self._said_before(form), form
        self.reset()

    @property
    def group(self) -> str | Sequence[int] | np.ndarray | None:
        """As it was given."""
        return self._group

    @property
    def time(self) -> float | None:
        """As it was given."""
        return self._time

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_bias": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._bias = self._said_before(self._form)

    def _said_before(self, form: Form) -> Bias:
        """A bias by the same predictor, whose warnings are known."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PropensityWarning)
            return Bias(self.predictor, form, self._time)

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
        """Check species and group; ASE calls this at ``atoms.calc = calculator``.

        Parameters
        ----------
        atoms
            To which the calculator is attached.
        """
        if len(atoms):
            self._chosen(self.structure(atoms))

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results`` with energy and forces."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure = self.structure(self.atoms if atoms is None else atoms)  # type: ignore[arg-type]
        found = self._bias(structure, self._chosen(structure))
        self.mean = found.mean
        self.results = {"energy": found.energy, "free_energy": found.energy, "forces": found.forces}

    def _chosen(self, structure: Structure) -> np.ndarray | None:
        """Which atoms are in the group."""
        n, group = len(structure), self.group
        if group is None:
            return None
        if isinstance(group, str):
            return np.asarray(structure.types == self.predictor.species.index(group))
        return in_group(group, n)
