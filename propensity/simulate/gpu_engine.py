"""The batched GPU code as an engine of ``propensity simulate``: legs of a kind run side by side."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from propensity.errors import InputError, PropensityError
from propensity.physics.gpu.batch import Batch
from propensity.physics.gpu.device import Device, HostDevice, cuda_device, device_count, out_of_memory
from propensity.physics.interaction import Interaction
from propensity.simulate.engine import Leg, LegResult, Microstate
from propensity.simulate.fragment import interaction_of

#: A minimisation ends when no particle's force exceeds this, first in float32, then in float64.
COARSE, FINE = 1e-4, 1e-5
#: Iterations below which a minimisation only parts overlapping particles.
_PARTING = 1000
#: Systems of a batch on each device, and particles: what a kill can cost and a host's memory can hold.
SYSTEMS, PARTICLES = 1024, 6_000_000
#: Particle-steps of a system whose time says more about the kernels than about what comes before them.
TRIAL = 20_000_000


@dataclass(frozen=True)
class GpuEngine:
    """Run legs on CUDA devices, hundreds at once.

    Each device takes an equal share of the legs of a batch; which one changes no bit on devices of one kind.

    Parameters
    ----------
    batch
        Systems at once on each device; None chooses.
    devices
        Numbers of CUDA devices; None takes all that are visible.
    host
        Run the kernels' source as C++ on the processor instead: for tests.
    """

    batch: int | None = None
    devices: tuple[int, ...] | None = None
    host: bool = False
    name: str = field(default="gpu", init=False)
    one_a_process: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise InputError(f"--batch is {self.batch}: give 1 or more.")

    @property
    def batch_size(self) -> int:
        """Legs to receive at once."""
        return (self.batch or SYSTEMS) * (1 if self.host else max(1, len(self._numbers())))

    @property
    def trial(self) -> int:
        """Particle-steps of a system by which the speed is measured."""
        return 0 if self.host else TRIAL

    @property
    def cores(self) -> int:
        """All of them: one process serves every device."""
        return os.cpu_count() or 1

    def describe(self) -> str:
        """Devices and versions; raises when there is none."""
        if self.host:
            return f"GPU kernels as C++ ({HostDevice().compiler})"
        devices = [cuda_device(n) for n in self._numbers()]
        if not devices:
            raise PropensityError("no CUDA device is visible here: use --engine lammps, or check nvidia-smi.")
        names = sorted({d.name for d in devices})
        return f"GPU ({len(devices)} × {', '.join(names)}, CuPy {devices[0].xp.__version__})"

    def run(self, legs: Sequence[Leg]) -> list[LegResult]:
        """Run legs of a kind together; results in the order given.

        Raises
        ------
        InputError
            For a model that this engine can't follow.
        PropensityError
            When an integration fails, or memory runs out.
        """
        for leg in legs:
            if leg.model.sizes is not None:
                raise InputError(f"{leg.model.name} has continuous sizes: use --engine swap.")
            if leg.model.units != "lj":
                raise InputError(
                    f"{leg.model.name} has units {leg.model.units} and the GPU engine works in LJ units: use"
                    " --engine lammps."
                )
        results: list[LegResult | None] = [None] * len(legs)
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for i, leg in enumerate(legs):
            kinds.setdefault(_kind(leg), []).append(i)
        for members in kinds.values():
            interaction = interaction_of(legs[members[0]].model)
            shares = np.array_split(np.array(members), 1 if self.host else len(self._numbers()))
            with ThreadPoolExecutor(len(shares)) as pool:
                work = [
                    pool.submit(self._share, d, interaction, [legs[i] for i in share])
                    for d, share in enumerate(shares)
                    if len(share)
                ]
                done = [result for future in work for result in future.result()]
            for i, result in zip(members, done, strict=True):
                results[i] = result
        return [r for r in results if r is not None]

    def _numbers(self) -> tuple[int, ...]:
        return self.devices if self.devices is not None else tuple(range(device_count()))

    def _share(self, d: int, interaction: Interaction, legs: list[Leg]) -> list[LegResult]:
        """One device's legs, as many at once as its batch holds."""
        device = HostDevice() if self.host else cuda_device(self._numbers()[d])
        most = min(self.batch or SYSTEMS, max(1, PARTICLES // len(legs[0].microstate.types)))
        out: list[LegResult] = []
        for first in range(0, len(legs), most):
            part = legs[first : first + most]
            with device.active():
                try:
                    out += run_kind(device, interaction, part)
                except Exception as error:
                    raise out_of_memory(error, device) from error
        return out


def run_kind(device: Device, interaction: Interaction, legs: Sequence[Leg]) -> list[LegResult]:
    """Run legs that differ in their microstate alone."""
    leg, n = legs[0], len(legs[0].microstate.types)
    positions = np.stack([x.microstate.positions for x in legs])
    boxes = np.stack([x.microstate.box for x in legs])
    batch = Batch(
        device,
        interaction,
        positions,
        np.stack([x.microstate.types for x in legs]),
        boxes,
        np.stack([x.microstate.velocities for x in legs]),
        grid=False,
    )
    device.program(batch.variant)
    began = time.perf_counter()
    masses = interaction.masses
    if leg.ensemble == "minimise":
        ends, energies, force = minimise(batch, leg.iterations)
        seconds = (time.perf_counter() - began) / len(legs)
        nothing = np.zeros(2)
        return [
            LegResult(
                _microstate(x.microstate, ends[i], x.microstate.velocities, masses),
                np.empty((0, n, 3)),
                energies[i] / n,
                nothing,
                nothing,
                seconds,
                float(force[i]),
            )
            for i, x in enumerate(legs)
        ]
    records = batch.dynamics(
        leg.steps,
        leg.timestep,
        frames=leg.frames,
        sample_every=leg.sample_every,
        temperature=leg.temperature if leg.ensemble == "nvt" else None,
        damping=leg.model.damping,
        seeds=np.array([_seed(x) for x in legs], np.uint64) if leg.ensemble == "nvt" else None,
    )
    moved, velocities = batch.displacements(), batch.velocities()
    seconds = (time.perf_counter() - began) / len(legs)
    d = interaction.dimension
    volume = np.prod(boxes[:, :d], axis=1)[:, None]
    pressure = (2 * records.kinetic + records.virial) / (d * volume)
    return [
        LegResult(
            _microstate(x.microstate, positions[i] + moved[i], velocities[i], masses),
            positions[i] + records.frames[i].astype(float),
            records.potential[i] / n,
            records.kinetic[i] / n,
            pressure[i],
            seconds,
        )
        for i, x in enumerate(legs)
    ]


def minimise(batch: Batch, iterations: int = 100_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """FIRE in float32, then in float64 as near to the minimum as forces can tell.

    Returns
    -------
    positions, energies, force
        Unwrapped (S, N, 3); before and after (S, 2); largest force component at the end (S,).
    """
    before, after, _, _ = batch.minimise(COARSE, iterations)
    ends = batch.start + batch.displacements()
    polish = iterations >= _PARTING
    fine = Batch(
        batch.device,
        batch.interaction,
        ends,
        batch.types,
        batch.boxes,
        double=True,
        skins=batch.skins,
        grid=batch.variant.grid,
    )
    if polish:
        _, after, _, _ = fine.minimise(FINE, iterations)
        ends = fine.start + fine.displacements()
    _, forces, _ = fine.evaluate()
    return ends, np.stack([before, after], axis=1), abs(forces).max(axis=(1, 2))


def _microstate(
    old: Microstate, positions: np.ndarray, velocities: np.ndarray, masses: np.ndarray
) -> Microstate:
    return replace(old, positions=positions, velocities=velocities, masses=masses[old.types])


def _kind(leg: Leg) -> tuple[Any, ...]:
    return (
        leg.model,
        leg.ensemble,
        leg.steps,
        leg.timestep,
        leg.frames,
        leg.temperature,
        leg.sample_every,
        leg.iterations,
        len(leg.microstate.types),
    )


def _seed(leg: Leg) -> int:
    """Of the thermostat: a function of the leg alone, wherever it runs."""
    digest = hashlib.sha256(np.ascontiguousarray(leg.microstate.positions).tobytes())
    digest.update(np.ascontiguousarray(leg.microstate.velocities).tobytes())
    digest.update(repr((leg.steps, leg.timestep, leg.temperature)).encode())
    return int.from_bytes(digest.digest()[:8], "little")
