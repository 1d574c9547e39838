"""Edges in the order of :mod:`propensity.nn.kernels.cpu.tiles`: tiles of 16 particles of like degree,
neighbour by neighbour.

Symbols
-------
========  =======================================================  ========
letter    meaning                                                  shape
========  =======================================================  ========
tile      LANES particles, one a lane
slot row  neighbour k of each particle of a tile; one slot a lane
place     position of each particle in the order of tiles          (N,)
count     edges of each particle that have their slot              (N,)
========  =======================================================  ========
"""

# mypy: disable-error-code="attr-defined, call-arg"

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from propensity.compiling import njit
from propensity.nn.radial import Draws
from propensity.simd import LANES, bits_below
from propensity.threads import blocks_of, share

#: Particles of a group of neighbours, which are sorted by degree into tiles: few enough for a processor's own
#: cache to hold the features of all that they see, enough for lanes of a tile to be idle once in a hundred.
WINDOW = 256


class _Arrays(NamedTuple):
    """Arrays of :class:`Slots`, to be filled."""

    node: np.ndarray  # (tiles · LANES), filled with N
    start: np.ndarray  # (tiles + 1,)
    source: np.ndarray  # (slot rows · LANES)
    live: np.ndarray  # (slot rows,)
    edge_of_slot: np.ndarray  # (slot rows · LANES)


@njit(nogil=True)
def _place(source, destination, order, degree, slots):
    """Put every edge into a slot.

    Reads   source and destination (E,); order (N,), particles tile by tile; degree (N,).
    Writes  slots.
    One call is all edges.
    """
    node, start, slot_source, live, edge_of_slot = slots
    place = np.empty(len(order), np.int64)
    for k in range(len(order)):
        place[order[k]] = k
        node[k] = order[k]
    for tile in range(len(start) - 1):
        start[tile + 1] = start[tile]
        for k in range(tile * LANES, min((tile + 1) * LANES, len(order))):
            start[tile + 1] = max(start[tile + 1], start[tile] + degree[order[k]])
    count = np.zeros(len(order), np.int64)
    for edge in range(len(source)):
        i = destination[edge]
        row = start[place[i] // LANES] + count[i]
        count[i] += 1
        lane = place[i] % LANES
        slot_source[row * LANES + lane] = source[edge]
        edge_of_slot[row * LANES + lane] = edge
        live[row] |= np.uint16(1 << lane)


@njit(nogil=True)
def _neighbours_together(source, destination, degree, window):
    """Particles in groups that grow from neighbour to neighbour, each from beside the one before.

    Reads   source and destination (E,); degree (N,); window, particles of a group.
    Writes  nothing; the order is returned, (N,).
    One call is all edges.
    """
    n, ends = len(degree), np.cumsum(degree)
    fill, neighbours = ends - degree, np.empty(len(source), np.int64)
    for edge in range(len(source)):
        i = destination[edge]
        neighbours[fill[i]] = source[edge]
        fill[i] += 1
    order, placed = np.empty(n, np.int64), np.zeros(n, np.bool_)
    begin, size, unseen = 0, 0, 0
    while size < n:
        seed = -1
        for k in range(begin, size):
            for edge in range(ends[order[k]] - degree[order[k]], ends[order[k]]):
                if seed < 0 and not placed[neighbours[edge]]:
                    seed = neighbours[edge]
            if seed >= 0:
                break
        while seed < 0:
            seed, unseen = (-1 if placed[unseen] else unseen), unseen + 1
        order[size], placed[seed] = seed, True
        begin, size, end = size, size + 1, min(size + window, n)
        for k in range(begin, end):
            if k == size:
                break
            for edge in range(ends[order[k]] - degree[order[k]], ends[order[k]]):
                j = neighbours[edge]
                if size < end and not placed[j]:
                    order[size], placed[j] = j, True
                    size += 1
    return order


@njit(nogil=True)
def pack_kept(first, last, blocks, words, rule, slots, kept):
    """Dropout's choices as one bit a lane.

    Reads   words (E, ·); rule, bits of a unit and the number that they stay below; slots, edge_of_slot and
            live.
    Writes  kept (slot rows, hidden).
    One call is a range of blocks of slot rows.
    """
    (bits, most), (edge_of_slot, live) = rule, slots
    n_rows, hidden = kept.shape
    per, full, word = 30 // bits, (1 << bits) - 1, np.empty(LANES, np.int32)
    for row in range(n_rows * first // blocks, n_rows * last // blocks):
        for h in range(hidden):
            if h % per == 0:
                for lane in range(LANES):
                    word[lane] = words[edge_of_slot[row * LANES + lane], h // per]
            kept[row, h] = bits_below(word, 0, h % per * bits, full, most) & live[row]


@dataclass(frozen=True)
class Slots:
    """Where each edge is worked on."""

    n_nodes: int
    n_edges: int
    node: np.ndarray  # particle of each lane of each tile, N where idle
    start: np.ndarray  # first slot row of each tile
    source: np.ndarray  # neighbour in each slot, 0 where idle
    live: np.ndarray  # lanes of each slot row that hold an edge, one bit each
    edge_of_slot: np.ndarray  # 0 where idle

    @property
    def n(self) -> int:
        """Number of slots, idle ones included."""
        return len(self.source)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.start) - 1

    def bits(self, draws: Draws | None, hidden: int) -> np.ndarray:
        """Lanes of each hidden unit that dropout keeps, flat (slot rows · hidden)."""
        if draws is None:
            return np.repeat(self.live, hidden)
        kept, rule = np.empty((len(self.live), hidden), np.uint16), (draws.bits, draws.most)
        if draws.words.numel():
            slots = self.edge_of_slot, self.live
            share(pack_kept, blocks_of(len(kept)), draws.words.numpy(), rule, slots, kept)
        return kept.reshape(-1)

    @cached_property
    def idle(self) -> torch.Tensor:
        """Slots that hold no edge."""
        lanes = self.live[:, None] >> np.arange(LANES, dtype=np.uint16) & 1
        return torch.from_numpy(np.flatnonzero(lanes == 0))

    def spread(self, values: torch.Tensor, idle: float) -> torch.Tensor:
        """Values of edges (E, K) in their slots (slots, K)."""
        return values.index_select(0, torch.from_numpy(self.edge_of_slot)).index_fill(0, self.idle, idle)


def tiled(values: torch.Tensor) -> torch.Tensor:
    """Values of slots (slots, K) as vectors of lanes, shape (slot rows, K, LANES)."""
    return values.view(-1, LANES, values.shape[1]).transpose(1, 2).contiguous()


def make_slots(edge_index: torch.Tensor, n_nodes: int) -> Slots:
    """Sort particles by neighbourhood and degree into tiles, and edges into slots."""
    source, destination = (np.ascontiguousarray(row) for row in edge_index.numpy())
    degree = np.bincount(destination, minlength=n_nodes)
    order = _neighbours_together(source, destination, degree, WINDOW)
    order = order[np.lexsort((-degree[order], np.arange(n_nodes) // WINDOW))]
    tiles = -(-n_nodes // LANES)
    padded = np.zeros(tiles * LANES, np.int64)
    padded[:n_nodes] = degree[order]
    n_rows = int(padded.reshape(tiles, LANES).max(1, initial=0).sum())
    node = np.full(tiles * LANES, n_nodes)
    start, live = np.zeros(tiles + 1, np.int64), np.zeros(n_rows, np.uint16)
    slot_source, edge_of_slot = np.zeros((2, n_rows * LANES), np.int64)
    arrays = _Arrays(node, start, slot_source, live, edge_of_slot)
    _place(source, destination, order, degree, arrays)
    return Slots(n_nodes, len(source), *arrays)
