"""Every process gets its share, and every temperature counts alike."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.errors import DataError
from propensity.training.samplers import BalancedSampler, EpochSampler


@pytest.mark.parametrize("world", [1, 2, 3])
def test_sampler_gives_every_process_its_own_share(world):
    samplers = [EpochSampler(7, seed=1, rank=rank, world=world) for rank in range(world)]
    drawn = [list(sampler) for sampler in samplers]
    assert {len(indices) for indices in drawn} == {7 // world}
    flat = [index for indices in drawn for index in indices]
    assert len(set(flat)) == len(flat)
    for sampler in samplers:
        sampler.set_epoch(1)
    assert [list(sampler) for sampler in samplers] != drawn


def test_sampler_refuses_more_processes_than_structures():
    with pytest.raises(DataError, match="use at most 1 devices"):
        EpochSampler(1, seed=0, world=2)


@pytest.mark.parametrize("world", [1, 2])
def test_every_temperature_has_its_share(world):
    """All of the smallest set, as many of others as the square root of their sizes says, and evenly mixed."""
    states = [0] * 12 + [1] * 3 + [2] * 4
    samplers = [BalancedSampler(states, 0, rank, world) for rank in range(world)]
    visits = np.zeros(len(states), dtype=int)
    for epoch in range(6):
        drawn = []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            drawn += list(sampler)
        assert len(drawn) == 12 // world * world
        if world == 1:
            of_each = np.array(states)[drawn]
            assert np.bincount(of_each).tolist() == [6, 3, 3]
            assert 2 <= (of_each[:6] == 0).sum() <= 4
        np.add.at(visits, drawn, 1)
    if world == 1:
        assert visits[:12].tolist() == [3] * 12  # three passes over twelve structures
        samplers[0].set_epoch(2)
        assert list(samplers[0]) == list(samplers[0])
