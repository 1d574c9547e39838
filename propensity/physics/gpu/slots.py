"""Order of particles in memory: which slot each gets, so that what is read together lies well."""

from __future__ import annotations

from typing import Any

import numpy as np

from propensity.physics.gpu.layout import BANKS, bank_of


def along_curve(xp: Any, x: Any, kind: Any, ids: Any, dimension: int) -> Any:
    """Species after species, each along a space-filling curve.

    Parameters
    ----------
    xp
        numpy or CuPy.
    x
        Positions as fixed point, shape (S, 3, slots).
    kind, ids
        Species and particles in the slots, shape (S, slots).
    dimension
        2 or 3.

    Returns
    -------
    array
        The slot from which each slot is filled, shape (S, slots).
    """
    code = xp.zeros(kind.shape, np.int64)
    for bit in range(4):
        for d in range(dimension):
            code = 2 * code + ((x[:, d] >> np.uint32(31 - bit)) & np.uint32(1)).astype(np.int64)
    return xp.argsort(((kind << 16) + code) * kind.shape[1] + ids, axis=1)


def dealt_to_banks(xp: Any, x: Any, kind: Any, ids: Any, cells: Any, counts: np.ndarray) -> Any:
    """Species after species, each dealt to the banks of shared memory.

    Eight slots in a row belong to eight rows of cells, each in the bank of its row
    (:func:`propensity.physics.gpu.layout.bank_of`), so that lanes which read together meet in few banks.

    Parameters
    ----------
    xp, x, kind, ids
        As in :func:`along_curve`; slots without a particle have a species of their own.
    cells
        Along each axis, shape (S, 3).
    counts
        Particles of each species, shape (S, K), numpy.

    Returns
    -------
    array
        The slot from which each slot is filled, shape (S, slots).
    """
    slots, species, systems = kind.shape[1], counts.shape[1] + 1, xp.arange(len(kind))[:, None]
    row = [(x[:, d].astype(np.int64) * cells[:, d, None]) >> 32 for d in (1, 2)]
    bank = bank_of(*row)
    # Tubes along x of eight rows, one after another, each from one end to the other.
    tube = (row[0] // 4) * 512 + row[1] // 2
    place = ((tube << 16) + (x[:, 0] >> np.uint32(16)).astype(np.int64)) * slots + ids
    edges = np.zeros((len(kind), species + 1), np.int64)
    edges[:, 1:species], edges[:, species] = counts.cumsum(axis=1), slots
    below = (edges[..., None] - np.arange(BANKS) + BANKS - 1) // BANKS  # slots of each bank before an edge
    room = xp.asarray(np.diff(below, axis=1))
    rank, held = _ranks(xp, BANKS * kind + bank, BANKS * species, place)
    held = held.reshape(room.shape)
    # Those too many for their bank move to where there is room, evenly along the tubes.
    surplus = xp.maximum(held - room, 0)[systems, kind, bank]
    members = held[systems, kind, bank]
    moves = (rank + 1) * surplus // members > rank * surplus // members
    turn, _ = _ranks(xp, 2 * kind + moves, 2 * species, place)
    filled = xp.maximum(room - held, 0).cumsum(axis=2)
    taken = (turn[..., None] >= filled[systems, kind]).sum(axis=2)
    bank = xp.where(moves, taken, bank)
    rank, _ = _ranks(xp, BANKS * kind + bank, BANKS * species, place)
    first = xp.asarray(edges)[systems, kind]
    order = xp.empty_like(kind)
    order[systems, first + (bank - first) % BANKS + BANKS * rank] = xp.broadcast_to(
        xp.arange(slots), kind.shape
    )
    return order


def _ranks(xp: Any, group: Any, groups: int, place: Any) -> tuple[Any, Any]:
    """Rank by place within the group of a system, shape (S, slots), and sizes of groups, (S, groups)."""
    systems = xp.arange(len(group))[:, None]
    sizes = xp.bincount((systems * groups + group).ravel(), minlength=len(group) * groups).reshape(-1, groups)
    order = xp.argsort((group << 48) + place, axis=1)
    rank = xp.empty_like(group)
    before = (sizes.cumsum(axis=1) - sizes)[systems, group[systems, order]]
    rank[systems, order] = xp.arange(group.shape[1]) - before
    return rank, sizes
