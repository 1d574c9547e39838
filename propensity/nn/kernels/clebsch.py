"""Clebsch–Gordan coefficients as sparse lists, in the normalisation of the reference kernel."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from e3nn.o3 import wigner_3j


class Term(NamedTuple):
    """One non-zero coefficient of (l_in, l_filter) → l_out; m are positions 0..2l."""

    m_in: int
    m_filter: int
    m_out: int
    value: float


@cache
def terms(l_in: int, l_filter: int, l_out: int) -> tuple[Term, ...]:
    """Return √(2·l_out+1) · Wigner 3j (real basis), what e3nn's component normalisation gives a lone path."""
    values = wigner_3j(l_in, l_filter, l_out, dtype=torch.float64) * (2 * l_out + 1) ** 0.5
    found = []
    for m_in, m_filter, m_out in (values.abs() > 1e-12).nonzero().tolist():
        found.append(Term(m_in, m_filter, m_out, float(values[m_in, m_filter, m_out])))
    return tuple(found)
