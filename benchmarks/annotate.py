"""``propensity annotate``: frames a second beside the network's own rate, and what the cores do meanwhile.

    python -m benchmarks.annotate                       # 4096 particles, every core
    python -m benchmarks.annotate --device cuda --frames 10000
    OMP_NUM_THREADS=2 python -m benchmarks.annotate --particles 1600 --busy 2   # on a shared machine
    OMP_NUM_THREADS=1 python -m benchmarks.annotate stages   # where the time of a frame goes
    python -m benchmarks.annotate --workers 1 2         # n frames on n cores against one on one, in turn
    python -m benchmarks.annotate --workers 1 2 --cluster   # the same by processes of a Dask cluster

One at a time and side by side are interleaved in one process, so that their ratio holds on a busy machine.
``busy`` is processor time (of the GPU: its network's time) over wall time and cores; ``network`` is the
network's share of the processor time, measured on the threads that run it.  Processor time a frame is what
another core is worth where others use the machine, too: where it stays the same, n cores do n times as much.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import liquid, others_beside
from propensity.estimators.inputs import Inputs
from propensity.estimators.likeness import measured
from propensity.neighbours import neighbour_list
from propensity.neighbours.sharing import sharing
from propensity.predictor import Predictor
from propensity.structure import Structure
from propensity.trajectory import annotate, open_trajectory
from propensity.trajectory.writers import _Dump, _ExtXYZ

#: Particles of a liquid come no closer, in σ.
NEAREST = 0.75


def shrunk(structure, n):
    """A cube of about ``n`` particles cut out of a liquid and made periodic, less one of two that overlap."""
    edge = structure.cell[0, 0] * (n / len(structure)) ** (1 / 3)
    inside = (structure.positions < edge).all(axis=1)
    positions, types = structure.positions[inside], structure.types[inside]
    cut = Structure(positions, types, edge * np.ones(3))
    (source, destination), _ = neighbour_list(cut, NEAREST)
    kept = np.ones(len(cut), dtype=bool)
    kept[destination[destination > source].numpy()] = False
    return Structure(positions[kept], types[kept], edge * np.ones(3))


def write_trajectory(path, n_frames, n_particles):
    """A LAMMPS dump of jittered liquids."""
    with path.open("w") as stream:
        blocks = []
        whole = liquid()
        small = whole if n_particles >= len(whole) else shrunk(whole, n_particles)
        for k in range(min(n_frames, 8)):
            moved = small.positions + np.random.default_rng(k).normal(0, 0.02, small.positions.shape)
            frame = small.with_positions(moved)
            edge = frame.cell[0, 0]
            rows = "\n".join(
                f"{i + 1} {t + 1} {x:.6f} {y:.6f} {z:.6f}"
                for i, (t, (x, y, z)) in enumerate(
                    zip(frame.types, np.mod(frame.positions, edge), strict=True)
                )
            )
            blocks.append(
                f"ITEM: NUMBER OF ATOMS\n{len(frame)}\nITEM: BOX BOUNDS pp pp pp\n"
                + f"0 {float(edge)!r}\n" * 3
                + f"ITEM: ATOMS id type x y z\n{rows}\n"
            )
        for k in range(n_frames):
            stream.write(f"ITEM: TIMESTEP\n{k}\n{blocks[k % len(blocks)]}")


class Watch:
    """Time that the network takes: of its threads on a CPU, of the device on a GPU."""

    def __init__(self, predictor):
        self.seconds, self._lock, self._device = 0.0, threading.Lock(), predictor.device
        for estimator in predictor.estimators:
            network = estimator.network
            network.forward = self._timed(network.forward)

    def _timed(self, forward):
        def timed(*arguments):
            begin = time.thread_time()
            result = forward(*arguments)
            with self._lock:
                self.seconds += time.thread_time() - begin
            return result

        return timed


def measure(path, output, predictor, watch, workers):
    """Wall time, processor time and network time of one annotation."""
    watch.seconds, begin, cpu = 0.0, time.perf_counter(), time.process_time()
    annotate(path, output, predictor, workers=workers)
    return time.perf_counter() - begin, time.process_time() - cpu, watch.seconds


def main():
    """Print a row for each format and number of frames at once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=["stages"], help="Only where the time of a frame goes.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--particles", type=int, default=4096)
    parser.add_argument("--model", default="ka-default")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0, help="Other processes that compute meanwhile.")
    parser.add_argument("--workers", type=int, nargs="+", help="Compare so many frames at once, a core each.")
    parser.add_argument("--cluster", action="store_true", help="Workers are processes of a Dask cluster.")
    parser.add_argument("--formats", nargs="+", default=["dump", "extxyz", "h5"])
    options = parser.parse_args()
    cores = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, others_beside(options.busy):
        path = Path(folder) / "in.dump"
        write_trajectory(path, options.frames, options.particles)
        predictor = Predictor(options.model, device=options.device, species_map={1: "A", 2: "B"})
        if options.what == "stages":
            print_stages(path, predictor)
            return
        if options.workers:
            print_scaling(path, Path(folder) / f"out.{options.formats[0]}", predictor, options)
            return
        for suffix in options.formats:
            annotate(path, Path(folder) / f"warm.{suffix}", predictor, stop=4)
        rate = network_rate(path, predictor, cores)
        print(f"{options.particles} particles, {options.frames} frames, {cores} cores, {options.device}")
        print(f"network alone, one frame after another: {rate:.1f} frames/s")
        watch = Watch(predictor)
        ways = [1] if options.device != "cpu" else sorted({1, cores})
        for suffix in options.formats:
            found = {way: [] for way in ways}
            for _ in range(options.repeats):
                for way in ways:
                    found[way].append(measure(path, Path(folder) / f"out.{suffix}", predictor, watch, way))
            for way, rows in found.items():
                wall, cpu, network = np.median(rows, axis=0)
                # Threads within a frame work beside the one that is watched.
                share = f"{network / cpu:.2f} of" if way == cores or cores == 1 else "not told apart in"
                print(
                    f"| {suffix} | {way} at once | {options.frames / wall:.1f} frames/s |"
                    f" busy {cpu / wall / cores:.2f} | {1e3 * cpu / options.frames:.0f} ms of the processor a"
                    f" frame | network {share} the processor time |"
                    f" {options.frames / wall / rate:.2f} of the network alone |",
                    flush=True,
                )


def print_scaling(path, output, predictor, options):
    """Frames a second of n workers with a core each, in turn; the ratio to the first number of them."""
    found = {n: [] for n in options.workers}
    with ExitStack() as stack:
        clients = {n: stack.enter_context(cluster_of(n)) if options.cluster else None for n in found}
        for k in range(1 + options.repeats):
            for n, rows in found.items():
                torch.set_num_threads(n)  # one for each frame in work
                begin, cpu = time.perf_counter(), time.process_time()
                chosen = {"workers": n} if clients[n] is None else {"scheduler": clients[n]}
                annotate(path, output, predictor, **chosen)
                if k:  # the first is for what is compiled and loaded
                    rows.append((time.perf_counter() - begin, time.process_time() - cpu))
    first = np.median(found[options.workers[0]], axis=0)[0]
    for n, rows in found.items():
        wall, cpu = np.median(rows, axis=0)
        busy = "" if options.cluster else f" cores busy {cpu / wall / n:.2f} |"
        print(
            f"| {n} workers | {options.frames / wall:.2f} frames/s |{busy} {first / wall:.2f} times"
            f" {options.workers[0]} |",
            flush=True,
        )


@contextmanager
def cluster_of(n):
    """Client of a Dask cluster of n processes on this machine."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def print_stages(path, predictor, repeats=20):
    """Processor time of each stage of a frame on this thread, and its share."""
    frame = next(iter(open_trajectory(path)))
    structure = frame.structure(predictor.species, predictor.species_map)
    estimator, card = predictor.estimators[0], predictor.card
    inputs = Inputs(card)
    graph, columns = inputs.graph(structure), predictor.columns(structure)
    stages = {
        "reading": lambda: next(iter(open_trajectory(path))),
        "species": lambda: frame.structure(predictor.species, predictor.species_map),
        "list and likeness": lambda: listed(card, inputs, structure),
        "network": lambda: estimator.network(graph),
    }
    for name, kind in (("text of a dump", _Dump), ("text of extended XYZ", _ExtXYZ)):
        writer = kind(io.StringIO(), predictor)
        stages[name] = partial(writer.prepare, frame, structure.types, columns)
    with torch.no_grad():
        found = {name: 1e3 * processor_time(work, repeats) for name, work in stages.items()}
    whole = sum(found.values()) - found["text of extended XYZ"]
    for name, spent in found.items():
        print(f"| {name} | {spent:.1f} ms | {spent / whole:.3f} |")


def listed(card, inputs, structure):
    """The graph, and the check of neighbourhoods that comes with its list."""
    with sharing(structure, card.cutoff, torch.float32):
        measured(card, structure)
        inputs.graph(structure)


def processor_time(work, repeats):
    """Median processor time of a call, in seconds."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return float(np.median(times))


def network_rate(path, predictor, threads):
    """Frames a second of ``Predictor.predict`` on frames that are in memory, threads within the frame."""
    frames = [f.structure(predictor.species, predictor.species_map) for f in open_trajectory(path, stop=8)]
    begin, n = time.perf_counter(), 0
    while time.perf_counter() - begin < 3:
        predictor.predict(frames[n % len(frames)])
        n += 1
    return n / (time.perf_counter() - begin)


if __name__ == "__main__":
    main()
