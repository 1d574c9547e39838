"""Inherent structures of many configurations at once: FIRE with one block, or the whole device, a system."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from propensity.errors import InputError, PropensityError
from propensity.physics.gpu.batch import Batch
from propensity.physics.gpu.device import Device, cuda_device
from propensity.physics.interaction import Interaction, named_interaction
from propensity.structure import Structure

#: Systems of one size that are minimised at once.
_AT_ONCE = 2112


def inherent_structures(
    structures: Sequence[Structure],
    interaction: str | Interaction = "lj/cut",
    *,
    force: float = 1e-4,
    iterations: int = 20_000,
    device: Device | None = None,
) -> list[Structure]:
    """Minimise the potential energy of each structure.

    Parameters
    ----------
    structures
        Thermal configurations of any sizes, in periodic orthorhombic boxes.
    interaction
        Name such as ``"lj/cut"`` or ``"lj/cut force-shifted"``, or an :class:`Interaction`.
    force
        Largest force on a particle at the minimum, in ε/σ; below 5e-5 the last steps are in float64.
    iterations
        After which a quench has failed.
    device
        None takes the first CUDA device.

    Returns
    -------
    list of Structure
        The same particles and cells at the minima, not wrapped.

    Raises
    ------
    PropensityError
        When a minimum isn't reached.
    """
    pairs = named_interaction(interaction) if isinstance(interaction, str) else interaction
    where = device or cuda_device()
    sizes: dict[int, list[int]] = {}
    for i, s in enumerate(structures):
        sizes.setdefault(len(s), []).append(i)
    out: list[Structure | None] = [None] * len(structures)
    with where.active():
        for members in sizes.values():
            for first in range(0, len(members), _AT_ONCE):
                part = members[first : first + _AT_ONCE]
                found = _minima([structures[i] for i in part], pairs, force, iterations, where)
                for i, positions in zip(part, found, strict=True):
                    out[i] = structures[i].with_positions(positions)
    return [s for s in out if s is not None]


def _minima(
    structures: Sequence[Structure], pairs: Interaction, force: float, iterations: int, device: Device
) -> np.ndarray:
    boxes, positions, types = arrays_of(structures, pairs.dimension)
    ends = positions
    for double, goal in ((False, max(force, 5e-5)), (True, force)):
        if double and force >= 5e-5:
            break
        batch = Batch(device, pairs, ends, types, boxes, double=double)
        _, _, left, _ = batch.minimise(goal, iterations)
        ends = ends + batch.displacements()
    if left.max() > force * 1.01:
        raise PropensityError(
            f"no energy minimum within {iterations} steps (largest force {left.max():.3g} ε/σ, wanted "
            f"{force:g}): check the species and the length scale."
        )
    if pairs.dimension == 2:
        ends = ends.copy()
        ends[..., 2] = np.stack([s.positions[:, 2] for s in structures])
    return ends


def arrays_of(structures: Sequence[Structure], dimension: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (S, 3), positions (S, N, 3) and types (S, N); flat systems get a box and positions without depth.

    Raises
    ------
    InputError
        For boxes that are not orthorhombic or not periodic.
    """
    boxes, positions = [], []
    for s in structures:
        if (
            not s.pbc[:dimension].all()
            or abs(s.cell - np.diag(np.diag(s.cell))).max() > 1e-9 * abs(s.cell).max()
        ):
            raise InputError(
                "the GPU engine needs periodic orthorhombic boxes: use --engine lammps for others."
            )
        box, x = np.diag(s.cell).copy(), s.positions.copy()
        if dimension == 2:
            box[2], x[:, 2] = 1.0, 0.0
        boxes.append(box)
        positions.append(x)
    return np.stack(boxes), np.stack(positions), np.stack([s.types for s in structures])
