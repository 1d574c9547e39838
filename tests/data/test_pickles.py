"""A pickle from a stranger: data are read, everything else is refused and nothing runs."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.data.formats.pickles import load_pickle, parse_pickle
from propensity.errors import DataError


class Calls:
    """Pickles into a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments, state=None):
        self.recipe = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.recipe


PLAIN = {
    "none": None,
    "flags": [True, False],
    "ints": [0, -1, 255, 65536, 2**31, -(2**40), 2**70],
    "floats": [0.1, -1e300, float("inf")],
    "text": "F_s ½",
    "bytes": b"\x00\xff",
    "nested": {"a": [{"b": (1, 2, 3, (4,), ())}]},
    1: "integer key",
    "f8": np.arange(12.0).reshape(3, 4),
    "i4": np.arange(6, dtype=np.int32)[::2],
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(4, dtype=">f4"),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3)),
    "scalar": np.float64(1.5),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_are_read_at_every_protocol(protocol):
    # Protocols 0 and 1 write tuples in arrays by the same instructions; bytes need _codecs.encode.
    assert_same(parse_pickle(pickle.dumps(PLAIN, protocol)), PLAIN)


def assert_same(a, b):
    np.testing.assert_equal(a, b)
    if isinstance(b, np.ndarray):
        assert a.dtype == b.dtype


def test_shared_and_repeated_objects(tmp_path):
    array = np.arange(3.0)
    loaded = parse_pickle(pickle.dumps([array, array, [array]]))
    assert loaded[0] is loaded[1] is loaded[2][0]


def test_files_of_the_data_set_equal_what_pickle_reads(data):
    for name in ("bapst_small.pickle", "bapst_targets.pickle"):
        ours = load_pickle(data / name)
        np.testing.assert_equal(ours, pickle.loads((data / name).read_bytes()))


def exploits(marker: str) -> dict[str, bytes]:
    """Pickles that would create ``marker`` (or worse) if anything in them ran."""
    command = f"touch {marker}"
    code = f"open({marker!r}, 'w').close()"

    def raw(text: str) -> bytes:
        return text.encode()

    object_array = np.empty(1, dtype=object)
    object_array[0] = Calls(os.system, command)

    class Overwrites(np.ndarray):
        """Array whose state carries a call."""

        def __reduce__(self):
            make, arguments, state = np.zeros(2).__reduce__()
            return make, arguments, (*state[:4], Calls(os.system, command))

    return {
        "os.system": pickle.dumps(Calls(os.system, command)),
        "os.system, protocol 0": pickle.dumps(Calls(os.system, command), 0),
        "posix.system by text": raw(f"cposix\nsystem\n(S'{command}'\ntR."),
        "subprocess": pickle.dumps(Calls(subprocess.check_call, ["touch", marker])),
        "builtins.eval": pickle.dumps(Calls(eval, f"__import__('os').system({command!r})")),
        "builtins.exec": pickle.dumps(Calls(exec, code)),
        "python 2 names": raw(f"c__builtin__\neval\n(S'{code}'\ntR."),
        "getattr chain": pickle.dumps(Calls(getattr, Calls(__import__, "os"), "system")),
        "nested attribute by STACK_GLOBAL": b"\x80\x04\x8c\x08builtins\x8c\x0bgetattr.foo\x93.",
        "attribute of numpy": raw("cnumpy\ndtype.__class__\n."),
        "numpy.load": pickle.dumps(Calls(np.load, marker)),
        "numpy testing runstring": raw(f"cnumpy.testing._private.utils\nrunstring\n(S'{code}'\n(dtR."),
        "numpy exec_command": raw(f"cnumpy.distutils.exec_command\n_exec_command\n(S'{command}'\ntR."),
        "object array": pickle.dumps(object_array),
        "object array, protocol 2": pickle.dumps(object_array, 2),
        "call hidden in an array's state": pickle.dumps(np.zeros(2).view(Overwrites)),
        "call hidden in a dict": pickle.dumps({"positions": np.zeros(3), "x": [Calls(os.system, command)]}),
        "reconstruct of another class": raw(
            "cnumpy.core.multiarray\n_reconstruct\n(cbuiltins\nobject\n(I0\ntS'b'\ntR."
        ),
        "INST": raw(f"(S'{command}'\nios\nsystem\n."),
        "OBJ": raw(f"(cos\nsystem\nS'{command}'\no."),
        "NEWOBJ": b"\x80\x02cos\nsystem\nU\x04true\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85}\x92.",
        "BUILD on a constructor": raw("cnumpy\ndtype\n}S'make'\nI1\nsb."),
        "BUILD with __setstate__ of an instance": pickle.dumps(Calls(OrderedDict, state={"a": 1})),
        "call of a read array": raw("cnumpy\nndarray\n(I1\ntR(tR."),
        "persistent id": b"\x80\x03U\x02idQ.",
        "persistent id by text": raw("Pid\n."),
        "extension registry": b"\x80\x02\x82\x01.",
        "a class of ours": pickle.dumps(Calls(io.BytesIO, b"x")),
        "function itself": pickle.dumps(builtins.print),
        "constructor as data": raw("cnumpy\ndtype\n."),
        "tuple as key": pickle.dumps({(1, 2): 3}),
    }


NAMES = list(exploits("marker"))


@pytest.mark.parametrize("name", NAMES)
def test_malicious_pickles_are_refused_and_execute_nothing(name, tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "evil.pickle"
    path.write_bytes(exploits(str(marker))[name])
    with pytest.raises(DataError, match=r"evil\.pickle") as caught:
        open_dataset(path)[0]
    assert not marker.exists()
    assert "\n" not in str(caught.value)


LIVE = [
    "os.system",
    "posix.system by text",
    "builtins.exec",
    "object array",
    "INST",
    "OBJ",
    "call hidden in a dict",
]


@pytest.mark.parametrize("name", LIVE)
def test_the_exploits_are_live_ammunition(name, tmp_path):
    """Python's own unpickler runs them, else refusing them would show nothing."""
    marker = tmp_path / "marker"
    script = "import pickle, sys; pickle.load(sys.stdin.buffer)"
    subprocess.run([sys.executable, "-c", script], input=exploits(str(marker))[name], capture_output=True)
    assert marker.exists()


def array_pickle(shape: tuple, dtype: str, data: bytes) -> bytes:
    """Array with a state of our choice."""
    make, arguments, _ = np.zeros(1).__reduce__()
    return pickle.dumps(Calls(make, *arguments, state=(1, shape, np.dtype(dtype), False, data)), 3)


LIES = {
    "bytes8": b"\x80\x04\x8e" + struct.pack("<Q", 2**60),
    "bytes": b"\x80\x03B" + struct.pack("<I", 2**32 - 1) + b"x.",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b".",
    "long": b"\x80\x03\x8b" + struct.pack("<I", 2**31 - 1) + b".",
    "decimal": b"I" + b"9" * 10**6 + b"\n.",
    "shape": array_pickle((2**40,), "f8", b"12345678"),
    "product of the shape": array_pickle((2**62, 2**62), "f8", b""),
    "negative": array_pickle((-1,), "f8", b"12345678"),
    "short": array_pickle((3,), "f8", b"12345678"),
}
#: The unpickler of Python allocates 16 GB for the first of these.
HARMLESS = {
    "memo index": b"\x80\x03Nr" + struct.pack("<I", 2**31 - 1) + b".",
    "frame": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_sizes_that_lie_take_no_memory(tmp_path):
    for name, payload in {**LIES, **HARMLESS}.items():
        (tmp_path / f"{name}.pickle").write_bytes(payload)
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from propensity.data.formats.pickles import load_pickle\n"
        "from propensity.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "for path in Path(sys.argv[1]).iterdir():\n"
        "    try:\n        load_pickle(path); print(path.stem)\n"
        "    except DataError: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == set(HARMLESS)


@pytest.mark.parametrize("depth", [10**5])
def test_deep_nesting_does_not_exhaust_the_stack(depth, tmp_path):
    nested_lists = b"\x80\x03" + b"]" * depth + b"a" * (depth - 1) + b"."
    loaded = parse_pickle(nested_lists)
    assert isinstance(loaded, list)
    with pytest.raises(DataError):
        parse_pickle(b"\x80\x03}N" + b"\x85" * depth + b"Ns.")
    while loaded:  # take it apart from outside, so that freeing it is shallow
        loaded = loaded.pop()


def test_lists_that_contain_themselves_end(tmp_path):
    loop: list = []
    loop.append(loop)
    loaded = parse_pickle(pickle.dumps(loop))
    assert loaded[0] is loaded


@pytest.mark.parametrize("cut", [0, 1, 10, 1000, 20_000, 180_000])
def test_truncated_files(data, cut, tmp_path):
    path = tmp_path / "cut.pickle"
    path.write_bytes((data / "bapst_small.pickle").read_bytes()[:cut])
    with pytest.raises(DataError, match=r"cut\.pickle"):
        load_pickle(path)


def test_damaged_bytes_never_raise_anything_but_data_errors(data):
    good = (data / "bapst_targets.pickle").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        bad = bytearray(good)
        for at in rng.integers(0, 2000, 3):
            bad[at] = rng.integers(256)
        try:
            parse_pickle(bytes(bad))
        except DataError:
            refused += 1
    assert refused > 100


def test_missing_and_unreadable(tmp_path):
    with pytest.raises(DataError, match="can't be read"):
        load_pickle(Path(tmp_path / "none.pickle"))
    with pytest.raises(DataError, match="can't be read"):
        load_pickle(tmp_path)
