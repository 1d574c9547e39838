"""Where the packages under test lie: in a clone beside the tests, else where they were installed."""

from __future__ import annotations

from pathlib import Path

import propensity

#: Folder of the packages ``propensity`` and ``lammps_bridge``.
SOURCES = Path(propensity.__file__).parents[1]
