"""When is a liquid in equilibrium: ten blocks of at least τ_α each, whose energy and F_s do not age."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from propensity.simulate.physics import relaxation_time
from propensity.statistics import mean_and_error

#: Blocks of a round; their first and second halves are compared.
BLOCKS = 10
#: Length of a block in the first round, in LJ time.
FIRST_BLOCK = 4.0
#: Times of F_s in a block.
FRAMES = 30
#: A difference less likely than this by chance counts as ageing.
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Verdict:
    """Outcome of a round, over all chains.

    Parameters
    ----------
    block
        Length of a block.
    tau_alpha
        Time at which the mean F_s is 1/e; None when it stays above within a block.
    energy
        Mean potential energy per particle of the first and second five blocks.
    energy_p, fs_p
        Probability of the difference between the halves by chance (Welch's t over chains and blocks), of the
        energy and of F_s near τ_α.
    equilibrated
        Whether nothing ages and each block lasts τ_α.
    """

    block: float
    tau_alpha: float | None
    energy: tuple[float, float]
    energy_p: float
    fs_p: float
    equilibrated: bool

    def __str__(self) -> str:
        if self.tau_alpha is None:
            return f"F_s stays above 1/e for {self.block:g}"
        return (
            f"tau_alpha = {self.tau_alpha:.4g}, U/N = {self.energy[0]:.4f} then {self.energy[1]:.4f} "
            f"(p = {self.energy_p:.2g}), F_s(tau_alpha) p = {self.fs_p:.2g}"
        )


def judge(times: np.ndarray, fs: np.ndarray, energy: np.ndarray, equilibration: float) -> Verdict:
    """Compare the halves of a round.

    Parameters
    ----------
    times
        Since the beginning of a block, shape (F,); the last is its length.
    fs
        F_s of each chain and block, shape (C, BLOCKS, F).
    energy
        Mean potential energy per particle of each block, shape (C, BLOCKS).
    equilibration
        Needed length of the round, in τ_α.
    """
    half = BLOCKS // 2
    tau = relaxation_time(times, fs.mean(axis=(0, 1)))
    energies = float(energy[:, :half].mean()), float(energy[:, half:].mean())
    energy_p = _p_value(energy[:, :half], energy[:, half:])
    if tau is None:
        return Verdict(float(times[-1]), None, energies, energy_p, float("nan"), False)
    at = int(np.argmin(abs(np.log(times / tau))))
    fs_p = _p_value(fs[:, :half, at], fs[:, half:, at])
    # A few per cent of slack, since the length was chosen from a slightly different estimate of τ_α.
    enough = times[-1] * BLOCKS >= 0.95 * equilibration * tau
    ok = bool(enough and energy_p > SIGNIFICANCE and fs_p > SIGNIFICANCE)
    return Verdict(float(times[-1]), tau, energies, energy_p, fs_p, ok)


def annealing(times: np.ndarray, fs: np.ndarray, energy: np.ndarray, pressure: np.ndarray) -> dict[str, Any]:
    """What happened to structures that were kept at one temperature, as two halves of equal length.

    Parameters
    ----------
    times
        Since the beginning of a half, shape (F,).
    fs
        F_s of each structure and half, shape (C, 2, F).
    energy, pressure
        Potential energy per particle and pressure over time, shape (C, 2, M).

    Returns
    -------
    dict
        τ_α in the second half (None when F_s stays above 1/e), energies by fifths of each half with their
        standard error over structures, probabilities that energy and F_s of the halves differ by chance
        (paired t over structures; the energy without the first fifth, in which structures adapt), mean energy
        and pressure of the second half.
    """
    fifths = np.stack([part.mean(axis=2) for part in np.array_split(energy, 5, axis=2)], axis=2)
    tenths = fifths.reshape(len(fifths), 10)
    below = np.flatnonzero(fs.mean(axis=(0, 1)) < np.exp(-1))
    at = int(below[0]) if len(below) else -1
    return {
        "half": float(times[-1]),
        "tau_alpha": relaxation_time(times, fs[:, 1].mean(axis=0)),
        "energies": [_with_error(column) for column in tenths.T],
        "energy_p": _paired(fifths[:, 0, 1:].mean(axis=1), fifths[:, 1].mean(axis=1)),
        "fs_p": _paired(fs[:, 0, at], fs[:, 1, at]),
        "potential_energy": _with_error(energy[:, 1].mean(axis=1)),
        "pressure": _with_error(pressure[:, 1].mean(axis=1)),
        "fs_times": times.tolist(),
        "fs": fs[:, 1].mean(axis=0).tolist(),
    }


def next_block(verdict: Verdict, equilibration: float) -> float:
    """Length of the blocks of the next round: twice as long until τ_α is seen, then what τ_α asks for."""
    if verdict.tau_alpha is None:
        return 2 * verdict.block
    return max(verdict.block, 1.15 * verdict.tau_alpha * equilibration / BLOCKS)


def expected_time(tau: float, equilibration: float, unit: float = 1.0) -> float:
    """Total time of the rounds when all goes well with a relaxation time ``tau``; ``unit`` is an LJ time."""
    block = FIRST_BLOCK * unit
    total = BLOCKS * block
    while block < tau:
        block *= 2
        total += BLOCKS * block
    needed = 1.15 * tau * equilibration / BLOCKS
    return total if block >= needed else total + BLOCKS * needed


def frame_steps(steps: int, number: int = FRAMES) -> tuple[int, ...]:
    """Log-spaced steps of a block, ending with its last."""
    return tuple(sorted({round(float(s)) for s in np.geomspace(1, steps, number)} | {steps}))


def _with_error(values: np.ndarray) -> tuple[float, float | None]:
    """Mean over structures and its standard error; None from one structure alone."""
    return mean_and_error(values) if len(values) > 1 else (float(values[0]), None)


def _paired(a: np.ndarray, b: np.ndarray) -> float | None:
    """Probability of the mean difference by chance; None from one structure alone."""
    from scipy.stats import ttest_rel

    if len(a) < 2 or np.ptp(a - b) == 0:
        return None
    return float(ttest_rel(a, b).pvalue)


def _p_value(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import ttest_ind

    if np.ptp(a) == np.ptp(b) == 0:
        return float(a.flat[0] == b.flat[0])
    return float(ttest_ind(a.ravel(), b.ravel(), equal_var=False).pvalue)
