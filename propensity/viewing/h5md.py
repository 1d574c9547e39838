"""Frames of the H5MD files that ``propensity annotate`` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from propensity.errors import DataError
from propensity.trajectory import Frame


def is_h5md(path: Path) -> bool:
    """Whether a file is H5MD, by its suffix and its group ``h5md``."""
    if path.suffix.lower() not in (".h5", ".hdf5", ".h5md"):
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "h5md" in file and "particles" in file
    except OSError:
        return False


def read_h5md(path: Path) -> Iterator[Frame]:
    """Frames with types as labels and the propensities of all times.

    Raises
    ------
    DataError
        When the file is damaged, or was not written by ``propensity annotate``.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            particles = file["particles/all"]
            # Files of before 0.1.0 call all times "propensity".
            key = "propensities" if "propensities" in particles else "propensity"
            values, species = particles[f"{key}/value"], particles["species/value"]
            facts = dict(particles[key].attrs)
            names = np.array([str(name) for name in facts["species"]], dtype=object)
            pbc = np.array([str(edge) == "periodic" for edge in particles["box"].attrs["boundary"]])
            edges, positions = particles["box/edges/value"], particles["position/value"]
            default = int(facts["default_time_index"])
            for k in range(len(positions)):
                arrays = {"propensities": values[k], "propensity": values[k][:, default]}
                if f"{key}_std" in particles:
                    arrays["propensities_std"] = particles[f"{key}_std/value"][k]
                if "id" in particles:
                    arrays["id"] = particles["id/value"][k]
                cell = edges[k] if np.ndim(edges[k]) == 2 else np.diag(edges[k])
                info = {"propensity_times": np.asarray(facts["times"], dtype=float)}
                step, time = int(particles["position/step"][k]), float(particles["position/time"][k])
                labels = {"type": names[species[k]]}
                yield Frame(k, positions[k], cell, pbc, labels, arrays, info, step, time)
    except (OSError, KeyError, IndexError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} can't be read as annotated H5MD ({reason}): annotate it again.") from None
