"""Ways to damage a file: its bytes, its words and lines, the members of an archive, the values of a tree."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

#: What numbers of text files may become.
TOKENS = (
    b"nan",
    b"inf",
    b"-inf",
    b"-1",
    b"0",
    b"1e400",
    b"-0.0",
    b"100000000000000000000",
    b"9223372036854775808",
    b"2147483648",
    b"1" * 5000,
    b"x",
    b"",
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"[bold]",
    b"1_000",
    b"0x10",
    b"1e-320",
    "½".encode(),
    "日本".encode(),
    b"  ",
    b"#",
    b"'",
    b"\\",
    b"{",
    b"[",
    b"ITEM:",
    b"Properties=",
    b"True",
)
#: What integers of binary files may become.
INTEGERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**63 - 1,
    2**63,
)
#: What values of JSON and YAML may become.
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    1000,
    10**9,
    10**25,
    0.5,
    -2.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\x1b[2J",
    "A\nB",
    [],
    {},
    [[]],
    [1, 2],
    {"a": 1},
    "é" * 300,
    [0] * 200,
    {"x": {"y": {"z": []}}},
)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to four changes of bytes anywhere."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        n = len(out)
        at = rng.randrange(n) if n else 0
        kind = rng.randrange(8)
        if kind == 0 and n:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and n:
            out[at] = rng.randrange(256)
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 8, 64))))
        elif kind == 4:
            del out[at : at + rng.choice((1, 4, 16, 256))]
        elif kind == 5:
            chunk = out[at : at + rng.choice((1, 16, 512))]
            where = rng.randrange(n) if n else 0
            out[where:where] = chunk * rng.choice((1, 2, 20))
        elif kind == 6:
            size = rng.choice((1, 2, 4, 8))
            number = (rng.choice(INTEGERS) % 256**size).to_bytes(size, rng.choice(("little", "big")))
            out[at : at + size] = number
        else:
            size = rng.choice((8, 64))
            out[at : at + size] = bytes(size)
    return bytes(out)


def damage_text(data: bytes, rng: random.Random) -> bytes:
    """Changes of words and lines, or of bytes."""
    if rng.random() < 0.25:
        return damage_bytes(data, rng)
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = (
            min(int(rng.expovariate(0.15)), len(lines) - 1)
            if rng.random() < 0.6
            else rng.randrange(len(lines))
        )
        kind = rng.randrange(7)
        if kind <= 2:
            words = lines[at].split(b" ")
            words[rng.randrange(len(words))] = rng.choice(TOKENS)
            lines[at] = b" ".join(words)
        elif kind == 3:
            del lines[at]
            lines = lines or [b""]
        elif kind == 4:
            lines.insert(at, rng.choice((b"", lines[at], rng.choice(TOKENS))))
        elif kind == 5:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
    return b"\n".join(lines)


def damage_gzip(data: bytes, rng: random.Random) -> bytes:
    """The archive, or the text inside it."""
    if rng.random() < 0.5:
        return damage_bytes(data, rng)
    return gzip.compress(damage_text(gzip.decompress(data), rng), 1)


def damage_archive(data: bytes, rng: random.Random) -> bytes:
    """The zip file, its members, or the arrays in them."""
    kind = rng.random()
    if kind < 0.4:
        return damage_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    if kind < 0.7:
        way = rng.randrange(6)
        if way == 0:
            del members[at]
        elif way == 1:
            members.append((name, content))
        elif way == 2:
            members[at] = (name, rng.choice(members)[1])
        elif way == 3:
            members[at] = (rng.choice(("x", "../x.npy", "y", "a" * 300 + ".npy", "\x1b.npy")), content)
        else:
            members[at] = (name, damage_bytes(content, rng))
    elif name.endswith(".npy"):
        stream = io.BytesIO()
        np.save(stream, _damaged_array(np.load(io.BytesIO(content)), rng), allow_pickle=True)
        members[at] = (name, stream.getvalue())
    stream = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def _damaged_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    changes: list[Callable[[], Any]] = [
        lambda: array.astype(rng.choice(("U8", "S8", "c16", "i8", "f2", "?", "u8", "O", "f4"))),
        lambda: np.array(rng.choice((0, -1, 10**18, -(10**18), 0.5, "x", 1j, np.nan, True))),
        lambda: array.T,
        lambda: array[None],
        lambda: array[..., None],
        lambda: array.reshape(-1)[:0],
        lambda: np.zeros((0, 3)),
        lambda: np.full(array.shape, rng.choice((np.nan, np.inf, -1.0, 1e308, 0.0))),
        lambda: np.concatenate([array, array]) if array.ndim else array,
        lambda: array.reshape(-1),
        lambda: np.zeros(10_000),
    ]
    try:
        return np.asarray(rng.choice(changes)())
    except (TypeError, ValueError, IndexError, OverflowError):
        return np.zeros(3)


def damage_json(data: bytes, rng: random.Random) -> bytes:
    """Values and keys of a tree, or its text."""
    if rng.random() < 0.3:
        return damage_text(data, rng)
    tree = json.loads(data)
    for _ in range(rng.choice((1, 1, 2))):
        tree = _damaged_tree(tree, rng)
    return json.dumps(tree).encode()


def _damaged_tree(tree: Any, rng: random.Random) -> Any:
    nodes: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        for key in keys:
            nodes.append((node, key))
            todo.append(node[key])
    if not nodes or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(VALUES))
    node, key = rng.choice(nodes)
    way = rng.random()
    if way < 0.7:
        node[key] = copy.deepcopy(rng.choice(VALUES))
    elif way < 0.8:
        del node[key]
    elif way < 0.9 and isinstance(node, dict):
        node[rng.choice(("x", "", "l_max", "n_layers", "cutoff", "format_version"))] = copy.deepcopy(
            rng.choice(VALUES)
        )
    else:
        deep: Any = 0
        for _ in range(rng.choice((10, 70, 2000))):
            deep = [deep]
        try:
            json.dumps(deep)
            node[key] = deep
        except RecursionError:
            node[key] = [[[]]]
    return tree
