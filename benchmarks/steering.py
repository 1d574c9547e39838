"""Whether a bias on predicted propensity makes Kob–Andersen liquids slow, or fast: many at once, T = 0.56.

    python -m benchmarks.steering equilibrate starts.npz --starts 64
    python -m benchmarks.steering steer starts.npz ends.npz --strength 0 1.5 -1.5 --minutes 8
    python -m benchmarks.steering measure ends.npz …

From each start run copies under the bias λ·q on the mean propensity q of A particles at τ_α, λ = strength ×
their number, 0 among them, with the same velocities and noise of the thermostat.  Snapshots on the way, and
up to a τ_α after the end of the bias, run free from fresh velocities: how far A particles get in τ_α, and the
energy of the minimum, against the copy without a bias.  On a CUDA device, or with ``--host`` on one core.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from propensity import Predictor
from propensity.estimators.label_scale import LabelScale
from propensity.graph import Graph
from propensity.nn.gated import GatedNetwork
from propensity.nn.gated import network as gated_network
from propensity.nn.gated.graph import GatedGraph
from propensity.physics.gpu.batch import Batch
from propensity.physics.gpu.device import HostDevice, cuda_device
from propensity.physics.interaction import named_interaction

MODEL = Path(__file__).parents[1] / "examples" / "ka_T0.56_smooth"
STEP, TEMPERATURE, FRICTION, TAU, TAU_LJ = 0.005, 0.56, 3.0, 4755, 23.775
BEGAN = time.perf_counter()
QUANTITIES = "displacement of A in τ_α", "predicted q", "energy of the minimum"


class Liquids:
    """Systems of one size on one device.

    Parameters
    ----------
    types
        Shape (S, N).
    host
        On the processor.
    seed
        Of velocities and thermostats.
    """

    def __init__(self, types: np.ndarray, host: bool, seed: int) -> None:
        self.types, self.n, self.rng = types, types.shape[1], np.random.default_rng(seed)
        self.edge = 15.0578 * (self.n / 4096) ** (1 / 3)
        self.device, self.where = HostDevice() if host else cuda_device(), "cpu" if host else "cuda"

    def seeds(self, count: int) -> np.ndarray:
        """Of thermostats."""
        return self.rng.integers(1 << 63, size=count, dtype=np.uint64)

    def maxwell(self, count: int) -> np.ndarray:
        """Velocities (count, N, 3) at the temperature, without drift."""
        v = self.rng.normal(0, TEMPERATURE**0.5, (count, self.n, 3))
        return v - v.mean(axis=1, keepdims=True)

    def batch(self, x: np.ndarray, types: np.ndarray, v: np.ndarray | None = None) -> Batch:
        """Ready to move."""
        boxes = np.full((len(x), 3), self.edge)
        return Batch(self.device, named_interaction("lj/cut"), x, types, boxes, v, grid=False)

    def positions(self, batch: Batch) -> torch.Tensor:
        """Within the box, shape (S, N, 3), on the device."""
        xp = self.device.xp
        slot = xp.argsort(batch.ids, axis=1)[:, None, : self.n]
        x = xp.take_along_axis(batch.x.view(np.int32), slot, axis=2).transpose(0, 2, 1)
        scaled = xp.ascontiguousarray((x * (self.edge / 2.0**32)).astype(np.float32))
        return torch.as_tensor(scaled, device=self.where)

    def kick(self, batch: Batch, change: torch.Tensor) -> None:
        """Add (S, N, 3) to the velocities."""
        xp = self.device.xp
        slots = xp.zeros(batch.v.shape, np.float32)
        slots[:, :, : self.n] = xp.asarray(change.transpose(1, 2).contiguous())
        batch.v = batch.v + xp.take_along_axis(slots, batch.ids[:, None, :], axis=2)


class Pull:
    """Mean propensity of A particles and its gradient, for many systems in one pass."""

    def __init__(self, model: str, edge: float, where: str, at_once: int) -> None:
        predictor = Predictor(model, device=where, species_map={0: "A", 1: "B"}, times=TAU_LJ)
        self.network, self.scale = predictor.estimators[0].network.eval(), LabelScale.of(predictor.card)
        self.column = int(np.argmin(abs(np.array(predictor.card.times) - TAU_LJ)))
        self.edge, self.where, self.at_once = edge, where, at_once
        if where == "cuda":
            gated_network.BLOCK = at_once  # fewer launches, for memory that a GPU has

    def __call__(self, x: torch.Tensor, types: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """q (S,) and ∇q (S, N, 3) of positions (S, N, 3)."""
        step = max(1, self.at_once // x.shape[1])
        parts = [self._part(*part) for part in zip(x.split(step), types.split(step), strict=True)]
        q, slope = (torch.cat(found) for found in zip(*parts, strict=True))
        return q, slope

    def _part(self, x: torch.Tensor, types: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        n = x.shape[1]
        with torch.no_grad():
            apart = x[:, None] - x[:, :, None]  # from i to j, shape (S, i, j, 3)
            image = self.edge * torch.round(apart / self.edge)
            near = (apart - image).square().sum(-1) < self.network.cutoff**2
            near &= ~torch.eye(n, dtype=torch.bool, device=self.where)
            system, i, j = near.nonzero(as_tuple=True)
            shift = image[system, i, j]
            del apart, image, near
        place, first = x.clone().requires_grad_(), system * n
        flat, index = place.view(-1, 3), torch.stack([first + j, first + i])
        vectors = flat[index[0]] - flat[index[1]] - shift
        if isinstance(self.network, GatedNetwork):
            answers = self.network(_tabled(types.flatten(), index, vectors))
        else:
            answers = self.network(Graph(types=types.flatten(), edge_index=index, edge_vec=vectors))
        p = self.scale.traced(answers, types.flatten().cpu().numpy())[:, self.column].view(types.shape)
        q = torch.where(types == 0, p, 0).sum(1) / (types == 0).sum(1)
        return q.detach(), torch.autograd.grad(q.sum(), place)[0]


def _tabled(types: torch.Tensor, index: torch.Tensor, vectors: torch.Tensor) -> GatedGraph:
    """Edges, sorted by destination, as a table."""
    n, counts = len(types), torch.bincount(index[1], minlength=len(types))
    slot = torch.arange(len(vectors), device=types.device) - (counts.cumsum(0) - counts)[index[1]]
    at, width = (index[1], slot), int(counts.max())
    neighbours = torch.arange(n, device=types.device)[:, None].repeat(1, width)
    neighbours[at] = index[0]
    real = vectors.new_zeros(n, width)
    real[at] = 1.0
    table = vectors.new_zeros(n, width, 3).index_put(at, vectors)
    none = (vectors.new_zeros(n, *shape, 0) for shape in ((3,), (5,), ()))
    return GatedGraph(types, neighbours, real, {"thermal": table}, *none)


def equilibrate(args: argparse.Namespace) -> None:
    """Liquids from molten crystals."""
    n = 4 * args.cells**3
    rng = np.random.default_rng(args.seed)
    types = np.stack([rng.permutation(np.arange(n) >= n * 4 // 5) for _ in range(args.starts)])
    liquids = Liquids(types.astype(np.int64), args.host, args.seed)
    sites = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    corners = np.stack(np.meshgrid(*[np.arange(args.cells)] * 3), -1).reshape(-1, 1, 3)
    x = np.broadcast_to((corners + sites).reshape(-1, 3) * (liquids.edge / args.cells), (args.starts, n, 3))
    batch, long = (
        liquids.batch(x, liquids.types, 2 * liquids.maxwell(args.starts)),
        int(args.length * args.tau),
    )
    for steps, ramp in ((2000, (2.0, 2.0)), (2000, (2.0, TEMPERATURE)), (long, (TEMPERATURE,) * 2)):
        batch.dynamics(steps, STEP, temperature=ramp, seeds=liquids.seeds(args.starts))
    np.savez(args.starts_file, x=x + batch.displacements(), v=batch.velocities(), types=liquids.types)
    say(f"{args.starts} liquids of {n} particles")


def steer(args: argparse.Namespace) -> None:
    """Run the copies, and keep snapshots of them: positions (strengths, S, N, 3)."""
    with np.load(args.starts_file) as found:
        x, v, types = (found[name][args.first :][: args.count] for name in ("x", "v", "types"))
    copies, s = len(args.strength), len(x)
    liquids = Liquids(np.tile(types, (copies, 1)), args.host, args.seed + args.first)
    pull = Pull(args.model, liquids.edge, liquids.where, args.at_once)
    batch = liquids.batch(np.tile(x, (copies, 1, 1)), liquids.types, np.tile(v, (copies, 1, 1)))
    each = -np.repeat(args.strength, s) * (types[0] == 0).sum() * args.every * STEP
    push = torch.as_tensor(each, dtype=torch.float32, device=liquids.where)
    pulled, kinds = torch.nonzero(push)[:, 0], torch.as_tensor(liquids.types, device=liquids.where)
    kept: dict[str, np.ndarray] = {}

    def run(steps: int) -> None:
        # Langevin dynamics, since impulses heat; the rescaling of velocities rests for ten steps at a time.
        noise = np.tile(liquids.seeds(s), copies)
        batch.dynamics(steps, STEP, temperature=(TEMPERATURE,) * 2, friction=FRICTION, seeds=noise)

    def keep(when: str) -> None:
        kept[when] = liquids.positions(batch).cpu().numpy().reshape(copies, s, liquids.n, 3)
        np.savez(args.ends, types=types, strength=args.strength, **kept)

    unit, heat = max(1, args.tau // args.every), []
    for k in range(round(args.length * unit)):
        q, slope = pull(liquids.positions(batch)[pulled], kinds[pulled])
        change = torch.zeros(len(push), liquids.n, 3, device=liquids.where)
        change[pulled] = slope * push[pulled, None, None]
        liquids.kick(batch, change)
        run(args.every)
        if k % 20 == 0:
            heat.append((batch.velocities() ** 2).mean(axis=(1, 2)).reshape(copies, s).mean(axis=1))
        if k < 3 or k % (unit // 10 + 1) == 0:
            say(f"impulse {k}: q {_row(q.view(-1, s).mean(1))}, temperature so far {_row(np.mean(heat, 0))}")
        if (k + 1) % unit == 0:
            batch.sort()
            keep(f"bias {(k + 1) // unit} τ")
        if time.perf_counter() - BEGAN > 60 * args.minutes:
            break
    say(f"bias for {(k + 1) * args.every / args.tau:.2f} τ, mean temperature {_row(np.mean(heat, 0))}")
    keep("end")
    for steps, when in ((args.tau // 4, "free 0.25 τ"), (args.tau - args.tau // 4, "free 1 τ")):
        run(steps)
        keep(when)


def measure(args: argparse.Namespace) -> None:
    """Table of what was without a bias, and of the changes by it, mean and standard error over starts."""
    files = [np.load(file) for file in args.files]
    strengths = files[0]["strength"]
    plain, pull = int(np.flatnonzero(strengths == 0)[0]), None
    print("".rjust(24), *(name.rjust(24) for name in QUANTITIES))
    for when in sorted({name for file in files for name in file.files} - {"types", "strength"}):
        have = [file for file in files if when in file.files]
        x = np.concatenate([file[when] for file in have], axis=1)
        s = x.shape[1]
        types = np.tile(np.concatenate([file["types"] for file in have]), (len(strengths), 1))
        liquids = Liquids(types, args.host, args.seed)
        pull = pull or Pull(args.model, liquids.edge, liquids.where, args.at_once)
        values = of_each(liquids, pull, x.reshape(-1, *x.shape[2:]), args).reshape(len(strengths), s, 3)
        if args.out:
            np.save(args.out / f"{when.replace(' ', '_').replace('τ', 'tau')}.npy", values)
        say(f"{when}, {s} starts")
        for strength, own in zip(strengths, values, strict=True):
            change = own if strength == 0 else own - values[plain]
            error = change.std(axis=0, ddof=1) / max(1, s) ** 0.5 if s > 1 else change[0] * np.nan
            name = f"change by {strength:+g}" if strength else "without bias"
            row = (f"{c:.4f} ± {e:.4f}".rjust(24) for c, e in zip(change.mean(axis=0), error, strict=True))
            print(name.rjust(24), *row, flush=True)


def of_each(liquids: Liquids, pull: Pull, x: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """Columns :data:`QUANTITIES` of systems at (S, N, 3)."""
    moved = []
    for first in range(0, len(x), 64):
        rows = np.repeat(np.arange(first, min(first + 64, len(x))), args.runs)
        types, batch = (
            liquids.types[rows],
            liquids.batch(x[rows], liquids.types[rows], liquids.maxwell(len(rows))),
        )
        free = batch.dynamics(
            args.tau,
            STEP,
            frames=(args.tau,),
            temperature=(TEMPERATURE, TEMPERATURE),
            damping=1.0,
            seeds=liquids.seeds(len(rows)),
        )
        far = np.linalg.norm(free.frames[:, 0], axis=2)
        moved.append((far * (types == 0)).sum(1) / (types == 0).sum(1))
    energy = liquids.batch(x, liquids.types).minimise(1e-4, 20_000)[1] / liquids.n
    q, _ = pull(*(torch.as_tensor(a, device=liquids.where) for a in (x.astype(np.float32), liquids.types)))
    return np.stack([np.concatenate(moved).reshape(-1, args.runs).mean(1), q.cpu().numpy(), energy], axis=1)


def _row(values: Any) -> str:
    return " ".join(f"{value:.4f}" for value in values.tolist())


def say(text: str) -> None:
    """With the time."""
    print(f"{time.perf_counter() - BEGAN:7.1f} s  {text}", flush=True)


def parser() -> argparse.ArgumentParser:
    """Three commands."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--host", action="store_true", help="on the processor")
    shared.add_argument("--seed", type=int, default=56)
    shared.add_argument("--tau", type=int, default=TAU, help="steps of τ_α, 0.005 each")
    shared.add_argument("--model", default=MODEL)
    shared.add_argument("--at-once", type=int, default=16_384, help="particles of a gradient")
    top = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = top.add_subparsers(required=True)
    one = commands.add_parser("equilibrate", parents=[shared])
    one.add_argument("starts_file", type=Path)
    one.add_argument("--starts", type=int, default=64, help="liquids")
    one.add_argument("--cells", type=int, default=5, help="of fcc along an edge: 4·cells³ particles")
    one.add_argument("--length", type=float, default=30.0, help="in τ_α")
    one.set_defaults(run=equilibrate)
    two = commands.add_parser("steer", parents=[shared])
    two.add_argument("starts_file", type=Path)
    two.add_argument("ends", type=Path)
    two.add_argument("--first", type=int, default=0, help="start to begin with")
    two.add_argument("--count", type=int, default=10**6, help="starts to take")
    two.add_argument("--strength", type=float, nargs="+", default=[0.0, 1.5, -1.5], help="λ by A particles")
    two.add_argument("--every", type=int, default=3, help="steps between impulses")
    two.add_argument("--length", type=float, default=2.0, help="of the bias in τ_α")
    two.add_argument("--minutes", type=float, default=1e9, help="after which the bias ends anyway")
    two.set_defaults(run=steer)
    three = commands.add_parser("measure", parents=[shared])
    three.add_argument("files", type=Path, nargs="+")
    three.add_argument("--runs", type=int, default=16, help="free runs from each configuration")
    three.add_argument("--out", type=Path, help="folder for the values of every system")
    three.set_defaults(run=measure)
    return top


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    chosen = parser().parse_args()
    chosen.run(chosen)
