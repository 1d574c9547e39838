"""Every reader of the package with a small file that it reads: what fuzzing damages."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import shutil
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch

from propensity.data import StoreWriter, open_dataset
from tests.conftest import make_liquid, make_tiny_model
from tests.reliability import mutations

FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class Reader:
    """A file name, how to make its sound contents, how to damage and how to read it to its end."""

    file: str
    make: Callable[[Path], None]
    damage: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], Any]


def _dump_text(n: int = 24, frames: int = 3) -> str:
    text = []
    for k in range(frames):
        liquid = make_liquid(n, seed=k)
        edge = float(liquid.cell[0, 0])
        text += [f"ITEM: TIMESTEP\n{10 * k}\nITEM: NUMBER OF ATOMS\n{n}\nITEM: BOX BOUNDS pp pp pp"]
        text += [f"0 {edge!r}"] * 3
        text += ["ITEM: ATOMS id type x y z vx"]
        rows = zip(liquid.types, liquid.positions, strict=True)
        text += [f"{i + 1} {t + 1} {x:.6f} {y:.6f} {z:.6f} 0.5" for i, (t, (x, y, z)) in enumerate(rows)]
    return "\n".join(text) + "\n"


def _xyz(path: Path) -> None:
    frames = []
    for k in range(3):
        liquid = make_liquid(24, seed=k)
        frames.append(
            ase.Atoms(np.array(["Ni", "P"])[liquid.types], liquid.positions, cell=liquid.cell, pbc=True)
        )
    ase.io.write(path, frames, format="traj" if path.suffix == ".traj" else "extxyz")


def _data(path: Path) -> None:
    liquid = make_liquid(24)
    edge = float(liquid.cell[0, 0])
    rows = zip(liquid.types, liquid.positions, strict=True)
    atoms = "\n".join(f"{i + 1} {t + 1} {x:.6f} {y:.6f} {z:.6f}" for i, (t, (x, y, z)) in enumerate(rows))
    box = "\n".join(f"0 {edge!r} {d}lo {d}hi" for d in "xyz")
    path.write_text(
        f"LAMMPS data file\n\n24 atoms\n2 atom types\n\n{box}\n\nAtoms # atomic\n\n{atoms}\n", "utf-8"
    )


def _gsd(path: Path) -> None:
    import gsd.hoomd

    liquid = make_liquid(24)
    with gsd.hoomd.open(str(path), "w") as file:
        for k in range(2):
            frame = gsd.hoomd.Frame()
            frame.configuration.step = k
            frame.configuration.box = [*np.diag(liquid.cell), 0, 0, 0]
            frame.particles.N = len(liquid)
            frame.particles.types = ["A", "B"]
            frame.particles.typeid = liquid.types
            frame.particles.position = liquid.positions - liquid.cell[0, 0] / 2
            file.append(frame)


def _botan(path: Path) -> None:
    liquid = make_liquid(32)
    rng = np.random.default_rng(0)
    runs = liquid.positions + 0.1 * rng.normal(size=(3, 32, 3))
    np.savez(path, types=liquid.types, initial_positions=liquid.positions, positions=runs)


def _glassbench(path: Path) -> None:
    rng = np.random.default_rng(0)
    start = 5.0 * rng.random((32, 2))
    runs = (start + 0.1 * rng.normal(size=(3, 32, 2))) % 5.0
    np.savez(path, types=1 + np.arange(32) % 3, box=5.0, initial_positions=start, positions=runs)


def _ka3d(path: Path) -> None:
    with np.load(FIXTURES / "ka3d_few_train.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    n = arrays["positions"].shape[1]
    cut = {
        name: np.take(array, range(16), axis=array.shape.index(n)) if n in array.shape else array
        for name, array in arrays.items()
    }
    count = len(arrays["positions"])
    few = {k: v[:2] if v.ndim and len(v) == count and k not in ("times", "fs") else v for k, v in cut.items()}
    np.savez(path, **few)


def _store(path: Path) -> None:
    source = path.with_name("source_train.npz")
    _ka3d(source)
    with StoreWriter(path) as writer:
        for sample in open_dataset(source):
            writer.add(sample)
    source.unlink()


def _bapst(path: Path) -> None:
    with open(FIXTURES / "bapst_small.pickle", "rb") as file:
        raw = pickle.load(file)
    raw["trajectory_target_positions"] = [runs[:2] for runs in raw["trajectory_target_positions"][:2]]
    path.write_bytes(pickle.dumps(raw, protocol=3))


def _model(path: Path) -> None:
    folder = make_tiny_model(path.parent / "tiny")
    weights, card = (folder / f"model.{kind}" for kind in ("safetensors", "json"))
    first, second = weights.read_bytes(), card.read_bytes()
    path.write_bytes(struct.pack("<Q", len(first)) + first + second)
    shutil.rmtree(folder)


def _damage_model(data: bytes, rng: random.Random) -> bytes:
    """The card, the header of the weights, or all."""
    (n,) = struct.unpack("<Q", data[:8])
    weights, card = data[8 : 8 + n], data[8 + n :]
    if rng.random() < 0.6:
        card = mutations.damage_json(card, rng)
    elif rng.random() < 0.5:
        (header,) = struct.unpack("<Q", weights[:8])
        text = mutations.damage_json(weights[8 : 8 + header], rng)
        weights = struct.pack("<Q", len(text)) + text + weights[8 + header :]
    else:
        weights = mutations.damage_bytes(weights, rng)
    return struct.pack("<Q", len(weights)) + weights + card


def _read_model(path: Path) -> Any:
    from propensity.predictor import Predictor

    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    (path.parent / "model.safetensors").write_bytes(data[8 : 8 + n])
    (path.parent / "model.json").write_bytes(data[8 + n :])
    return Predictor(path.parent, device="cpu", kernel="reference").predict(make_liquid(24))


def _checkpoint(write: Callable[[Any, Path], None]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros((), dtype=torch.int64)}
        write(
            {
                "state_dict": state,
                "callbacks": {"x": {"average": [torch.ones(3)], "rows": [{"epoch": 1, "loss": 0.5}]}},
                "optimizer_states": [
                    {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]}
                ],
                "epoch": 1,
                "global_step": 3,
                "loops": {"fit": (1, None, True)},
            },
            path,
        )

    return make


def _write_checkpoint(values: Any, path: Path) -> None:
    from propensity.training.checkpoints import write_checkpoint

    write_checkpoint(path, values)


def _read_checkpoint(path: Path) -> Any:
    from propensity.training.checkpoints import read_checkpoint

    return read_checkpoint(path)


def _yaml(path: Path) -> None:
    path.write_text(
        "model: se3gnn\ndata: [a.h5, b.h5]\ntimes: [tau_alpha]\nsplit: auto\nfractions: [0.5, 0.1, 0.4]\n"
        "l_max: 2\nn_layers: 2\nlearning_rate: 0.001\nmilestones: [10, 20]\nepochs: 3\nname: &n first\n"
        "description: *n\n",
        "utf-8",
    )


def _read_yaml(path: Path) -> Any:
    from propensity.runs.flags import parse_options, read_option_file

    return parse_options(read_option_file(path))


def _split(path: Path) -> None:
    path.write_text(
        json.dumps({"train": ["a", "b"], "valid": ["c"], "test": [], "how": {"seed": 0}}), "utf-8"
    )


def _read_split(path: Path) -> Any:
    from propensity.data import Split
    from propensity.documents import read_json

    return Split.from_dict(read_json(path, "split file"))


def _piece(path: Path) -> None:
    from propensity.simulate.pieces import PieceStore, pack_microstate
    from tests.reliability.microstates import small_microstate

    store = PieceStore(path.parent, {})
    store.save(path.stem, {**pack_microstate(small_microstate()), "fs": np.linspace(1, 0.5, 4)})
    store.close()


def _read_piece(path: Path) -> Any:
    from propensity.simulate.pieces import PieceStore, unpack_microstate

    store = PieceStore(path.parent, {})
    try:
        return unpack_microstate(store.load(path.stem))
    finally:
        store._lock.close()


def _fragment(path: Path) -> None:
    path.write_text(
        "# A liquid.\n# propensity: species A:0.8 B:0.2\n# propensity: density 1.2\nmass * 1.0\n"
        "pair_style lj/cut 2.5\npair_coeff 1 1 1.0 1.0 2.5\npair_coeff 1 2 1.5 0.8 &\n  2.0\n"
        "pair_coeff 2 2 ${here}/t.table\n",
        "utf-8",
    )


def _read_fragment(path: Path) -> Any:
    from propensity.simulate.model import load_input

    return load_input(path).counts(100)


def _messages(path: Path) -> None:
    from lammps_bridge import protocol

    options = b"model\tka-default\nspecies\tA\tB\n"
    hello = struct.pack("=4sII", b"PRPN", protocol.VERSION, len(options)) + options
    liquid = make_liquid(8)
    frame = struct.pack("=4sqq", b"FRAM", 7, 8) + liquid.cell.tobytes() + np.arange(8).tobytes()
    frame += (
        (liquid.types + 1).astype("i4").tobytes() + np.ones(8, "i4").tobytes() + liquid.positions.tobytes()
    )
    path.write_bytes(hello + frame)


def _read_messages(path: Path) -> Any:
    from lammps_bridge import protocol

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        theirs.sendall(path.read_bytes()[:100_000])
        theirs.shutdown(socket.SHUT_WR)
        protocol.receive_hello(ours)
        while (frame := protocol.receive_frame(ours)) is not None:
            frame.positions.sum()


def _trajectory(path: Path) -> Any:
    from propensity.trajectory import open_trajectory

    species_map = None if path.suffix == ".gsd" else {"Ni": "A", "P": "B", 1: "A", 2: "B"}
    for frame in open_trajectory(path):
        frame.structure(("A", "B"), species_map)


def _every_other(path: Path) -> Any:
    from propensity.trajectory import open_trajectory

    return [len(frame) for frame in open_trajectory(path, start=1, step=2)]


def _dataset(path: Path) -> Any:
    return [sample.propensities.sum() for sample in open_dataset(path)]


def _text(text: Callable[[], str]) -> Callable[[Path], None]:
    return lambda path: (path.write_text(text(), "utf-8"), None)[1]


def _gz(path: Path) -> None:
    path.write_bytes(gzip.compress(_dump_text().encode()))


def _torch(values: Any, path: Path) -> None:
    stream = io.BytesIO()
    torch.save(values, stream)
    path.write_bytes(stream.getvalue())


READERS: dict[str, Reader] = {
    "LAMMPS dump": Reader("t.dump", _text(_dump_text), mutations.damage_text, _trajectory),
    "LAMMPS dump, every other frame": Reader(
        "t.dump", _text(_dump_text), mutations.damage_text, _every_other
    ),
    "LAMMPS dump, gzip": Reader("t.dump.gz", _gz, mutations.damage_gzip, _trajectory),
    "LAMMPS data": Reader("t.data", _data, mutations.damage_text, _trajectory),
    "extended XYZ": Reader("t.extxyz", _xyz, mutations.damage_text, _trajectory),
    "extended XYZ, every other frame": Reader("t.extxyz", _xyz, mutations.damage_text, _every_other),
    "ASE trajectory": Reader("t.traj", _xyz, mutations.damage_bytes, _trajectory),
    "GSD": Reader("t.gsd", _gsd, mutations.damage_bytes, _trajectory),
    "npz of BOTAN": Reader("isoconfig_N32T0.44_1_tc07.npz", _botan, mutations.damage_archive, _dataset),
    "npz of GlassBench": Reader("N32T0.30_1_tc05.npz", _glassbench, mutations.damage_archive, _dataset),
    "npz of many structures": Reader("few_train.npz", _ka3d, mutations.damage_archive, _dataset),
    "pickle of Bapst et al.": Reader("b.pickle", _bapst, mutations.damage_bytes, _dataset),
    "store": Reader("s.h5", _store, mutations.damage_bytes, _dataset),
    "model": Reader("model.bin", _model, _damage_model, _read_model),
    "checkpoint": Reader(
        "last.ckpt", _checkpoint(_write_checkpoint), mutations.damage_bytes, _read_checkpoint
    ),
    "checkpoint of torch": Reader(
        "old.ckpt", _checkpoint(_torch), mutations.damage_archive, _read_checkpoint
    ),
    "configuration": Reader("c.yaml", _yaml, mutations.damage_text, _read_yaml),
    "split file": Reader("splits.json", _split, mutations.damage_json, _read_split),
    "piece of a simulation": Reader("p.npz", _piece, mutations.damage_archive, _read_piece),
    "LAMMPS fragment": Reader("m.in", _fragment, mutations.damage_text, _read_fragment),
    "messages of fix propensity": Reader("m.bin", _messages, mutations.damage_bytes, _read_messages),
}
