"""``propensity annotate`` on a GPU: frames a second beside the network's own rate, and how busy it is.

    python -m benchmarks.annotate_gpu --frames 10000 --workers 16 --ways dcd:h5 dump:dump

A row for each way from input to output and number of processes that share the device.  ``busy`` is what NVML
says of the device (share of the time in which a kernel ran), without the first tenth of the frames, as
is the rate: starting takes seconds, whatever there is to do.  ``whole`` counts the start too.  The
network's own rate is that of its recording, replayed without anything between.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.annotate import write_trajectory
from benchmarks.common import liquid
from propensity.nn import replay
from propensity.predictor import Predictor
from propensity.trajectory import annotate, open_trajectory


class Utilisation:
    """Samples of a device, taken by a thread."""

    def __init__(self, device: str) -> None:
        self.samples: list[tuple[float, int]] = []
        self._stop = threading.Event()
        if not device.startswith("cuda"):
            return
        import pynvml

        pynvml.nvmlInit()
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
        by = pynvml.nvmlDeviceGetHandleByIndex if seen.isdigit() else pynvml.nvmlDeviceGetHandleByUUID
        handle = by(int(seen) if seen.isdigit() else seen)

        def sample() -> None:
            while not self._stop.wait(0.1):
                used = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                self.samples.append((time.perf_counter(), used))

        threading.Thread(target=sample, daemon=True).start()

    def mean(self, begin: float, end: float) -> float:
        """Share of the time between two moments in which a kernel ran."""
        found = [used for at, used in self.samples if begin <= at <= end]
        return float(np.mean(found)) / 100 if found else float("nan")

    def stop(self) -> None:
        self._stop.set()


def write_dcd(path: Path, topology: Path, n_frames: int) -> None:
    """The same frames as a DCD file, and a LAMMPS data file that names the particles."""
    import MDAnalysis

    whole = liquid()
    edge = float(whole.cell[0, 0])
    rows = "\n".join(
        f"{i + 1} {t + 1} {x:.6f} {y:.6f} {z:.6f}"
        for i, (t, (x, y, z)) in enumerate(zip(whole.types, whole.positions.tolist(), strict=True))
    )
    box = "".join(f"0.0 {edge!r} {axis}lo {axis}hi\n" for axis in "xyz")
    topology.write_text(f"liquid\n\n{len(whole)} atoms\n2 atom types\n{box}\nAtoms # atomic\n\n{rows}\n")
    universe = MDAnalysis.Universe.empty(len(whole), trajectory=True)
    moved = [
        np.mod(whole.positions + np.random.default_rng(k).normal(0, 0.02, whole.positions.shape), edge)
        for k in range(8)
    ]
    with MDAnalysis.Writer(str(path), len(whole)) as stream:
        universe.trajectory.ts.dimensions = [edge, edge, edge, 90, 90, 90]
        for k in range(n_frames):
            universe.atoms.positions = moved[k % len(moved)]
            stream.write(universe.atoms)


def network_rate(predictor: Predictor, frames: list, seconds: float = 1.5) -> tuple[float, float]:
    """Frames a second of the recording alone, and of ``Predictor.predict``, on frames in memory."""
    for frame in [*frames[:3], *frames[:3]]:
        predictor.predict(frame)
    begin, n = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        predictor.predict(frames[n % len(frames)])
        n += 1
    predicted = n / (time.perf_counter() - begin)
    if predictor.device.type != "cuda":
        return float("nan"), predicted
    held = replay._RECORDINGS[predictor.estimators[0].network].held
    recording = next(iter(held.values()))
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(500):
        recording._replay()
    torch.cuda.synchronize()
    return 500 / (time.perf_counter() - begin), predicted


def main() -> None:
    """Print a row for each input, output and number of processes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--ways", nargs="+", default=["dcd:h5", "dcd:dump", "dump:dump", "dump:h5"])
    parser.add_argument("--model", default="ka-default")
    parser.add_argument("--folder", help="Where the trajectories lie meanwhile.")
    options = parser.parse_args()
    watch = Utilisation(options.device)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        ways = [way.split(":") for way in options.ways]
        inputs = [given for given, _ in ways]
        if "dump" in inputs:
            write_trajectory(folder / "in.dump", options.frames, 4096)
        if "dcd" in inputs:
            write_dcd(folder / "in.dcd", folder / "in.data", options.frames)
        predictor = Predictor(options.model, device=options.device, species_map={1: "A", 2: "B"})
        topologies = {"dump": None, "dcd": folder / "in.data"}
        given = inputs[0]
        opened = open_trajectory(folder / f"in.{given}", topologies[given], stop=8)
        frames = [frame.structure(predictor.species, predictor.species_map) for frame in opened]
        rate, predicted = network_rate(predictor, frames)
        print(
            f"recording alone {rate:.0f} frames/s, Predictor.predict one by one {predicted:.0f} frames/s",
            flush=True,
        )
        for given, suffix in ways:
            source, topology, output = folder / f"in.{given}", topologies[given], folder / f"out.{suffix}"
            annotate(source, output, predictor, topology, stop=4)  # compiles what formats and reads
            for workers in options.workers:
                moments: list[float] = []
                begin = time.perf_counter()
                annotate(
                    source,
                    output,
                    predictor,
                    topology,
                    workers=workers,
                    progress=lambda *_, moments=moments: moments.append(time.perf_counter()),
                )
                size = output.stat().st_size / 1e6
                output.unlink()
                tenth, end = len(moments) // 10, moments[-1]
                steady = (len(moments) - 1 - tenth) / (end - moments[tenth])
                whole = len(moments) / (end - begin)
                print(
                    f"| {given} | {suffix} | {workers} | {len(moments)} frames | {steady:.0f} frames/s | busy"
                    f" {watch.mean(moments[tenth], end):.2f} | {steady / rate:.2f} of the recording |"
                    f" whole {whole:.0f} frames/s in {end - begin:.0f} s | {size:.0f} MB |",
                    flush=True,
                )
    watch.stop()


if __name__ == "__main__":
    main()
