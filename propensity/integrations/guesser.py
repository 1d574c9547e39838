"""What MDAnalysis may guess of a Kob–Andersen mixture: species, masses and radii in Lennard-Jones units."""

from __future__ import annotations

from typing import Any

import numpy as np
from MDAnalysis.guesser.base import GuesserBase

from propensity.errors import InputError

#: Share of the larger, more numerous species A: 80 % in three dimensions, 65 % in two.
FEWEST, MOST = 0.6, 0.9
#: Half of σ_AA and of σ_BB.
RADII = {"A": 0.5, "B": 0.44}


class KobAndersenGuesser(GuesserBase):
    """Context ``"kob-andersen"`` of :meth:`MDAnalysis.core.universe.Universe.guess_TopologyAttrs`.

    Known once this package's analysis has been imported::

        from propensity import PropensityAnalysis
        universe.guess_TopologyAttrs(
            context="kob-andersen", to_guess=["radii"], force_guess=["types", "masses"]
        )

    Particles must have two labels (types, else names, else elements); the more numerous, 60 to 90 % of all,
    is A.  A and B may be called so, too, and ``species_map={1: "A", 2: "B"}`` says it outright.  Types become
    A and B, masses 1, radii σ_AA/2 and σ_BB/2.

    Parameters
    ----------
    universe
        Whose particles are guessed.
    **kwargs
        ``species_map``, from labels to A and B.

    Raises
    ------
    InputError
        When the particles are no such mixture.
    """

    context = "kob-andersen"

    def __init__(self, universe: Any = None, **kwargs: Any) -> None:
        super().__init__(universe, **kwargs)
        self._guesser_methods = {
            "types": self.guess_types,
            "names": self.guess_types,
            "masses": self.guess_masses,
            "radii": self.guess_radii,
        }

    def guess_types(self, indices_to_guess: np.ndarray | None = None) -> np.ndarray:
        """A or B of each particle, or of some, shape (N,).

        Parameters
        ----------
        indices_to_guess
            Indices or a mask of the particles to guess; None: all.

        Returns
        -------
        numpy.ndarray
            Of names.
        """
        labels = self._labels()
        species = self._species(labels)
        return self._some(np.array([species[label] for label in labels], object), indices_to_guess)

    def guess_masses(self, indices_to_guess: np.ndarray | None = None) -> np.ndarray:
        """1 for every particle, shape (N,).

        Parameters
        ----------
        indices_to_guess
            Indices or a mask of the particles to guess; None: all.

        Returns
        -------
        numpy.ndarray
            In units of m.
        """
        return self._some(np.ones(len(self._labels())), indices_to_guess)

    def guess_radii(self, indices_to_guess: np.ndarray | None = None) -> np.ndarray:
        """σ/2 of the species of each particle, shape (N,).

        Parameters
        ----------
        indices_to_guess
            Indices or a mask of the particles to guess; None: all.

        Returns
        -------
        numpy.ndarray
            In σ_AA.
        """
        return self._some(np.array([RADII[name] for name in self.guess_types()]), indices_to_guess)

    @staticmethod
    def _some(values: np.ndarray, chosen: np.ndarray | None) -> np.ndarray:
        return values if chosen is None else values[chosen]

    def _labels(self) -> np.ndarray:
        for name in ("types", "names", "elements"):
            labels = getattr(self._universe.atoms, name, None)
            if labels is not None and all(str(label) for label in labels):
                return np.asarray(labels).astype(str)
        raise InputError("the particles have neither types nor names: open the file with a topology.")

    def _species(self, labels: np.ndarray) -> dict[str, str]:
        names, counts = np.unique(labels, return_counts=True)
        given = self._kwargs.get("species_map")
        if given is not None:
            if not hasattr(given, "items"):
                raise InputError(f"species_map is {given!r}: give a mapping, such as {{1: 'A', 2: 'B'}}.")
            known = {str(label): str(name) for label, name in given.items()}
            unknown = [str(name) for name in names if known.get(str(name)) not in RADII]
            if unknown:
                raise InputError(f"species_map says nothing of {unknown}, or not A or B: name both.")
            return known
        if set(names) <= set(RADII):
            return {name: name for name in RADII}
        share = counts.max() / counts.sum()
        if len(names) != 2 or not FEWEST <= share <= MOST:
            table = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
            raise InputError(
                f"the labels {table} are no Kob–Andersen mixture of 80:20 or 65:35: say which is which by"
                " species_map={1: 'A', 2: 'B'}."
            )
        larger = int(counts.argmax())
        return {str(names[larger]): "A", str(names[1 - larger]): "B"}
