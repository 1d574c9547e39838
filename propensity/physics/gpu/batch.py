"""Dynamics and minimisation of many systems at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from propensity.errors import InputError, PropensityError
from propensity.physics.gpu.systems import Systems

#: Steps of a launch, between which particles are sorted in space again, and of a chunk within it.
LAUNCH, CHUNK = 40_000, 2_000
#: Steps between rescalings of the velocities (kernels/md.cuh).
RESCALE_EVERY = 10


@dataclass
class Records:
    """What a stretch of dynamics recorded.

    Parameters
    ----------
    potential, kinetic, virial
        Of whole systems, at steps 0, sample_every, …, shape (S, M).
    frames
        Displacements since the start, shape (S, F, N, 3), float32.
    sums
        Of the cage, shape (S, 10, N); None without one.
    """

    potential: np.ndarray
    kinetic: np.ndarray
    virial: np.ndarray
    frames: np.ndarray
    sums: np.ndarray | None = None
    rebuilds: float = 0.0


class Batch(Systems):
    """Systems that can move; see :class:`Systems` for what they are made of."""

    def dynamics(
        self,
        steps: int,
        timestep: float,
        *,
        frames: tuple[int, ...] = (),
        sample_every: int = 0,
        temperature: tuple[float, float] | None = None,
        damping: float = 0.5,
        friction: float | None = None,
        seeds: np.ndarray | None = None,
    ) -> Records:
        """Advance all systems.

        Parameters
        ----------
        steps, timestep
            Of velocity Verlet.
        frames
            Increasing steps in 1..steps at which displacements are kept.
        sample_every
            Steps between records of energies; 0 for none.
        temperature
            First and last; None for constant energy.
        damping
            Relaxation time of stochastic velocity rescaling.
        friction
            Langevin dynamics with this friction instead.
        seeds
            Of each system, shape (S,), uint64.

        Raises
        ------
        InputError
            For so few steps at a temperature that velocities would never be rescaled.
        """
        if temperature is not None and friction is None and steps <= RESCALE_EVERY:
            raise InputError(
                f"{steps} steps at a temperature: velocities are rescaled every {RESCALE_EVERY} steps, "
                "so take more steps in one call, or give friction=... for Langevin dynamics."
            )
        xp = self.device.xp
        every = sample_every or 1
        piece = max(1, LAUNCH // (10 * every)) * 10 * every
        parts: list[np.ndarray] = []
        marks = np.zeros((self.s, len(frames), self.n, 3), np.float32)
        seeds_d = xp.asarray(np.zeros(self.s, np.uint64) if seeds is None else np.asarray(seeds, np.uint64))
        sums = xp.zeros((self.s, 10, self.variant.slots), np.float32) if self.wall else None
        if self.wall and steps > piece:
            raise InputError(f"restrained dynamics of {steps} steps: give at most {piece}.")
        first = 0
        while first < steps:
            last = min(steps, first + piece)
            here = [f for f in frames if first < f <= last]
            ramp = temperature or (0.0, 0.0)
            slope = (ramp[1] - ramp[0]) / max(1, steps)
            values = {
                "steps": last - first,
                "step0": first,
                "chunk": CHUNK,
                "sample_every": sample_every,
                "dt": timestep,
                "nframes": len(here),
                "temp0": ramp[0] + slope * first,
                "temp1": ramp[0] + slope * last,
                "tau": damping,
                "thermostat": 0 if temperature is None else 1 if friction is None else 2,
                "ou": 0.0 if friction is None else float(np.exp(-friction * timestep)),
            }
            if self.wall:
                values |= {
                    "skip": self.wall.skip,
                    "every": self.wall.every,
                    "centred": self.wall.centred,
                }
            nrec = (last - first) // every + 1 if sample_every else 1
            arrays = {
                "stats": xp.zeros((self.s, nrec, 4)),
                "frame_step": xp.asarray(np.array([*(f - first for f in here), -1], np.int32)),
                "frames": xp.zeros((self.s, max(1, len(here)), 3, self.variant.slots), np.float32)
                if here
                else None,
                "seeds": seeds_d,
                "sums": sums,
            }
            self._launch_md(values | {"nrec": nrec}, arrays)
            stats = _host(arrays["stats"])
            parts.append(stats[:, 1:] if first else stats)
            for k, f in enumerate(here):
                shown = arrays["frames"][:, k, :, : self.n].transpose(0, 2, 1)
                marks[:, frames.index(f)] = _host(xp.ascontiguousarray(shown))
            first = last
            if first < steps:
                self.sort()
        joined = np.concatenate(parts, axis=1) if parts else np.zeros((self.s, 1, 4))
        if not bool(xp.isfinite(self.v).all()) or not np.isfinite(joined).all():
            raise PropensityError("positions or velocities became infinite: try a smaller --timestep.")
        total = self.back(sums).transpose(0, 2, 1) if sums is not None else None
        return Records(
            joined[..., 0], joined[..., 1], joined[..., 2], marks, total, float(joined[:, -1, 3].mean())
        )

    def _launch_md(self, values: dict[str, Any], arrays: dict[str, Any]) -> None:
        xp = self.device.xp
        chunks = -(-values["steps"] // values["chunk"])
        items = np.stack(np.meshgrid(np.arange(chunks), np.arange(self.s), indexing="ij"), -1)[
            ..., ::-1
        ].reshape(-1, 2)
        if self.variant.grid or self.variant.cluster > 1:  # one system after another
            items = items[np.argsort(items[:, 0], kind="stable")]
        arrays = {
            **arrays,
            "items": xp.asarray(np.ascontiguousarray(items, np.int32)),
            "done": xp.zeros(self.s, np.int32),
        }
        self.launch("md", {**values, "nitems": len(items)}, arrays)

    def minimise(
        self, tolerance: float, iterations: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """FIRE to where no particle's force exceeds ``tolerance``; 0 iterations evaluate only.

        Returns
        -------
        before, after, force, iterations
            Energies of the systems, largest norm of a force at the end, and iterations used; shape (S,).
        """
        forces, stats = self._fire(tolerance, iterations)
        return stats[:, 4], stats[:, 0], np.linalg.norm(forces, axis=2).max(axis=1), stats[:, 2]

    def evaluate(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies (S,), forces (S, N, 3) and virials (S,) of where the systems are."""
        forces, stats = self._fire(0.0, 0)
        return stats[:, 0], forces, stats[:, 5]

    def _fire(self, tolerance: float, iterations: int) -> tuple[np.ndarray, np.ndarray]:
        xp = self.device.xp
        stats = xp.zeros((self.s, 6))
        fout = xp.zeros((self.s, 3, self.variant.slots), self.variant.real)
        kept = self.v.copy()
        self.launch(
            "fire", {"nitems": self.s, "maxit": iterations, "ftol": tolerance}, {"stats": stats, "fout": fout}
        )
        self.v = kept
        out = _host(stats)
        if not np.isfinite(out[:, 0]).all():
            raise PropensityError(
                "a minimisation met an infinite energy: particles lie on top of each other."
            )
        return self.back(fout), out


def _host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.get()
