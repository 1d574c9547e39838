"""A real configuration that comes with the package: DeepMind's Kob–Andersen liquid at T = 0.44 (see
NOTICE).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from propensity.structure import Structure

_FILE = Path(__file__).parent / "bapst_T0.44.npz"


@dataclass(frozen=True)
class Configuration:
    """A structure with published propensities.

    Parameters
    ----------
    structure
        4096 particles, A as type 0 and B as type 1, in units of σ_AA.
    times
        Times of the labels in LJ units, shape (10,).
    propensities
        Mean displacement over 30 runs, shape (N, 10).
    source
        Where it came from.
    """

    structure: Structure
    times: np.ndarray
    propensities: np.ndarray
    source: str = "Bapst et al., Nature Physics 16, 448 (2020), test configuration at T = 0.44, Apache-2.0"

    def propensity_at(self, time: float) -> np.ndarray:
        """Published propensity interpolated to a time in ln t, shape (N,).

        Parameters
        ----------
        time
            In LJ units; beyond the published times the nearest of them counts.

        Returns
        -------
        numpy.ndarray
            In σ.
        """
        k = int(np.clip(np.searchsorted(self.times, time), 1, len(self.times) - 1))
        weight = np.clip(np.log(time / self.times[k - 1]) / np.log(self.times[k] / self.times[k - 1]), 0, 1)
        return cast(
            "np.ndarray", (1 - weight) * self.propensities[:, k - 1] + weight * self.propensities[:, k]
        )


def load_demo() -> Configuration:
    """Load the configuration that ``propensity demo`` shows.

    Returns
    -------
    Configuration
        Structure and published propensities of a Kob–Andersen liquid.
    """
    with np.load(_FILE, allow_pickle=False) as file:
        structure = Structure(file["positions"], file["types"], file["box"])
        return Configuration(structure, file["times"], file["propensity"].T.astype(float))
