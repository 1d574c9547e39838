"""Bytes between ``fix propensity`` and the server, version 2; the other side is ``plugin/link.cpp``.

All numbers are in the byte order of the machines, which must agree.

===========  =========================================================================================
hello        ``PRPN``, uint32 version, uint32 length, text of ``keyword<tab>value<tab>...`` lines
frame        ``FRAM``, int64 flags (bit k: direction k is periodic; bit 3: atoms have a radius), int64 N,
             float64 cell (3, 3), int64 tags (N,), int32 types (N,), int32 selected (N,), float64 positions
             (N, 3), and with bit 3 float64 radii (N,)
reply        ``PRPN``, int32 status (0: done, 1: error), uint64 length of text, uint64 number of values,
             text (error, or warning), float64 values
===========  =========================================================================================

The values of the reply to hello are n_times and n_species; those of the reply to a frame are the means
(n_times, 1 + n_species), what is doubtful (2,), then the propensities (N, n_times), and with a bias its
energy and forces (N, 3).
"""

from __future__ import annotations

import socket
import struct

import numpy as np

from lammps_bridge.core import LammpsFrame
from propensity.diameters import diameters_of
from propensity.errors import DataError

VERSION = 2
#: Longest options in bytes, most atoms, and bytes read at once.
MAX_TEXT, MAX_ATOMS, CHUNK = 2**20, 10**9, 2**20
_HELLO = struct.Struct("=4sII")
_FRAME = struct.Struct("=4sqq")
_REPLY = struct.Struct("=4siQQ")


def receive_hello(connection: socket.socket) -> dict[str, list[str]] | None:
    """Options of the client, word by word; None when it only looked whether someone listens."""
    head = receive(connection, _HELLO.size)
    if not head:
        return None
    magic, version, length = _HELLO.unpack(head)
    if magic != b"PRPN" or version != VERSION:
        raise DataError(
            f"fix propensity speaks protocol {version} and the server {VERSION}: run `propensity lammps"
            " build-plugin`."
            if magic == b"PRPN"
            else "the client is not a fix propensity."
        )
    if length > MAX_TEXT:
        raise DataError(f"the client wants to send {length} bytes of options: at most {MAX_TEXT} are read.")
    lines = receive(connection, length).decode(errors="replace").splitlines()
    return {words[0]: words[1:] for words in (line.split("\t") for line in lines)}


def receive_frame(connection: socket.socket) -> LammpsFrame | None:
    """Next configuration; None at the end of the run."""
    head = receive(connection, _FRAME.size)
    if not head:
        return None
    magic, flags, n = _FRAME.unpack(head)
    if magic != b"FRAM" or not 0 < n <= MAX_ATOMS:
        raise DataError("what the client sent is not a configuration.")

    def array(dtype: str, *shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        size = count * np.dtype(dtype).itemsize
        data = receive(connection, size)
        if len(data) != size:
            raise DataError("the connection ended in the middle of a message.")
        return np.frombuffer(data, dtype).reshape(shape)

    cell = array("f8", 3, 3)
    tags, types, selected = array("i8", n), array("i4", n), array("i4", n).astype(bool)
    pbc = np.array([bool(flags >> k & 1) for k in range(3)])
    positions = array("f8", n, 3)
    sizes = diameters_of({"radius": array("f8", n)}) if flags >> 3 & 1 else None
    return LammpsFrame(tags, types, positions, cell, pbc, selected, diameters=sizes)


def send_reply(connection: socket.socket, status: int, text: str = "", *values: np.ndarray) -> None:
    """Answer a hello or a frame."""
    encoded = " ".join(text.split()).encode()
    numbers = np.concatenate([np.ravel(v) for v in values]).astype("f8") if values else np.empty(0)
    connection.sendall(_REPLY.pack(b"PRPN", status, len(encoded), len(numbers)) + encoded)
    connection.sendall(numbers.tobytes())


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes, or none when the other side has closed; closing half-way is an error."""
    buffer = bytearray()
    while len(buffer) < size:
        # Memory is taken as data come, not as a client claims.
        part = connection.recv(min(size - len(buffer), CHUNK))
        if not part:
            if not buffer:
                return b""
            raise DataError("the connection ended in the middle of a message.")
        buffer += part
    return bytes(buffer)
