"""Loads of positions from shared memory that a step of the GPU engine needs, counted without a GPU.

python -m benchmarks.banks DATA

A warp of 32 lanes loads 16 bytes a lane in at least four wavefronts, one for eight lanes that look into eight
banks (the slot of a particle modulo 8).  Printed for the first structure: wavefronts for each place of the
inner lists, where slots are dealt as the kernels do (by the same source, built for the host), in the midst of
a run, after particles have moved while slots stayed, and at random; and how many places lists have, padded to
the longest of a warp.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.spatial import cKDTree

from propensity.data import open_dataset
from propensity.physics.gpu.batch import Batch
from propensity.physics.gpu.device import HostDevice
from propensity.physics.gpu.layout import BANKS, Skins, cell_grid, search_rows
from propensity.physics.interaction import named_interaction
from propensity.simulate.physics import maxwell_boltzmann

WARP, SKINS = 32, Skins()


def lists(pairs, positions, types, box):
    """Owners, neighbours and neighbours' species in the order of the kernels' inner lists."""
    cells, reach = cell_grid(box, float(pairs.cutoff.max()) + SKINS.outer, 3)
    rows = {row: k for k, row in enumerate(search_rows(cells, reach))}
    x = positions % box
    found = cKDTree(x, boxsize=box).query_pairs(pairs.cutoff.max() + SKINS.inner, output_type="ndarray")
    i, j = np.concatenate([found, found[:, ::-1]]).T
    away = x[i] - x[j]
    away -= box * np.rint(away / box)
    near = np.linalg.norm(away, axis=1) < pairs.cutoff[types[i], types[j]] + SKINS.inner
    i, j = i[near], j[near]
    cell = np.floor(x / box * cells).astype(int)
    steps = (cell[j] - cell[i] + cells // 2) % cells - cells // 2
    row = np.array([rows[y, z] for y, z in steps[:, 1:].tolist()])
    along = cell[i, 0] + steps[:, 0]
    order = np.lexsort((j, np.where(along < 0, along + 1000, along), row, types[j], i))
    return i[order], j[order], types[j[order]]


def wavefronts(owner, other, kind, species, n):
    """Wavefronts for each place, and places of each particle."""
    count = np.zeros((n, species), int)
    np.add.at(count, (owner, kind), 1)
    longest = count.reshape(-1, WARP, species).max(axis=1)
    first = np.concatenate([[0], np.cumsum(count.ravel())])[:-1].reshape(n, species)
    begin = np.cumsum(longest, axis=1) - longest
    place = np.arange(len(owner)) - first[owner, kind] + begin[owner // WARP, kind]
    table = np.full((len(longest), longest.sum(axis=1).max(), WARP), -1)
    lane = np.arange(n).reshape(-1, 1, WARP)
    inside = np.arange(table.shape[1])[:, None] < longest.sum(axis=1)[:, None, None]
    # What fills a list up is the last particle out of reach that was seen, of the last bank.
    table = np.where(inside, (lane + BANKS - 1) % n, table)
    table[owner // WARP, place, owner % WARP] = other
    read = np.sort(table.reshape(*table.shape[:2], -1, BANKS), axis=3)
    new = np.ones(read.shape, bool)
    new[..., 1:] = read[..., 1:] != read[..., :-1]  # lanes that read the same share it
    new &= read >= 0
    load = np.stack([((read % BANKS == bank) & new).sum(axis=3) for bank in range(BANKS)]).max(axis=0)
    return load.sum() / longest.sum(), longest.sum(axis=1).mean()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    sample = open_dataset(parser.parse_args().data)[0]
    structure = sample.structure
    pairs, box, n = named_interaction("lj/cut"), np.diag(structure.cell), len(structure)
    batch = Batch(HostDevice(), pairs, structure.positions[None], structure.types, box, grid=False)
    batch.dynamics(2, 1e-7)
    dealt, rng = batch.ids[0][:n], np.random.default_rng(0)
    v = maxwell_boltzmann(np.ones(n), sample.temperature, 3, rng)
    run = Batch(HostDevice(), pairs, structure.positions[None], structure.types, box, v[None], grid=False)
    run.dynamics(400, 0.005)
    later = structure.positions + run.displacements()[0]
    by_chance = np.concatenate([rng.permutation(np.flatnonzero(structure.types == k)) for k in range(2)])
    for name, slots, where, way in (
        ("dealt", dealt, structure.positions, 0),
        ("after 400 steps", run.ids[0][:n], later, 0),
        ("moved by 0.1 σ along each axis since", dealt, structure.positions, 0.1),
        ("moved by 0.3 σ", dealt, structure.positions, 0.3),
        ("at random", by_chance, structure.positions, 0),
    ):
        x, types = where[slots], structure.types[slots]
        found = lists(pairs, x + way * rng.standard_normal(x.shape), types, box)
        each, places = wavefronts(*found, pairs.n_species, n)
        print(
            f"slots {name}: {each:.2f} wavefronts a place, {places:.1f} places for {len(found[0]) / n:.1f} "
            "neighbours"
        )


if __name__ == "__main__":
    main()
