"""Geometric weights of the neighbours: radial functions times spherical harmonics, equal in all layers."""

from __future__ import annotations

import math

import torch

from propensity.nn.radial import envelope


def radial_functions(
    r: torch.Tensor, n_basis: int, cutoff: float, core: float, pairs: tuple[torch.Tensor, torch.Tensor] | None
) -> torch.Tensor:
    """Bessel functions under a smooth envelope, and the Lennard-Jones force and its slope, (N, n, K).

    Parameters
    ----------
    r
        Distances, (N, K).
    n_basis, cutoff
        Number of Bessel functions sin(nπr/r_c)/r and their range.
    core
        Distance, in σ_ab, below which force and slope are held.
    pairs
        ε and σ of each pair, (N, K); None leaves force and slope out.
    """
    height = envelope(r, cutoff)
    order = torch.arange(1, n_basis + 1, device=r.device, dtype=r.dtype) * (math.pi / cutoff)
    bessel = torch.sin(r[:, None] * order[:, None]) * (height / r)[:, None]
    if pairs is None:
        return bessel
    epsilon, sigma = pairs
    sixth = (sigma / torch.maximum(r, core * sigma)) ** 6
    force = 24 * epsilon * (sixth - 2 * sixth**2) / r / 40
    slope = 24 * epsilon * (26 * sixth**2 - 7 * sixth) / r**2 / 400
    return torch.cat([bessel, torch.stack([force, slope], dim=1) * height[:, None]], dim=1)


def harmonics(direction: torch.Tensor) -> torch.Tensor:
    """Real spherical harmonics l = 0, 1, 2 of unit vectors (N, K, 3), component-normalised, (N, 9, K).

    Those of l = 2 are the components of the direction's own product in the matrices xy, yz, xz, 2zz−xx−yy,
    xx−yy.
    """
    x, y, z = direction.unbind(-1)
    three, fifteen = math.sqrt(3), math.sqrt(15)
    return torch.stack(
        [
            torch.ones_like(x),
            three * x,
            three * y,
            three * z,
            fifteen * x * y,
            fifteen * y * z,
            fifteen * x * z,
            math.sqrt(5) / 2 * (2 * z * z - x * x - y * y),
            fifteen / 2 * (x * x - y * y),
        ],
        dim=1,
    )
