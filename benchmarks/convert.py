"""Reading and converting structures of the size of the real Bapst data (30 runs, 10 times, velocities).

Peer, in the same run: ``pickle.load`` of the same files and the mean displacements by numpy.

    python benchmarks/convert.py [N_FILES]      (Linux)
"""

from __future__ import annotations

import argparse
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEER = """
import pickle, sys, numpy as np
for path in sys.argv[1:]:
    raw = pickle.load(open(path, 'rb'))
    for runs in raw['trajectory_target_positions']:
        np.linalg.norm(np.array(runs) - raw['positions'], axis=-1).mean(0)
"""
OURS = """
import sys
from propensity.data.convert import convert
if __name__ == "__main__":
    convert([sys.argv[1]], sys.argv[2], workers=int(sys.argv[3]), overwrite=True)
"""
LOAD = """
import sys, time
from propensity.data import open_dataset
start = time.perf_counter()
data = open_dataset(sys.argv[1]).in_memory()
print((time.perf_counter() - start) / len(data))
"""


def synthetic(path: Path, seed: int, n: int = 4096) -> None:
    """A pickle laid out as the published ones, with made-up diffusion."""
    rng = np.random.default_rng(seed)
    box = np.full(3, (n / 1.2) ** (1 / 3))
    start = rng.random((n, 3)) * box
    mobility = rng.gamma(6.0, 1 / 6, (n, 1))
    spreads = np.geomspace(0.06, 0.6, 10)
    raw = {
        "positions": start,
        "types": (np.arange(n) >= 0.8 * n).astype(np.int32),
        "box": box,
        "time": [0.0, *np.geomspace(0.13, 2e4, 10).tolist()],
        "time_indices": list(range(1, 11)),
        "is_values": np.linspace(0.9, 0.1, 10),
        "metadata": {"temperature": 0.44},
        "trajectory_start_velocities": [rng.standard_normal((n, 3)) for _ in range(30)],
        "trajectory_target_positions": [
            [start + s * mobility * rng.standard_normal((n, 3)) for _ in range(30)] for s in spreads
        ],
    }
    path.write_bytes(pickle.dumps(raw, protocol=3))


def timed(script: str, *arguments: object) -> tuple[float, float, str]:
    """Seconds, peak resident megabytes and output of a fresh Python process."""
    measured = (
        f"exec({script!r})\nfrom pathlib import Path\n"
        # Not getrusage, which starts from the peak of the parent.
        "print(next(int(l.split()[1]) / 1024 for l in Path('/proc/self/status').open() if"
        " l.startswith('VmHWM')))"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", measured, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    *output, peak = done.stdout.splitlines()
    return time.perf_counter() - start, float(peak), "\n".join(output)


def main() -> None:
    """Print one line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", type=int, nargs="?", default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "data/train"
        folder.mkdir(parents=True)
        files = [folder / f"aggregated_{i}.pickle" for i in range(options.n)]
        for i, file in enumerate(files):
            synthetic(file, i)
        size = sum(file.stat().st_size for file in files)
        store, half = Path(name) / "all.h5", Path(name) / "half.h5"
        peer, peer_peak, _ = timed(PEER, *files)
        ours, ours_peak, _ = timed(OURS, folder, store, 1)
        for file in files[options.n // 2 :]:
            file.rename(Path(name) / file.name)
        _, half_peak, _ = timed(OURS, folder, half, 1)
        seconds = float(timed(LOAD, store)[2])
        print(f"{options.n} files of {size / options.n / 1e6:.1f} MB")
        print(
            f"convert, 1 process: {ours / options.n:.3f} s a structure = {ours / peer:.2f} × pickle.load +"
            " numpy"
        )
        print(
            f"peak memory: {ours_peak:.0f} MB for {options.n}, {half_peak:.0f} MB for {options.n // 2} "
            f"(peer {peer_peak:.0f} MB)"
        )
        print(
            f"store: {store.stat().st_size / options.n / 1e6:.3f} MB a structure ="
            f" 1/{size / store.stat().st_size:.0f}"
        )
        print(
            f"loading the store into memory: {1e3 * seconds:.1f} ms a structure ="
            f" 1/{peer / options.n / seconds:.0f} of the peer"
        )


if __name__ == "__main__":
    main()
