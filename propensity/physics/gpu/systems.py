"""Systems of one size in the memory of a device: loaded, sorted in space, handed to the kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from propensity.errors import InputError, PropensityError
from propensity.physics.gpu.device import Device, out_of_memory
from propensity.physics.gpu.layout import (
    ARGS,
    Skins,
    Variant,
    capacities,
    cell_grid,
    slots_for,
    system_record,
    tables_of,
)
from propensity.physics.gpu.slots import along_curve
from propensity.physics.interaction import Interaction

_OVERFLOW, _NO_FAR, _ELSEWHERE = 2, 4, 8
#: Quads of an outer list that leave room to deal slots.
_DEAL = 14
#: Arrays that kernels change.
_MOVING = ("x", "v", "acc", "ids", "centre", "origin")
_UNIT = 2.0**32
#: Where blocks deal the inner skin by need, and where the whole device gives everyone as much.
SKINS, EQUAL = Skins(), Skins(0.25, 1.1)
#: Slots that are worth a block of a cluster.
MEMBER = 128


@dataclass(frozen=True)
class Wall:
    """Restraint of every particle to a sphere about its own centre, and sums over where it was.

    Parameters
    ----------
    centres
        Shape (S, N, 3).
    radius, stiffness
        Radius of the flat bottom in σ, one for all or shape (S,); force constant beyond.
    skip, every
        Steps before the first sample, and between samples.
    centred
        Hold the centre of mass of each system where it begins.
    """

    centres: np.ndarray
    radius: float | np.ndarray
    stiffness: float = 500.0
    skip: int = 500
    every: int = 10
    centred: bool = False


class Systems:
    """Systems of one number of particles.

    Parameters
    ----------
    device, interaction
        Where and what.
    positions, types, boxes
        Shapes (S, N, 3), (S, N), (S, 3); positions may lie outside the box.
    velocities
        Shape (S, N, 3); zero when None.
    skins
        Of the lists; None chooses.
    grid
        Spread each system over the whole device, one after another, instead of giving it a block (or several
        where there are few systems): True; only where it doesn't fit a block: False; also where there are few
        systems and blocks can't share them: None.
    double
        Pair arithmetic in float64.

    Raises
    ------
    InputError
        When a box is shorter than twice the cutoff, or a type is unknown.
    """

    def __init__(
        self,
        device: Device,
        interaction: Interaction,
        positions: np.ndarray,
        types: np.ndarray,
        boxes: np.ndarray,
        velocities: np.ndarray | None = None,
        *,
        skins: Skins | None = None,
        grid: bool | None = None,
        double: bool = False,
        threads: int | None = None,
        wall: Wall | None = None,
    ) -> None:
        self.device, self.interaction, self.double, self.wall = device, interaction, double, wall
        self.start = np.asarray(positions, np.float64)
        self.s, self.n = self.start.shape[:2]
        self.boxes = np.broadcast_to(np.asarray(boxes, np.float64), (self.s, 3))
        self.types = np.broadcast_to(np.asarray(types, np.int64), (self.s, self.n))
        self._check()
        self.tables = tables_of(interaction)
        d = interaction.dimension
        volume = np.prod(self.boxes[:, :d], axis=1)
        counts = np.stack([(self.types == k).sum(axis=1) for k in range(interaction.n_species)], axis=1)
        self.counts = counts
        densities = (counts / volume[:, None]).max(axis=0)
        self.skins = skins or SKINS
        self.caps = capacities(interaction, densities, self.skins)
        self.variant = self._choose(grid, threads)
        if skins is None and self.variant.grid:
            self.skins = EQUAL
            self.caps = capacities(interaction, densities, self.skins)
        self._upload(velocities)

    def _check(self) -> None:
        if self.types.min() < 0 or self.types.max() >= self.interaction.n_species:
            raise InputError(
                f"type {self.types.max()} is unknown: the interaction has species 0 to "
                f"{self.interaction.n_species - 1}."
            )
        if not np.isfinite(self.start).all():
            raise InputError("a position is not finite: check the structures.")
        shortest = self.boxes[:, : self.interaction.dimension].min()
        if shortest < 2 * self.interaction.cutoff.max():
            raise InputError(
                f"a box edge of {shortest:.4g} is shorter than twice the cutoff "
                f"{self.interaction.cutoff.max():.4g}: "
                "take more particles, or LAMMPS (--engine lammps)."
            )

    def _choose(self, grid: bool | None, threads: int | None) -> Variant:
        i = self.interaction
        edges = self.boxes[:, : i.dimension]
        reach = float(i.cutoff.max()) + self.skins.outer
        cells = max(int(np.prod(cell_grid(box, reach, i.dimension)[0])) for box in self.boxes)
        far = self.n == 4096
        slots = slots_for(self.n)
        form = 2 if i.functions is not None else int(i.truncation == "force")
        variant = Variant(
            slots,
            i.n_species,
            i.dimension,
            bool(np.ptp(edges, axis=1).max() < 1e-9 * edges.max()),
            form,
            64 * (cells // 64 + 1),
            False,
            self.double,
            1,
            1,
            far,
        )
        fits = variant.shared_bytes(self.device.warp) <= self.device.shared_block
        few = self.s * 16 < self.device.multiprocessors and self.n > 512
        blocks = self._blocks_of_a_system(slots)
        grid = grid or not fits or (grid is None and few and blocks == 1)
        if self.device.warp == 1:
            shared = replace(variant, grid=grid, far_pads=far and not grid, cluster=1 if grid else blocks)
            return self._with_lists(shared)
        if grid:
            return replace(
                variant,
                grid=True,
                far_pads=False,
                threads=threads or self._grid_threads(),
                slots=32 * (self.n // 32 + 1),
            )
        if blocks > 1:
            each = 32 * -(-slots // (32 * blocks))
            chosen = threads or min(1024, 1 << (each - 1).bit_length())
            return self._with_lists(replace(variant, cluster=blocks, threads=chosen))
        # Half of the multiprocessor's threads a block when two fit, so that one hides the other's barriers.
        fit = max(1, int((self.device.shared_all - 2048) // (variant.shared_bytes() + 1024)))
        most, each = (512 if fit >= 2 else 1024), 8
        if self.s < 1.9 * self.device.multiprocessors and not self.double:
            most, each = 1024, 4  # there is but one
        chosen = threads or min(most, max(64, 32 * -(-slots // (each * 32))))
        chosen = 1 << (chosen.bit_length() - 1) if threads is None else chosen
        return replace(variant, threads=chosen, blocks=max(1, min(fit, 1024 // chosen, 16)))

    def _with_lists(self, variant: Variant) -> Variant:
        """Inner lists in shared memory where blocks that share a system have room for them."""
        lists = replace(variant, inner=self.caps[0] if variant.cluster > 1 else 0)
        return lists if lists.shared_bytes(self.device.warp) <= self.device.shared_block else variant

    def _blocks_of_a_system(self, slots: int) -> int:
        """Blocks of a cluster, as many as give every system its own, of at least ``MEMBER`` slots each."""
        most = min(self.device.clusters, self.device.multiprocessors // self.s, slots // MEMBER)
        return 1 << int(max(1, most).bit_length() - 1)

    def _grid_threads(self) -> int:
        """Threads of a block when one system has the whole device: one a particle."""
        each = -(-self.n // self.device.multiprocessors)
        return cast("int", min(1024, max(128, 1 << (each - 1).bit_length())))

    @property
    def teams(self) -> int:
        """Blocks of a launch."""
        d, v = self.device, self.variant
        if d.warp == 1:
            return v.cluster
        if v.cluster > 1:
            return int(v.cluster * min(self.s, d.multiprocessors // v.cluster))
        return d.multiprocessors if v.grid else min(self.s, d.multiprocessors * v.blocks)

    def _upload(self, velocities: np.ndarray | None) -> None:
        xp, v = self.device.xp, self.variant
        shape = (self.s, 3, v.slots)
        unit = self.boxes / _UNIT
        self.unit = unit
        kind = np.full((self.s, v.slots), self.interaction.n_species, np.int64)
        kind[:, : self.n] = self.types
        walls = np.broadcast_to(self.wall.radius if self.wall else 0.0, self.s)
        # Systems of one composition, box and wall share a record.
        alike, which = np.unique(
            np.hstack([self.counts, self.boxes, walls[:, None]]),
            axis=0,
            return_index=True,
            return_inverse=True,
        )[1:]
        records = np.stack(
            [
                system_record(
                    v,
                    self.interaction,
                    self.skins,
                    self.n,
                    self.counts[i],
                    self.boxes[i],
                    self.tables[2],
                    float(walls[i]),
                    self.wall.stiffness if self.wall else 0.0,
                )
                for i in alike
            ]
        )[which.ravel()]
        try:
            self.x, self.v, self.acc = (
                self._fixed_point(self.start),
                xp.zeros(shape, np.float32),
                xp.zeros(shape, np.int64),
            )
            d = self.interaction.dimension
            if d == 2:
                self.x[:, 2] = 0
            if velocities is not None:
                self.v[:, :d, : self.n] = xp.asarray(velocities).transpose(0, 2, 1)[:, :d]
            self.kind = xp.asarray(kind)
            self.ids = xp.broadcast_to(xp.arange(v.slots), (self.s, v.slots)).copy()
            self.centre = self.origin = None
            if self.wall is not None:
                self.centre, self.origin = self._fixed_point(self.wall.centres), self.x.copy()
            self.systems = xp.asarray(records.view(np.uint8).reshape(self.s, -1))
            self.table, self.etable = (
                xp.asarray(t if len(t) else np.zeros((1, 4), np.float32)) for t in self.tables[:2]
            )
            self.scratch()
        except Exception as error:
            raise out_of_memory(error, self.device) from error
        self.sort()

    def _fixed_point(self, positions: np.ndarray) -> Any:
        """Positions (S, N, 3) in 32 bits of the box, shape (S, 3, slots), on the device."""
        xp = self.device.xp
        scaled = xp.asarray(np.broadcast_to(positions, self.start.shape)) / xp.asarray(self.boxes)[:, None]
        scaled -= xp.floor(scaled)
        out = xp.zeros((self.s, 3, self.variant.slots), np.uint32)
        out[:, :, : self.n] = (xp.rint(scaled * _UNIT).astype(np.uint64) & np.uint64(0xFFFFFFFF)).transpose(
            0, 2, 1
        )
        return out

    def scratch(self) -> None:
        """Allocate what teams work in; again when lists must be longer."""
        xp, v, t = self.device.xp, self.variant, 1 if self.variant.grid else self.teams
        self.caps = (self.caps[0], max(self.caps[1], _DEAL))
        quad = np.uint32 if v.grid else np.uint16
        self.work = {
            "XI": xp.empty((t, 3, v.slots), np.uint32),
            "XO": xp.empty((t, 3, v.slots), np.uint32),
            "F": xp.empty((t, 4, v.slots), v.real),
            "INNER": xp.zeros((t, self.caps[0] + 4, v.slots, 4), quad),
            "OUTER": xp.zeros((t, self.caps[1] + 4, v.slots, 4), quad),
            "error": xp.zeros(1, np.int32),
            "queue": xp.zeros(1, np.int32),
        }
        if v.grid:
            w = v.slots // self.device.warp * v.species
            self.work |= {
                "bar": xp.zeros(1, np.uint32),
                "flag": xp.zeros(4, np.int32),
                "gsum": xp.zeros(16 * self.teams, np.float64),
                "gx": xp.zeros((v.slots + 1, 4), np.int32),
                "gorder": xp.zeros(v.slots, np.uint32),
                "gend": xp.zeros(v.species * v.cells + 1, np.int32),
                "gin": xp.zeros(w, np.uint16),
                "gout": xp.zeros(w, np.uint16),
            }
        else:
            groups = self.teams // v.cluster
            self.work["gsum"] = xp.zeros(12 * groups * (v.slots // self.device.warp), np.float64)
            if v.cluster > 1:
                self.work["XB"] = xp.empty((groups, 2, v.slots, 4), np.int32)
                self.work["flag"] = xp.zeros(4 * groups, np.int32)

    def sort(self) -> None:
        """Order the slots of each system by species and in space; blocks deal them anew (deal.cuh)."""
        xp = self.device.xp
        order = along_curve(xp, self.x, self.kind, self.ids, self.interaction.dimension)
        self.kind = xp.take_along_axis(self.kind, order, axis=1)
        self.ids = xp.take_along_axis(self.ids, order, axis=1)
        for name in _MOVING:
            array = getattr(self, name)
            if array is not None and name != "ids":
                setattr(
                    self, name, xp.ascontiguousarray(xp.take_along_axis(array, order[:, None, :], axis=2))
                )

    def displacements(self) -> np.ndarray:
        """Since loading, shape (S, N, 3), float64."""
        return self.back(self.acc * self.device.xp.asarray(self.unit)[:, :, None])

    def velocities(self) -> np.ndarray:
        """Shape (S, N, 3)."""
        return self.back(self.v).astype(np.float64)

    def back(self, array: Any) -> np.ndarray:
        """Slots (S, C, slots) in the order of the user's particles, (S, N, C) on the host."""
        xp = self.device.xp
        inverse = xp.argsort(self.ids, axis=1)[:, None, : self.n]
        out = xp.take_along_axis(array, inverse, axis=2).transpose(0, 2, 1)
        return np.ascontiguousarray(out if xp is np else out.get())

    def launch(self, kernel: Any, values: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Launch; with longer lists again, from the same start, when one overflowed."""
        xp = self.device.xp
        program = self.device.program(self.variant)
        for _ in range(6):
            before = {name: kept.copy() for name in _MOVING if (kept := getattr(self, name)) is not None}
            for name in ("queue", "error", "bar", "flag"):
                if name in self.work:
                    self.work[name][...] = 0
            args = np.zeros((), ARGS)
            pointed = {
                "X": self.x,
                "V": self.v,
                "ACC": self.acc,
                "ids": self.ids,
                "centre": self.centre,
                "origin": self.origin,
                "systems": self.systems,
                "table": self.table,
                "etable": self.etable,
                **self.work,
                **arrays,
            }
            for name, array in pointed.items():
                if array is not None:
                    args[name] = array.ctypes.data if xp is np else array.data.ptr
            for name, value in {**values, "cap_in": self.caps[0], "cap_out": self.caps[1]}.items():
                args[name] = value
            program.launch(kernel, args, self.teams)
            error = int(self.work["error"][0])
            if not error:
                return
            for name, kept in before.items():
                setattr(self, name, kept)
            for name in ("done", "stats", "sums"):
                if arrays.get(name) is not None:
                    arrays[name][...] = 0
            if error & _ELSEWHERE:
                raise PropensityError(
                    f"shared memory of {self.device.name} begins elsewhere than kernels expect: report this, "
                    "and use --engine lammps."
                )
            if error & _NO_FAR:
                raise PropensityError("the box is too small for 4096 particles in one block: report this.")
            # Particles bunched beyond what their density lets expect.
            self.caps = (2 * self.caps[0], 2 * self.caps[1])
            self.variant = self._with_lists(replace(self.variant, inner=0))
            program = self.device.program(self.variant)
            self.scratch()
        raise PropensityError("neighbour lists overflow: particles lie on top of each other.")
