"""Annotate a LAMMPS run that Python drives."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lammps_bridge.core import open_predictor
from lammps_bridge.live import LiveAnnotation
from propensity.bias import Form
from propensity.errors import InputError
from propensity.predictor import Predictor

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from propensity.model_options import ModelOptions

#: Methods of ``lammps.lammps`` that can run steps, and so can come back because a prediction failed.
_RUNNING = ("command", "commands_list", "commands_string", "file")


class Annotator:
    """Give every atom of a running LAMMPS its propensity, every ``every`` steps.

    While attached, LAMMPS knows the per-atom property ``d_<name>`` (``d2_<name>[1]``, ``[2]``, ... when
    several times are asked for) and the global vector ``f_<name>[i]``: for each time the mean over all
    atoms, then over each species of the model; at its end 1 or 0, whether the configuration is unlike
    those of the training, and the fraction of such atoms.  Forces stay untouched.  Values are there at
    once, and are renewed at each step that is a multiple of ``every``, step 0 and ``rerun`` included; after
    ``minimize``, call :meth:`update`.

    Parameters
    ----------
    lmp
        Instance of ``lammps.lammps`` that already holds atoms; on several ranks, every one makes its own
        annotator.
    model
        Name or path of a model, or a :class:`~propensity.Predictor`, whose species map is then used.
    every
        Steps between predictions.
    times
        ``"default"``: that of the model; None or ``"all"``; or times in LJ units (with a Predictor: its own).
    name
        Name of the property and of the fix.
    bias
        :class:`propensity.bias.Linear`, :class:`propensity.bias.Harmonic` or a function: energy of a bias on
        the mean propensity, at the first of the times, of all atoms of the species that the model was trained
        on.  Its forces act every ``every`` steps, that many times as large (the impulses of r-RESPA); its
        energy is the fix's, which ``fix_modify <name> energy yes`` adds to the potential energy.
    **options
        See :class:`propensity.model_options.ModelOptions`; ``species_map`` goes from LAMMPS types to
        species of the model, e.g. ``{1: "A", 2: "B"}``.

    Raises
    ------
    PropensityError
        On attaching, when model, species or configuration don't fit; later from the LAMMPS command that
        was running, on every rank.

    Examples
    --------
    >>> with Annotator(lmp, "ka-default", every=100, species_map={1: "A", 2: "B"}):  # doctest: +SKIP
    ...     lmp.command("dump d all custom 100 out.lammpstrj id type x y z d_propensity")
    ...     lmp.command("run 1000")
    """

    def __init__(
        self,
        lmp: Any,
        model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Predictor = "ka-default",
        every: int = 100,
        *,
        times: str | Sequence[float] | float | None = "default",
        name: str = "propensity",
        bias: Form | None = None,
        **options: Unpack[ModelOptions],
    ) -> None:
        if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or not 0 < every < 2**31:
            raise InputError(f"every is {every!r}: give a positive number of steps, whole and below 2³¹.")
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_]+", name):
            raise InputError(f"name is {name!r}: give letters, digits and underscores, as LAMMPS has them.")
        if not hasattr(lmp, "extract_setting"):
            raise InputError(f"lmp is a {type(lmp).__name__}: give an instance of lammps.lammps.")
        self.lmp = lmp
        self._every, self._name, self._bias = int(every), name, bias
        self._load = functools.partial(open_predictor, model, times, **options)
        self._live: LiveAnnotation | None = None
        self._error: BaseException | None = None

    @property
    def every(self) -> int:
        """Steps between predictions."""
        return self._every

    @property
    def name(self) -> str:
        """Of the property and of the fix."""
        return self._name

    @property
    def bias(self) -> Form | None:
        """As it was given."""
        return self._bias

    def attach(self) -> Annotator:
        """Define property and fix, and predict the present configuration.

        Returns
        -------
        Annotator
            Itself.

        Raises
        ------
        InputError
            When it is attached already, or LAMMPS holds no atoms yet or another annotator of this name.
        """
        if self._live is not None:
            raise InputError("the annotator is attached already: detach it first.")
        if not self.lmp.extract_setting("box_exist") or self.lmp.get_natoms() == 0:
            raise InputError("LAMMPS holds no atoms yet: create or read them, then attach the annotator.")
        if any(self.lmp.has_id("fix", fix) for fix in self._fixes):
            raise InputError(f"LAMMPS has a fix {self.name} already: give this annotator another name.")
        live = LiveAnnotation(self.lmp, self._load, self.name, self.bias)
        columns = f" {len(live.times)}" if len(live.times) > 1 else ""
        # An empty group, unless there is a bias: `fix external` adds its force to no atom.
        self.lmp.command(f"group {self.name}_nobody empty")
        group = f"{self.name}_nobody" if self.bias is None else "all"
        apply = 1 if self.bias is None else self.every
        self.lmp.command(f"fix {self.name}_values all property/atom {live.property}{columns} writedata no")
        self.lmp.command(f"fix {self.name} {group} external pf/callback {self.every} {apply}")
        self._live = live
        self.lmp.fix_external_set_vector_length(self.name, live.means.size + live.doubts.size)
        self.lmp.set_fix_external_callback(self.name, self._callback)
        try:
            self.update()
        except BaseException:
            self.detach()
            raise
        for method in _RUNNING:
            setattr(self.lmp, method, self._raising(getattr(self.lmp, method)))
        return self

    def detach(self) -> None:
        """Remove fix and property; a dump that uses them must have been undumped."""
        if self._live is None:
            return
        self._live = None
        for method in _RUNNING:
            self.lmp.__dict__.pop(method, None)
        if getattr(self.lmp, "lmp", self.lmp) is None:
            return  # closed meanwhile
        for fix in self._fixes:
            if self.lmp.has_id("fix", fix):  # LAMMPS's clear removes them, too
                self.lmp.command(f"unfix {fix}")
        if self.lmp.has_id("group", f"{self.name}_nobody"):
            self.lmp.command(f"group {self.name}_nobody delete")

    @property
    def _fixes(self) -> tuple[str, str]:
        return self.name, f"{self.name}_values"

    def update(self) -> None:
        """Predict the present configuration now."""
        live = self._attached()
        live.evaluate(self.lmp)
        for k, value in enumerate([*live.means.ravel(), *live.doubts]):
            self.lmp.fix_external_set_vector(self.name, k + 1, value)
        if self.bias is not None:
            self.lmp.fix_external_set_energy_global(self.name, live.energy)

    def __enter__(self) -> Annotator:
        return self.attach()

    def __exit__(self, *exception: object) -> None:
        self.detach()

    @property
    def times(self) -> np.ndarray:
        """Times of the values in LJ units, shape (n_times,)."""
        return self._attached().times

    @property
    def energy(self) -> float:
        """Energy of the bias at the last prediction; 0 without one."""
        return self._attached().energy

    @property
    def mean(self) -> np.ndarray:
        """Mean over all atoms at the last prediction, shape (n_times,)."""
        return self._attached().means[:, 0]

    @property
    def species_mean(self) -> dict[str, np.ndarray]:
        """Mean over the atoms of each species at the last prediction, each of shape (n_times,)."""
        live = self._attached()
        return {name: live.means[:, 1 + k] for k, name in enumerate(live.species)}

    @property
    def out_of_distribution(self) -> bool:
        """Whether the configuration of the last prediction is unlike those that the model was trained on."""
        return bool(self._attached().doubts[0] > 0)

    @property
    def outside(self) -> float:
        """Fraction of its atoms whose neighbourhood no training particle had; NaN where it isn't known."""
        return float(self._attached().doubts[1])

    def _attached(self) -> LiveAnnotation:
        if self._live is None:
            raise InputError("the annotator is not attached: use it in a with block, or call attach().")
        return self._live

    def _callback(self, caller: Any, step: int, n: int, tag: Any, x: Any, f: Any) -> None:
        # What is raised here would be lost in ctypes, so it is kept and LAMMPS is told to stop.
        if self._error is not None:
            return
        try:
            self.update()
            if self.bias is not None:
                f[:n] = self.every * self._attached().forces
        except BaseException as error:
            self._error = error
            self.lmp.force_timeout()

    def _raising(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def wrapped(*args: Any, **options: Any) -> Any:
            self._error = None
            result = method(*args, **options)
            if self._error is not None:
                error, self._error = self._error, None
                # Or every later run would stop at once; the class's own, which asks nothing of us.
                type(self.lmp).command(self.lmp, "timer timeout off")
                raise error
            if self.lmp.extract_global("respa_levels"):
                raise InputError("LAMMPS calls no annotator in `run_style respa`: use `run_style verlet`.")
            return result

        return wrapped
