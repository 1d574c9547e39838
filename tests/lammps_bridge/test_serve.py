"""The server, spoken to without LAMMPS."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lammps_bridge import protocol, serve
from propensity.predictor import Predictor
from tests.conftest import make_liquid


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    """Our end of a connection that a thread serves."""
    ours, theirs = socket.socketpair()
    ours.settimeout(300)
    thread = threading.Thread(target=serve.serve, args=(theirs, "cpu"), daemon=True)
    thread.start()
    yield ours
    ours.close()
    thread.join(120)
    assert not thread.is_alive()


def reply(connection: socket.socket) -> tuple[int, str, np.ndarray]:
    magic, status, text, values = struct.unpack("=4siQQ", protocol.receive(connection, 24))
    assert magic == b"PRPN"
    return (
        status,
        protocol.receive(connection, text).decode(),
        np.frombuffer(protocol.receive(connection, 8 * values)),
    )


def hello(
    connection: socket.socket, text: str, version: int = protocol.VERSION
) -> tuple[int, str, np.ndarray]:
    connection.sendall(struct.pack("=4sII", b"PRPN", version, len(text)) + text.encode())
    return reply(connection)


def frame(
    connection: socket.socket,
    n: int = 120,
    tags: np.ndarray | None = None,
    radii: np.ndarray | None = None,
) -> tuple[int, str, np.ndarray]:
    liquid = make_liquid(n)
    arrays = (
        liquid.cell,
        np.arange(1, n + 1) if tags is None else tags,
        (liquid.types + 1).astype("i4"),
        np.ones(n, "i4"),
        liquid.positions,
        *([] if radii is None else [radii]),
    )
    flags = 7 if radii is None else 15
    connection.sendall(
        struct.pack("=4sqq", b"FRAM", flags, n) + b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)
    )
    return reply(connection)


def test_answers(connection: socket.socket, tiny_model: Path) -> None:
    status, text, sizes = hello(connection, f"model\t{tiny_model}\nspecies\tA\tB\ntimes\t1\t100\n")
    assert (status, sizes.tolist()) == (0, [2, 2]) and "propensity at t = 1, 100" in text
    expected = Predictor(tiny_model, times=[1, 100]).predict(make_liquid())
    shuffled = np.random.default_rng(0).permutation(1000)[:120]
    for tags in (None, shuffled):
        status, text, values = frame(connection, tags=tags)
        assert (status, text) == (0, "")
        # Another order of summation may change the last digit of float32.
        assert np.abs(values[8:].reshape(-1, 2) - expected).max() < 1e-6
        assert values[6] == 0 and np.isnan(values[7])  # no doubt, by a model that knows no ranges
        assert np.allclose(values[:6].reshape(2, 3)[:, 0], expected.mean(axis=0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model\tnone-such\n", "model 'none-such' is neither"),
        ("model\t{model}\nspecies\tA\tC\n", "sends '2' to 'C'"),
        ("model\t{model}\nspecies\tA\tB\ntimes\tx\n", "times has the value 'x'"),
        ("model\t{model}\nspecies\tA\tB\ndevice\tabacus\n", ""),
    ],
)
def test_refuses_options(text: str, message: str, connection: socket.socket, tiny_model: Path) -> None:
    status, said, _ = hello(connection, text.format(model=tiny_model))
    assert (status == 1 and message in said) if message else status == 0  # the server's --device goes first


def test_refuses_another_protocol(connection: socket.socket) -> None:
    status, said, _ = hello(connection, "", version=99)
    assert status == 1 and "protocol 99" in said and "build-plugin" in said


def test_errors_end_the_connection_only(connection: socket.socket, tiny_model: Path) -> None:
    assert hello(connection, f"model\t{tiny_model}\nspecies\tA\tB\n")[0] == 0
    status, said, _ = frame(connection, tags=np.ones(120, dtype=np.int64))
    assert status == 1 and "same ID" in said
    assert connection.recv(1) == b""


def test_half_a_message_ends_the_connection(connection: socket.socket) -> None:
    connection.sendall(b"PRPN\0")
    connection.shutdown(socket.SHUT_WR)
    status, said, _ = reply(connection)
    assert status == 1 and "ended in the middle" in said


@pytest.mark.parametrize(
    ("address", "message"),
    [("nowhere", "neither host:port nor unix:path"), ("unix:/no/such/place", "can't listen at")],
)
def test_bad_address(address: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        serve.main(["--listen", address])


def test_tcp(tiny_model: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lammps_bridge.serve", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        host, port = process.stdout.readline().removeprefix("listening at ").strip().split(":")
        with socket.create_connection((host, int(port)), timeout=120) as connection:
            assert hello(connection, f"model\t{tiny_model}\nspecies\tA\tB\n")[0] == 0
            assert frame(connection)[0] == 0
    finally:
        process.terminate()
        process.wait(120)
