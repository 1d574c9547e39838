"""Lines that make spherical harmonics of an edge's unit vector."""

from __future__ import annotations

from functools import cache

import torch
from e3nn.o3 import spherical_harmonics

from propensity.nn.kernels.clebsch import terms
from propensity.nn.kernels.triton.writer import Writer


def add_harmonics(l_max: int, w: Writer) -> None:
    """Harmonics y of the unit vector v: Y_l from Y_(l−1) and Y_1 by Clebsch–Gordan coupling, component normalised; zero where not live."""
    w.add("y0 = tl.where(live, 1.0, 0.0)")
    for m, name in enumerate(("vx", "vy", "vz")):
        if l_max:
            w.add(f"y{1 + m} = {name} * {3**0.5!r}")
    for l in range(2, l_max + 1):
        found = terms(1, l - 1, l)
        factor = _coupling_norm(l)
        for m in range(2 * l + 1):
            summands = [
                f"{('vx', 'vy', 'vz')[t.m_in]} * y{(l - 1) ** 2 + t.m_filter} * {t.value * factor!r}"
                for t in found
                if t.m_out == m
            ]
            w.add(f"y{l**2 + m} = {' + '.join(summands)}")


@cache
def _coupling_norm(l: int) -> float:
    """Factor that makes the coupling of a unit vector with Y_(l−1) equal Y_l."""
    vector = torch.tensor([[0.36, 0.48, 0.8]], dtype=torch.float64)
    lower, upper = (spherical_harmonics(k, vector, True, "component")[0] for k in (l - 1, l))
    coupled = torch.zeros(2 * l + 1, dtype=torch.float64)
    for t in terms(1, l - 1, l):
        coupled[t.m_out] += t.value * vector[0, t.m_in] * lower[t.m_filter]
    return float(upper @ coupled / (coupled @ coupled))
