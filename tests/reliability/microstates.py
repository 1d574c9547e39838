"""Small things that several parts of the suite share."""

from __future__ import annotations

import numpy as np

from propensity.simulate.engine import Microstate
from tests.conftest import make_liquid


def small_microstate(n: int = 24) -> Microstate:
    """A microstate in phase space of a small liquid."""
    liquid = make_liquid(n)
    velocities = np.random.default_rng(0).normal(size=(n, 3))
    return Microstate(liquid.positions, velocities, liquid.types, np.diag(liquid.cell), np.ones(n))
