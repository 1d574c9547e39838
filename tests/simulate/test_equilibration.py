"""Ageing is seen, and its absence too."""

import numpy as np
import pytest

from propensity.simulate import equilibration as eq


def rounds(tau=2.0, length=3.0, drift=0.0, slowing=0.0, chains=4, seed=0):
    """F_s and energies of a round whose energy drifts and whose relaxation slows down."""
    rng = np.random.default_rng(seed)
    times = np.geomspace(0.01, length, 40)
    position = np.linspace(0, 1, eq.BLOCKS)
    taus = tau * np.exp(slowing * position)[None, :, None]
    noise = 0.02 * rng.standard_normal((chains, eq.BLOCKS, 1)) * (times > 0.3)
    fs = np.exp(-times / taus) + noise
    energy = -7 + 0.01 * rng.standard_normal((chains, eq.BLOCKS)) + drift * position
    return times, fs, energy


def test_equilibrium_passes():
    verdict = eq.judge(*rounds(), equilibration=10)
    assert verdict.equilibrated and verdict.tau_alpha == pytest.approx(2, rel=0.05)
    assert str(verdict).startswith("tau_alpha = 1.99")


def test_false_alarms_are_rare():
    alarms = sum(not eq.judge(*rounds(seed=s), equilibration=10).equilibrated for s in range(200))
    assert 5 <= alarms <= 36  # 5 % for each of two tests


@pytest.mark.parametrize("change", [{"drift": -0.04}, {"slowing": 0.5}])
def test_ageing_is_seen(change):
    assert not eq.judge(*rounds(**change), equilibration=10).equilibrated


def test_blocks_shorter_than_tau():
    verdict = eq.judge(*rounds(tau=20.0), equilibration=10)
    assert verdict.tau_alpha is None and not verdict.equilibrated and "stays above" in str(verdict)
    assert eq.next_block(verdict, 10) == 6.0


def test_a_round_of_fewer_relaxation_times_than_asked():
    verdict = eq.judge(*rounds(), equilibration=20)
    assert not verdict.equilibrated and eq.next_block(verdict, 20) == pytest.approx(1.15 * 2 * 2, rel=0.06)


def test_nothing_moves_in_energy():
    times, fs, energy = rounds()
    assert eq.judge(times, fs, np.zeros_like(energy), 10).energy_p == 1.0


def test_expected_time_covers_tau():
    for tau in (0.5, 24.0, 4120.0):
        assert 10 * tau <= eq.expected_time(tau, 10) <= max(60 * tau, 40.0)
