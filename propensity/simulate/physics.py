"""Pure functions of positions and velocities: velocities, lattice, F_s, τ_α, drift."""

from __future__ import annotations

from typing import cast

import numpy as np

from propensity.simulate.units import UNITS, Units


def generator(seed: int, *key: int) -> np.random.Generator:
    """Independent random numbers for one purpose, whatever order the work is done in."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def maxwell_boltzmann(
    masses: np.ndarray,
    temperature: float,
    dimension: int,
    rng: np.random.Generator,
    units: Units = UNITS["lj"],
) -> np.ndarray:
    """Draw velocities from the Maxwell–Boltzmann distribution with zero total momentum.

    Removing the drift of the centre of mass leaves the canonical distribution of the d(N − 1) remaining
    degrees of freedom, so nothing is rescaled.

    Returns
    -------
    numpy.ndarray
        Shape (N, 3); the third component is 0 in two dimensions.
    """
    velocities = (
        rng.standard_normal((len(masses), 3))
        * np.sqrt(units.boltzmann * temperature / (units.kinetic * masses))[:, None]
    )
    velocities -= (masses[:, None] * velocities).sum(axis=0) / masses.sum()
    velocities[:, dimension:] = 0.0
    return velocities


def lattice(
    counts: np.ndarray, box: np.ndarray, dimension: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Place species at random on a simple lattice that fills the box.

    Returns
    -------
    positions, types
        Shapes (N, 3) and (N,); types ascend.
    """
    n = int(counts.sum())
    side = int(np.ceil(round(n ** (1 / dimension), 9)))
    axes = [(np.arange(side) + 0.5) / side] * dimension + [np.array([0.0])] * (3 - dimension)
    sites = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    chosen = rng.permutation(len(sites))[:n]
    return sites[chosen] * box, np.repeat(np.arange(len(counts)), counts)


def first_peak(positions: list[np.ndarray], box: np.ndarray, dimension: int) -> float:
    """Wave number of the first peak of the structure factor S(k) of all particles, three digits.

    Parameters
    ----------
    positions
        Configurations in one box, each of shape (N, 3).
    box
        Edges, shape (3,).
    dimension
        2 or 3.
    """
    edges = box[:dimension]
    # Mean distance of neighbours: the first peak of a dense liquid is near 2π over it.
    unit = 2 * np.pi * (len(positions[0]) / np.prod(edges)) ** (1 / dimension)
    low, high = 0.7 * unit, 1.5 * unit
    most = np.ceil(high * edges / (2 * np.pi)).astype(int)
    grids = np.meshgrid(*[np.arange(-m, m + 1) for m in most], indexing="ij")
    waves = np.stack([g.ravel() for g in grids], axis=1) * (2 * np.pi / edges)
    length = np.linalg.norm(waves, axis=1)
    # One of each pair ±k, and no more than give a smooth curve.
    chosen = np.flatnonzero((length > low) & (length < high) & (np.arange(len(length)) > len(length) // 2))
    if len(chosen) > 4000:
        chosen = np.sort(generator(0).permutation(chosen)[:4000])
    waves, length = waves[chosen], length[chosen]
    strength = np.zeros(len(waves))
    for x in positions:
        for k in range(0, len(waves), 256):
            phase = x[:, :dimension] @ waves[k : k + 256].T
            strength[k : k + 256] += np.cos(phase).sum(axis=0) ** 2 + np.sin(phase).sum(axis=0) ** 2
    centres = np.linspace(low, high, 81)
    weight = np.exp(-0.5 * ((length[:, None] - centres) / (0.04 * unit)) ** 2)
    smooth = (weight * strength[:, None]).sum(axis=0) / np.maximum(weight.sum(axis=0), 1e-12)
    return float(f"{centres[int(np.argmax(smooth))]:.3g}")


def scattering(distances: np.ndarray, wavenumber: float, dimension: int) -> np.ndarray:
    """Self-intermediate scattering function, averaged over directions of q.

    F_s(q, t) = ⟨sin(q d)/(q d)⟩ in three dimensions, ⟨J₀(q d)⟩ in two.

    Parameters
    ----------
    distances
        Displacements, shape (..., N); the mean is over the last axis.
    wavenumber
        q.
    dimension
        2 or 3.
    """
    if dimension == 2:
        from scipy.special import j0

        return cast("np.ndarray", j0(wavenumber * distances).mean(axis=-1))
    return cast("np.ndarray", np.sinc(wavenumber * distances / np.pi).mean(axis=-1))


def relaxation_time(times: np.ndarray, fs: np.ndarray) -> float | None:
    """τ_α: first time at which F_s falls to 1/e, interpolated in log t; None when it doesn't.

    Parameters
    ----------
    times, fs
        Shape (T,), increasing times.
    """
    below = np.flatnonzero(fs <= np.exp(-1))
    if len(below) == 0:
        return None
    i = int(below[0])
    if i == 0:
        return float(times[0])
    part = (fs[i - 1] - np.exp(-1)) / (fs[i - 1] - fs[i])
    return float(np.exp(np.log(times[i - 1]) + part * np.log(times[i] / times[i - 1])))


def energy_drift(total: np.ndarray) -> float:
    """Change of the energy per particle over a run: mean of its last tenth minus mean of its first."""
    if not np.isfinite(total).all():
        return float("inf")
    tenth = max(1, len(total) // 10)
    return float(total[-tenth:].mean() - total[:tenth].mean())


def species_temperatures(
    velocities: np.ndarray,
    masses: np.ndarray,
    types: np.ndarray,
    dimension: int,
    n_species: int,
    units: Units = UNITS["lj"],
) -> np.ndarray:
    """Kinetic temperature of each species, shape (n_species,); equipartition makes them equal.

    The momentum taken away cools every particle by the fraction m/M of its kinetic energy, which is added
    back.
    """
    kinetic = masses * (velocities**2).sum(axis=1) / dimension * (units.kinetic / units.boltzmann)
    expected = 1 - masses / masses.sum()
    return np.array([kinetic[types == s].sum() / expected[types == s].sum() for s in range(n_species)])


def wrap(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Bring positions into [0, L), shape (N, 3)."""
    inside = positions - box * np.floor(positions / box)
    return np.where(inside >= box, 0.0, inside)


def nearest_image(positions: np.ndarray, reference: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Periodic image of ``positions`` nearest to ``reference``, shape (N, 3)."""
    return cast("np.ndarray", positions - box * np.rint((positions - reference) / box))
