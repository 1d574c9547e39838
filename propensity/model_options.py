"""Options with which models are run, written once for the predictor and every adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch

from propensity.errors import InputError
from propensity.numeric import as_numbers
from propensity.species import SpeciesMap


class ModelOptions(TypedDict, total=False):
    """How a model is run, for :class:`Predictor` and every adapter.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ...; None takes CUDA where there is one.
    dtype
        ``torch.float32`` (default) or ``torch.float64``, or their names.
    species_map
        From the labels of a structure to the species of the model, e.g. ``{1: "A", 2: "B"}``.
    length_scale
        Length of σ_AA in the units of the structures, e.g. 2.2 for a metallic glass in Å; predictions
        come back in the units of the structure.  None: as in the files that the model was trained on.
    kernel
        Implementation of the convolution, see :mod:`propensity.nn.kernels`.
    potential
        The interaction, with which all that the model sees beside thermal positions is made from them: a
        Kob–Andersen mixture (``"lj/cut"`` or ``"lj/cut force-shifted"``), or ``"lammps:my.in"`` for minima
        in any interaction of LAMMPS, in the units of the structures.  See
        :func:`propensity.inherent_structure` and :func:`propensity.cage_state`; what a structure brings is
        used as it is.
    temperature
        k_B T/ε_AA of the liquid.  A model of several temperatures, such as ``ka-liquid``, answers for it
        (None: inferred from each structure, with a warning); others warn where theirs differs by more than
        0.01.
    """

    device: str | torch.device | None
    dtype: str | torch.dtype | None
    species_map: SpeciesMap | None
    length_scale: float | None
    kernel: str
    potential: str | None
    temperature: float | None


class PredictorOptions(ModelOptions, total=False):
    """Those of :class:`ModelOptions`, and what is predicted.

    Parameters
    ----------
    times
        Times to predict, a subset of the model's (to 0.1 %) in any order; None takes all.  A model of several
        temperatures takes any times within its range.
    """

    times: Sequence[float] | float | None


def times_from_text(text: str | None) -> list[float] | None:
    """Read ``"130,4120"``; None stays None.

    Parameters
    ----------
    text
        Times, comma-separated.

    Returns
    -------
    list[float] or None
        In their order.

    Raises
    ------
    InputError
        For anything else.
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"times {text!r} can't be read: give numbers such as 130,4120.") from None


def chosen_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """The precision by name; None is single.

    Parameters
    ----------
    dtype
        A dtype or its name.

    Returns
    -------
    torch.dtype
        ``torch.float32`` or ``torch.float64``.

    Raises
    ------
    InputError
        For any other.
    """
    names = {None: torch.float32, "float32": torch.float32, "float64": torch.float64}
    chosen = dtype if isinstance(dtype, torch.dtype) else names.get(dtype)
    if chosen not in (torch.float32, torch.float64):
        raise InputError(f"dtype is {dtype!r}: choose 'float32' or 'float64'.")
    return chosen


def chosen_times(known: np.ndarray, wanted: Sequence[float] | float | None) -> np.ndarray:
    """Indices into the times of a model.

    Parameters
    ----------
    known
        Times of the model, shape (n_times,), in LJ units.
    wanted
        Some of these, to 0.1 %; None: all.

    Returns
    -------
    numpy.ndarray
        In the order of ``wanted``.

    Raises
    ------
    InputError
        For a time that the model doesn't have.
    """
    if wanted is None:
        return np.arange(len(known))
    form = "one time or a list of them"
    values = np.atleast_1d(as_numbers(wanted, "times", form))
    if np.asarray(wanted).dtype == bool:
        raise InputError(f"times are {wanted!r}: give {form}.")
    if values.ndim != 1:
        raise InputError(f"times have shape {values.shape}: give {form}.")
    indices = [int(np.abs(known - value).argmin()) for value in values]
    wrong = [
        value
        for value, k in zip(values, indices, strict=True)
        if not np.isclose(known[k], value, rtol=1e-3, atol=0)
    ]
    if wrong or not indices:
        raise InputError(
            f"time {wrong[0] if wrong else wanted} is not among those of the model: choose from"
            f" {known.tolist()}."
        )
    twice = [value for k, value in enumerate(values) if indices[k] in indices[:k]]
    if twice:
        raise InputError(f"time {twice[0]:g} is asked for twice: give each once.")
    return np.array(indices)
