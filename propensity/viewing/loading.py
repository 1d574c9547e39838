"""From a path, whatever it is, to a scene."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from propensity.errors import DataError, InputError
from propensity.species import SpeciesMap
from propensity.viewing.scene import Scene

#: Frames or structures of a scene where a user asks for no number.
MAX_FRAMES = 100


def load_scene(
    path: str | os.PathLike[str],
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    topology: str | os.PathLike[str] | None = None,
    species_map: SpeciesMap | None = None,
    length_scale: float | None = None,
    unit: str | None = None,
    times: Sequence[float | str] | None = None,
    column: str | None = None,
    frames: int | Sequence[int] = MAX_FRAMES,
    match: Sequence[tuple[int, int]] | None = None,
    potential: str | None = None,
    temperature: float | None = None,
    device: str | None = None,
    box: float | Sequence[float] | None = None,
) -> Scene:
    """Particles and values of a data set, a trajectory or a run.

    Parameters
    ----------
    path
        Labelled structures of any format that :func:`propensity.open_dataset` reads; a trajectory, annotated
        or not; or the folder of a training, whose test (else validation) structures are shown.
    model
        Predicts what the file does not hold; a list is a committee.  None: what the file says, and
        ``ka-default`` for trajectories that say nothing.
    topology
        File that names the particles of a trajectory that does not.
    species_map, length_scale, potential, temperature, device
        See :class:`propensity.Predictor`.
    unit
        Name of the unit of length; None: σ, or Å where σ is not 1.
    times
        Time scales to show; None: all.
    column
        Show this column of a trajectory instead of propensities.
    match
        Pairs (index of the model's time, index of the data's time) that are compared, where they differ.
    box
        Edges of the periodic box, three numbers or one, for trajectories that hold none.
    frames
        Which frames by index, or how many at most, spread over all.

    Raises
    ------
    DataError
        When the path holds no particles, or no values and no model knows them.
    InputError
        For an option that does not fit the file.
    """
    if length_scale is not None and not length_scale > 0:
        raise InputError(f"length_scale is {length_scale}: give the length of σ_AA in your units, above 0.")
    wanted = [frames] if isinstance(frames, int) else list(frames)
    if not wanted or min(wanted) < (1 if isinstance(frames, int) else 0):
        raise InputError(f"frames is {frames}: give how many, or indices from 0.")
    from propensity.data.opening import may_be_labelled

    where = Path(path)
    if not where.exists():
        raise DataError(f"{path} doesn't exist: give data, a trajectory or the folder of a training.")
    common: dict[str, Any] = {"unit": unit, "times": times, "frames": frames, "device": device}
    if box is not None and (where.is_dir() or (topology is None and may_be_labelled(where))):
        raise InputError(f"a box is for trajectories that hold none, and {path} is data: leave it out.")
    if where.is_dir() or (topology is None and may_be_labelled(where)):
        for name, said in (("potential", potential), ("temperature", temperature)):
            if said is not None:
                raise InputError(f"{path} is labelled data, which says its {name}: leave {name} out.")
    if (where / "splits.json").exists():
        from propensity.viewing.labelled import run_scene

        return run_scene(where, model, **common)
    if (where / "model.json").exists() or where.suffix == ".safetensors":
        raise DataError(
            f"{path} is a model without data: give data or a trajectory, and the model by --model."
        )
    if topology is None and may_be_labelled(where):
        from propensity.viewing.labelled import data_scene

        for name, option in (("column", column), ("species map", species_map)):
            if option is not None:
                raise InputError(f"a {name} is for trajectories, but {path} is labelled data: leave it out.")
        return data_scene(where, model, length_scale=length_scale, match=match, **common)
    if match is not None:
        raise InputError(f"pairs of times are for labelled data, and {path} is a trajectory: leave them out.")
    from propensity.viewing.trajectories import trajectory_scene

    return trajectory_scene(
        where,
        model,
        topology=topology,
        species_map=species_map,
        length_scale=length_scale,
        column=column,
        potential=potential,
        temperature=temperature,
        box=box,
        **common,
    )
