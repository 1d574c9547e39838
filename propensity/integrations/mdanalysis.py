"""Propensities in MDAnalysis: an analysis that runs serially or in parallel, with the same numbers."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from MDAnalysis.analysis.backends import BackendBase
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import Results, ResultsGroup
from MDAnalysis.core.groups import AtomGroup, UpdatingAtomGroup
from MDAnalysis.core.universe import Universe

from propensity.errors import InputError, PropensityError
from propensity.integrations.backends import chosen
from propensity.integrations.guesser import KobAndersenGuesser as _Registered  # noqa: F401  # by its import
from propensity.integrations.varying_types import refuse_varying_types
from propensity.model_options import PredictorOptions
from propensity.predictor import Predictor, models_of
from propensity.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Results at all times → results at the default time.
_AT_DEFAULT = {"propensities": "propensity", "propensities_std": "propensity_std"}

#: What is said of each frame → its type.
_FLAGS: dict[str, Any] = {"out_of_distribution": bool, "doubts": str, "outside": float, "negative": np.int64}


class PropensityAnalysis(AnalysisBase):
    """Predict the propensity of every particle in every frame of a trajectory.

    Parameters
    ----------
    atomgroup
        Universe, or the atoms whose propensities are wanted.  All particles of ``environment`` are
        their possible neighbours, whatever is selected here.
    model
        Name, folder or file of a model; a list of them is a committee.
    environment
        Particles that make up the liquid; None takes every atom of the universe.
    pbc
        Periodic directions of frames that have a box (MDAnalysis doesn't store them).
    store
        Write each frame's values to ``ts.data`` under the names in ``results`` while running
        serially, for code that iterates along or for transformations.
    verbose
        Show a progress bar.
    **options
        See :class:`propensity.model_options.PredictorOptions`.

    Attributes
    ----------
    results.propensities : float64, (n_frames, n_atoms, n_times)
        Propensities in the length units of the positions (MDAnalysis says Å; in reduced units read σ).
    results.propensity : float64, (n_frames, n_atoms)
        Those at the default time of the model.
    results.propensities_std, results.propensity_std : float64
        Standard errors, of the same shapes, where the model knows them (see :meth:`Predictor.columns`).
    results.times : float64, (n_times,)
        Times of the predictions in LJ units.  (``times`` itself holds the times of the frames.)
    results.out_of_distribution : bool, (n_frames,)
        Frames that are unlike those of the training, see :meth:`propensity.Predictor.likeness`.
    results.doubts : str, (n_frames,)
        In what they are: ``"density,neighbourhood"``; empty where in nothing.
    results.outside : float64, (n_frames,)
        Fraction of particles whose neighbourhood no training particle had; NaN where the model doesn't know.
    results.negative : int64, (n_frames,)
        Negative predictions, over particles of the environment and times.

    Notes
    -----
    ``backend="dask"`` uses an open ``distributed.Client`` (MDAnalysis alone would start processes on one
    machine); without one, and with ``backend="multiprocessing"``, work stays on this machine.  What is done
    when a worker dies is kept, and the rest is done again.  Where a frame can't be read or predicted, or at
    Ctrl-C, ``results`` and ``frames`` hold the frames that are done, and the error says so.

    Workers hold the path of the model and load it when they see their first frame.  Positions in
    MDAnalysis are float32, so values differ from those of float64 files by about 1e-6 relative; where
    ``potential`` makes minima and cage states, every program starts from single precision.

    Examples
    --------
    >>> analysis = PropensityAnalysis(universe, "ka-default", species_map={1: "A", 2: "B"})  # doctest: +SKIP
    >>> analysis.run(step=10, backend="multiprocessing", n_workers=4).results.propensity     # doctest: +SKIP
    """

    _analysis_algorithm_is_parallelizable = True

    def __init__(
        self,
        atomgroup: Universe | AtomGroup,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "ka-default",
        *,
        environment: AtomGroup | None = None,
        pbc: Any = True,
        store: bool = False,
        verbose: bool = False,
        **options: Unpack[PredictorOptions],
    ) -> None:
        for group, what in ((atomgroup, "atomgroup"), (environment, "environment")):
            if not hasattr(group, "atoms") and group is not None:
                raise InputError(f"{what} is a {type(group).__name__}: give a Universe or an AtomGroup.")
        atoms = atomgroup.atoms
        liquid = atoms.universe.atoms if environment is None else environment.atoms
        if liquid.universe is not atoms.universe:
            raise InputError("the environment is of another universe, which has frames of its own.")
        if isinstance(atomgroup, UpdatingAtomGroup) or isinstance(environment, UpdatingAtomGroup):
            raise InputError(
                "the selection is updating, so its size may vary: select without updating=True and mask the"
                " results."
            )
        if not len(atoms):
            raise InputError("the atom group is empty: select at least one atom.")
        where = {index: row for row, index in enumerate(liquid.ix)}
        try:
            self._rows = np.array([where[index] for index in atoms.ix])
        except KeyError as error:
            raise InputError(
                f"atom {error.args[0]} is not part of the environment: select atoms inside it."
            ) from None
        super().__init__(atoms.universe.trajectory, verbose=verbose)
        self.atomgroup = atoms
        self._environment = liquid
        self._model = [str(one) for one in models_of(model)]
        self._options = options
        self._pbc = pbc
        self._store = store
        self._predictor: Predictor | None = None
        self._travelled = False
        # Errors of the model or the species should appear here rather than in a worker.
        predictor = Predictor(self._model, **{**options, "device": "cpu", "kernel": "auto"})
        self._structure(predictor)
        refuse_varying_types(atoms.universe.trajectory)
        self._times = predictor.times
        self._default = predictor.default_time_index
        self._names = list(_AT_DEFAULT) if predictor.has_std else ["propensities"]

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        """Backends of :meth:`run` that give identical results.

        Returns
        -------
        tuple[str, ...]
            Names for ``run(backend=...)``.
        """
        return ("serial", "multiprocessing", "dask")

    def _configure_backend(self, *args: Any, **kwargs: Any) -> BackendBase:
        return chosen(super()._configure_backend(*args, **kwargs))

    @property
    def predictor(self) -> Predictor:
        """The predictor on its device, loaded when first needed in each process."""
        if self._predictor is None:
            if self._travelled and multiprocessing.parent_process() is not None:
                torch.set_num_threads(1)  # a worker is one core: n_workers says how many to use
            self._predictor = Predictor(self._model, **self._options)
        return self._predictor

    def _structure(self, predictor: Predictor) -> Structure:
        return Structure.from_mdanalysis(
            self._environment, predictor.species, predictor.species_map, self._pbc
        )

    def run(self, *args: Any, **options: Any) -> PropensityAnalysis:
        """Predict frames.

        Parameters
        ----------
        *args, **options
            As of ``AnalysisBase.run`` of MDAnalysis.

        Returns
        -------
        PropensityAnalysis
            Itself, with ``results``.

        Raises
        ------
        PropensityError
            At a frame that can't be predicted; what came before it is in ``results``.
        """
        super().run(*args, **options)
        for failure in self._failures:
            if isinstance(failure, PropensityError) and len(self.frames):
                raise type(failure)(
                    f"{str(failure).rstrip('.')}; the {len(self.frames)} frame(s) that are done are in the"
                    " results and frames of the analysis."
                )
            raise failure
        return self

    def _compute(self, *args: Any, **options: Any) -> PropensityAnalysis:
        self.results = Results()
        failure: BaseException | None = None
        try:
            super()._compute(*args, **options)
        except (Exception, KeyboardInterrupt) as error:
            # What else went wrong in a worker may not survive the way back.
            if not self.results or (self._travelled and not isinstance(error, PropensityError)):
                raise
            failure = error
        n = min(len(self.results[name]) for name in (*self._names, *_FLAGS))
        for name in (*self._names, *_FLAGS):
            del self.results[name][n:]
        self.frames, self.times = self.frames[:n], self.times[:n]  # type: ignore[has-type]
        self.results.failures = [] if failure is None else [failure]
        return self

    def _prepare(self) -> None:
        for name in (*self._names, *_FLAGS):
            self.results[name] = []

    def _single_frame(self) -> None:
        try:
            structure = self._structure(self.predictor)
            columns = self.predictor.columns(structure)
        except InputError as error:
            raise InputError(f"frame {self._ts.frame}: {error}") from None
        likeness = self.predictor.likeness(structure)
        self.results.out_of_distribution.append(likeness.out_of_distribution)
        self.results.doubts.append(",".join(likeness.reasons))
        self.results.outside.append(likeness.outside)
        self.results.negative.append(likeness.negative)
        if self._store:
            self._ts.data["propensity_out_of_distribution"] = likeness.out_of_distribution
        for name in self._names:
            values = columns[name][self._rows]
            self.results[name].append(values)
            if self._store:
                self._ts.data[name] = values
                self._ts.data[_AT_DEFAULT[name]] = values[:, self._default]

    def _get_aggregator(self) -> ResultsGroup:
        names = (*self._names, *_FLAGS, "failures")
        return ResultsGroup(lookup=dict.fromkeys(names, ResultsGroup.flatten_sequence))

    def _conclude(self) -> None:
        self._failures: list[BaseException] = self.results.pop("failures")
        self.n_frames = len(self.frames)
        for name, dtype in _FLAGS.items():
            self.results[name] = np.array(self.results[name], dtype=dtype)
        shape = (self.n_frames, len(self.atomgroup), len(self._times))
        for name in self._names:
            self.results[name] = np.asarray(self.results[name], dtype=np.float64).reshape(shape)
            self.results[_AT_DEFAULT[name]] = self.results[name][:, :, self._default].copy()
        self.results.times = self._times.copy()

    def __getstate__(self) -> dict[str, Any]:
        # A network doesn't travel to workers: they load the model from its path.
        return {**self.__dict__, "_predictor": None, "_travelled": True}
