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
def test_every_temperature_counts_alike(world):
    states = [0] * 7 + [1] * 3 + [2] * 4
    samplers = [BalancedSampler(states, 0, rank, world) for rank in range(world)]
    visits = np.zeros(len(states), dtype=int)
    for epoch in range(7):
        drawn = []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            drawn += list(sampler)
        if world == 1:
            assert np.bincount(np.array(states)[drawn]).tolist() == [3, 3, 3]
        assert len(drawn) == 9 // world * world
        np.add.at(visits, drawn, 1)
    if world == 1:
        assert visits[:7].tolist() == [3] * 7  # three passes over seven structures
        samplers[0].set_epoch(2)
        assert list(samplers[0]) == list(samplers[0])
