"""Text files as programs, editors and crashes leave them: nothing is lost, cut or mistaken in silence."""

from __future__ import annotations

import bz2
import gzip
import lzma

import ase.io
import numpy as np
import pytest
from click.testing import CliRunner

from propensity.cli.annotate import command as annotate_command
from propensity.errors import DataError, InputError, MissingDependencyError
from propensity.predictor import Predictor
from propensity.trajectory import BrokenFrameError, annotate, open_trajectory

from .conftest import LAMMPS, to_atoms, universe, write_dump

NAMES = np.array(["A", "B"])


def write_xyz(
    path, frames, header='Lattice="{L} 0 0 0 {L} 0 0 0 {L}" Properties=species:S:1:pos:R:3', names=NAMES
):
    """XYZ of particles called A and B, with a comment of any dialect."""
    with path.open("w") as stream:
        for frame in frames:
            stream.write(f"{len(frame)}\n{header.format(L=frame.cell[0, 0])}\n")
            for kind, position in zip(frame.types, frame.positions, strict=True):
                stream.write(" ".join([str(names[kind]), *map(repr, position.tolist())]) + "\n")
    return path


def write_data(path, frame, *, style="atomic", labels=None, tilt=False, order=None):
    """LAMMPS data file of the given atom style, in an order of its own."""
    edge = frame.cell[0, 0]
    kinds = [labels[k] if labels else k + 1 for k in frame.types]
    before = {"atomic": "{i} {t}", "charge": "{i} {t} 0.5", "molecular": "{i} 7 {t}", "full": "{i} 7 {t} 0.5"}
    lines = ["made by hand (written in 1999)", "", f"{len(frame)} atoms", "2 atom types", ""]
    lines += [f"-1.0 {edge - 1} {x}lo {x}hi" for x in "xyz"]
    lines += ["0.1 0 0 xy xz yz"] if tilt else []
    if labels:
        lines += ["", "Atom Type Labels", "", *(f"{k + 1} {name}" for k, name in enumerate(labels))]
    lines += ["", "Masses", "", "1 1.0", "2 1.0", "", f"Atoms # {style}", ""]
    for i in np.random.default_rng(0).permutation(len(frame)) if order is None else order:
        x, y, z = (float(v) - 1 for v in frame.positions[i])
        lines.append(f"{before[style].format(i=i + 1, t=kinds[i])} {x!r} {y!r} {z!r} 0 0 -1  # a note")
    lines += ["", "Velocities", "", *(f"{i + 1} {i} 0 0" for i in range(len(frame)))]
    path.write_text("\n".join(lines) + "\n")
    return path


def by_id(predictor, frame):
    """Propensities of a frame in the order of its ids."""
    p = predictor.predict(frame.structure(predictor.species, predictor.species_map))
    return p[np.argsort(frame.arrays["id"])] if "id" in frame.arrays else p


@pytest.fixture
def labelled(tiny_model):
    """Predictor for files whose particles are called A and B."""
    return Predictor(tiny_model, dtype="float64")


# Ends and gaps


@pytest.mark.parametrize("cut", [1, 3, 9])
@pytest.mark.parametrize("kind", ["dump", "xyz", "dump.gz"])
def test_a_frame_whose_last_line_has_no_line_end_is_refused(kind, cut, tmp_path, frames, predictor):
    write = write_xyz if kind == "xyz" else write_dump
    path = write(tmp_path / f"t.{kind}", frames[:2])
    text = path.read_bytes()[:-cut]
    path.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
    predictor.species_map = None if kind == "xyz" else predictor.species_map
    with pytest.raises(BrokenFrameError, match=r"frame 1 can't be read: .*no line end.*the 1 frame"):
        annotate(path, tmp_path / "out.extxyz", predictor)
    assert len(ase.io.read(tmp_path / "out.extxyz", ":")) == 1


def test_other_text_formats_are_refused_at_such_an_end_too(tmp_path, frames):
    data = write_data(tmp_path / "t.data", frames[0])
    data.write_bytes(data.read_bytes()[:-2])
    with pytest.raises(DataError, match="no line end"):
        list(open_trajectory(data))
    u = universe(frames[:1])
    u.atoms.write(tmp_path / "t.gro")
    gro = tmp_path / "t.gro"
    assert len(list(open_trajectory(gro))) == 1
    gro.write_bytes(gro.read_bytes().rstrip()[:-1])
    with pytest.raises(DataError, match=r"frame 0 can't be read.*no line end"):
        list(open_trajectory(gro))


@pytest.mark.parametrize("blank", ["\n", "\n\n", "  \n", "\r\n"])
def test_empty_lines_between_frames_of_xyz_end_nothing(blank, tmp_path, frames, labelled):
    path = write_xyz(tmp_path / "t.xyz", frames)
    one = path.read_text().splitlines(keepends=True)
    n = len(frames[0]) + 2
    path.write_text(blank.join("".join(one[k : k + n]) for k in range(0, 4 * n, n)) + blank)
    read = list(open_trajectory(path))
    assert len(read) == 4
    for ours, frame in zip(read, frames, strict=True):
        assert np.allclose(by_id(labelled, ours), labelled.predict(frame), atol=1e-9)


@pytest.mark.parametrize("where", ["between lines", "inside a line", "inside the header"])
@pytest.mark.parametrize("kind", ["dump", "xyz"])
def test_a_frame_that_was_cut_and_appended_to_is_named_and_passed(kind, where, tmp_path, frames):
    write = write_xyz if kind == "xyz" else write_dump
    path = write(tmp_path / f"t.{kind}", frames)
    lines = path.read_text().splitlines(keepends=True)
    n = len(lines) // 4
    middle = "".join(lines[n : n + 60])
    if where == "inside the header":
        middle = "".join(lines[n : n + (1 if kind == "xyz" else 4)])
    if where == "inside a line":
        middle = middle[:-4] + ("\n" if kind == "xyz" else "")
    path.write_text("".join(lines[:n]) + middle + "".join(lines[2 * n :]))
    with pytest.raises(DataError, match="frame 1 can't be read") as error:
        list(open_trajectory(path))
    if where == "between lines":
        assert "start at 2" in str(error.value)
    behind = list(open_trajectory(path, start=2))
    assert [frame.number for frame in behind] == [2, 3]
    ids = [np.argsort(f.arrays["id"]) if kind == "dump" else slice(None) for f in behind]
    for ours, frame, order in zip(behind, frames[2:], ids, strict=True):
        shift = 3.25 if kind == "dump" else 0
        assert np.allclose(ours.positions[order] + shift, frame.positions)
    assert [frame.number for frame in open_trajectory(path, step=2)] == [0, 2]


@pytest.mark.parametrize("count", ["9" * 21, "9223372036854775808", "1e3", "-3", "²", "9" * 5000])
@pytest.mark.parametrize("kind", ["dump", "xyz"])
def test_absurd_numbers_of_particles(kind, count, tmp_path, frames):
    write = write_xyz if kind == "xyz" else write_dump
    path = write(tmp_path / f"t.{kind}", frames)
    lines = path.read_text().splitlines()
    lines[len(lines) // 4 + (0 if kind == "xyz" else 3)] = count
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="frame 1 can't be read"):
        list(open_trajectory(path))
    # Skipped, it hides nothing behind it, where it can be told from what a particle too many would be.
    if kind == "dump" or count.isdecimal():
        assert [frame.number for frame in open_trajectory(path, step=2)] == [0, 2]


def test_a_cut_archive_is_named_and_what_came_before_is_kept(tmp_path, frames, tiny_model):
    path = write_dump(tmp_path / "t.dump", frames * 20)
    whole = gzip.compress(path.read_bytes())
    cut = tmp_path / "t.dump.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    arguments = [
        str(cut),
        "-o",
        str(tmp_path / "o.extxyz"),
        "-m",
        str(tiny_model),
        "--species-map",
        "1=A,2=B",
    ]
    done = CliRunner().invoke(annotate_command, [*arguments, "--step", "3", "-q"], standalone_mode=False)
    assert isinstance(done.exception, BrokenFrameError) and "can't be read: Compressed file" in str(
        done.exception
    )
    n = done.exception.summary.n_frames
    assert 8 < n < 16 and len(ase.io.read(tmp_path / "o.extxyz", ":")) == n


@pytest.mark.parametrize("suffix", [".gz", ".GZ", ".bz2", ".xz", ".zst", ""])
@pytest.mark.parametrize("kind", ["dump", "xyz", "data"])
def test_compressed_text_is_known_by_its_content(kind, suffix, tmp_path, frames, labelled):
    labelled.species_map = {1: "A", 2: "B", "A": "A", "B": "B"}
    path = tmp_path / f"t.{kind}"
    {"dump": write_dump, "xyz": write_xyz, "data": lambda p, f: write_data(p, f[0])}[kind](path, frames[:1])
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, "": gzip.compress}
    if suffix == ".zst":
        pack[suffix] = pytest.importorskip("zstandard").compress
    path.with_name(path.name + suffix).write_bytes(pack[suffix.lower()](path.read_bytes()))
    (frame,) = open_trajectory(path.with_name(path.name + suffix))
    assert np.allclose(by_id(labelled, frame), labelled.predict(frames[0]), atol=1e-9)


def test_zstd_without_its_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "t.dump").write_bytes(b"\x28\xb5\x2f\xfd rest")
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    monkeypatch.setitem(__import__("sys").modules, "compression", None)
    with pytest.raises(MissingDependencyError, match=r"t\.dump is compressed by zstd.*pip install"):
        open_trajectory(tmp_path / "t.dump")


# Labels


@pytest.mark.parametrize("column", ["typelabel", "type", "element"])
@pytest.mark.parametrize("names", [("A", "B"), ("1", "2"), ("large", "a name of more than sixteen letters")])
def test_labels_of_dumps_are_read_as_they_are_written(column, names, tmp_path, frames, labelled):
    if column == "typelabel" and names[0] == "1":
        pytest.skip("LAMMPS allows no label that begins with a digit")
    path = write_dump(tmp_path / "t.dump", frames[:1])
    lines = path.read_text().replace(" type c_pe", f" {column} c_pe").splitlines()
    k = lines.index(next(line for line in lines if line.startswith("ITEM: ATOMS")))
    words = [name.replace(" ", "_") for name in names]
    for i in range(k + 1, len(lines)):
        fields = lines[i].split()
        fields[-2] = words[int(fields[-2]) - 1]
        lines[i] = " ".join(fields)
    path.write_text("\n".join(lines) + "\n")
    labelled.species_map = dict(zip(words, "AB", strict=True))
    (frame,) = open_trajectory(path)
    assert np.allclose(by_id(labelled, frame), labelled.predict(frames[0]), atol=1e-9)


@pytest.mark.parametrize(
    ("properties", "names", "species_map"),
    [
        ("species:I:1:pos:R:3", (1, 2), {1: "A", 2: "B"}),
        ("species:I:1:pos:R:3", (0, 1), {0: "A", 1: "B"}),
        ("element:S:1:pos:R:3", ("A", "B"), None),
        ("element:S:1:pos:R:3", ("Ni", "P"), {"Ni": "A", "P": "B"}),
        ("name:S:1:pos:R:3", ("A", "B"), None),
        ("species:S:1:pos:R:3", ("AL", "x1"), {"AL": "A", "x1": "B"}),
        ("type:S:1:pos:R:3", ("A", "B"), None),
        ("type:R:1:pos:R:3", ("1", "2"), {1: "A", 2: "B"}),
        ("type:I:1:pos:R:3", (1, 2), {1: "A", 2: "B"}),
    ],
)
def test_labels_of_extended_xyz(properties, names, species_map, tmp_path, frames, labelled):
    header = 'Lattice="{L} 0 0 0 {L} 0 0 0 {L}" Properties=' + properties
    path = write_xyz(tmp_path / "t.extxyz", frames[:1], header, names)
    labelled.species_map = species_map
    (frame,) = open_trajectory(path)
    assert np.allclose(by_id(labelled, frame), labelled.predict(frames[0]), atol=1e-9)
    for output in ("o.extxyz", "o.dump"):
        annotate(path, tmp_path / output, labelled)
        again = next(iter(open_trajectory(tmp_path / output)))
        assert np.allclose(again.arrays["propensity"], labelled.predict(frames[0])[:, 2], atol=1e-6)


@pytest.mark.parametrize("species_map", [None, {1: "A", 2: "B"}])
def test_species_and_types_together_in_extended_xyz(species_map, tmp_path, frames, labelled):
    header = 'Lattice="{L} 0 0 0 {L} 0 0 0 {L}" Properties=species:S:1:type:I:1:pos:R:3'
    path = write_xyz(tmp_path / "t.extxyz", frames[:1], header, ("A 1", "B 2"))
    labelled.species_map = species_map
    (frame,) = open_trajectory(path)
    assert set(frame.labels) == {"label", "type"}
    assert np.allclose(by_id(labelled, frame), labelled.predict(frames[0]), atol=1e-9)


def test_rows_with_too_many_or_too_few_columns_are_refused(tmp_path, frames):
    path = write_xyz(tmp_path / "t.extxyz", frames[:1])
    lines = path.read_text().splitlines()
    for damaged in (lines[40] + " 7.0", lines[40].rpartition(" ")[0]):
        path.write_text("\n".join([*lines[:40], damaged, *lines[41:]]) + "\n")
        with pytest.raises(DataError, match=r"frame 0 .*4 columns are named and line 39"):
            list(open_trajectory(path))


# Headers


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    "header",
    [
        "step:100 columns:species,position dt:0.004 cell:{L},{L},{L}",
        "ioformat=1 dt=0.005 timeStepIndex=0 boxLengths={L},{L},{L} numTypes=2 mass=1,1 columns=type,x,y,z",
        "ioformat=2 numTypes=2 sim_box=RectangularSimulationBox,{L},{L},{L} mass=1,1 columns=type,x,y,z",
    ],
)
def test_boxes_in_the_headers_of_atooms_and_rumd(header, centred, tmp_path, frames, labelled):
    half = frames[0].cell[0, 0] / 2
    shown = [f.with_positions(f.positions - half) if centred else f for f in frames]
    labelled.species_map = {"A": "A", "B": "B", "0": "A", "1": "B"}
    path = write_xyz(tmp_path / "t.xyz", shown, header, NAMES if "atooms" in header else (0, 1))
    read = list(open_trajectory(path))
    assert len(read) == 4 and all(frame.pbc.all() for frame in read)
    for ours, frame in zip(read, frames, strict=True):
        assert np.allclose(ours.origin if centred else 0, -half if centred else 0)
        assert np.allclose(by_id(labelled, ours), labelled.predict(frame), atol=1e-9)


def test_other_columns_of_such_headers_are_kept(tmp_path, frames):
    header = "ioformat=2 sim_box=RectangularSimulationBox,{L},{L},{L} columns=type,imx,imy,imz,pe,x,y,z"
    path = write_xyz(tmp_path / "t.xyz", frames[:1], header, ("0 1 2 3 -6.5", "1 4 5 6 -7.5"))
    (frame,) = open_trajectory(path)
    assert np.allclose(frame.positions, frames[0].positions)
    assert frame.arrays["image"][0].tolist() == [1, 2, 3] and frame.arrays["pe"][0] == -6.5
    bent = write_xyz(
        tmp_path / "b.xyz",
        frames[:1],
        "ioformat=2 sim_box=LeesEdwardsSimulationBox,1,1,1,0 columns=type,x,y,z",
        (0, 1),
    )
    with pytest.raises(DataError, match="LeesEdwardsSimulationBox"):
        list(open_trajectory(bent))


def test_a_box_can_be_given_to_files_without(tmp_path, frames, labelled):
    path = write_xyz(tmp_path / "t.xyz", frames, "a comment")
    edge = float(frames[0].cell[0, 0])
    for box in (edge, [edge] * 3):
        (frame, *_) = open_trajectory(path, box=box)
        assert np.allclose(by_id(labelled, frame), labelled.predict(frames[0]), atol=1e-9)
    annotate(path, tmp_path / "o.extxyz", labelled, box=edge)
    assert np.allclose(ase.io.read(tmp_path / "o.extxyz").cell, frames[0].cell)
    with pytest.raises(DataError, match="box of its own"):
        list(open_trajectory(write_xyz(tmp_path / "u.xyz", frames), box=edge))
    for wrong in (0.0, -1.0, [1.0, 2.0], np.nan):
        with pytest.raises(InputError, match="three positive edges"):
            open_trajectory(path, box=wrong)


def test_a_gsd_file_without_a_box_is_refused(tmp_path, frames, labelled):
    hoomd = pytest.importorskip("gsd.hoomd")
    with hoomd.open(str(tmp_path / "t.gsd"), "w") as file:
        snapshot = hoomd.Frame()
        snapshot.particles.N, snapshot.particles.types = 120, ["A", "B"]
        snapshot.particles.typeid, snapshot.particles.position = frames[0].types, frames[0].positions
        file.append(snapshot)
    with pytest.raises(DataError, match="frame 0 can't be read: it has no box"):
        list(open_trajectory(tmp_path / "t.gsd"))
    (frame,) = open_trajectory(tmp_path / "t.gsd", box=float(frames[0].cell[0, 0]))
    assert np.allclose(by_id(labelled, frame), labelled.predict(frames[0]), atol=1e-5)


# LAMMPS data files


@pytest.mark.parametrize("labels", [None, ("A", "B"), ("#2", "large one")][:2])
@pytest.mark.parametrize("style", ["atomic", "charge", "molecular", "full"])
@pytest.mark.parametrize("name", ["ka.data", "data.ka", "ka.lmp", "ka.txt", "ka"])
def test_data_files_are_read_by_their_content(name, style, labels, tmp_path, frames, labelled):
    path = write_data(tmp_path / name, frames[0], style=style, labels=labels)
    labelled.species_map = None if labels else {1: "A", 2: "B"}
    (frame,) = open_trajectory(path)
    assert np.allclose(by_id(labelled, frame), labelled.predict(frames[0]), atol=1e-9)
    assert frame.origin.tolist() == [-1, -1, -1] and frame.arrays["image"][0].tolist() == [0, 0, -1]
    assert np.array_equal(frame.arrays["velocities"][:, 0], frame.arrays["id"] - 1)
    assert list(open_trajectory(path, start=1)) == []


def test_data_files_by_lammps_are_those_that_ase_reads(frames):
    (frame,) = open_trajectory(LAMMPS / "topology.data")
    atoms = ase.io.read(LAMMPS / "topology.data", format="lammps-data")
    assert np.allclose(frame.cell, atoms.cell.array) and len(frame) == len(atoms)
    order = np.argsort(frame.arrays["id"])
    ids = np.argsort(atoms.arrays["id"])
    assert np.array_equal(frame.arrays["type"][order], atoms.arrays["type"][ids])


def test_data_files_name_the_particles_of_other_files(tmp_path, frames, labelled):
    path = write_data(tmp_path / "names.lmp", frames[0], labels=("A", "B"))
    universe(frames).atoms.write(tmp_path / "t.dcd", frames="all")
    read = list(open_trajectory(tmp_path / "t.dcd", path))
    assert len(read) == 4
    for ours, frame in zip(read, frames, strict=True):
        assert np.allclose(by_id(labelled, ours), labelled.predict(frame), atol=1e-4)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.replace("120 atoms", "121 atoms"), "shorter|ends after"),
        (lambda t: t.replace("zlo zhi", "zlo  zhj"), "zlo zhi"),
        (lambda t: t[: t.index("Atoms #") + 900], "ends"),
        (lambda t: t[: t.index("Atoms #")], "no section Atoms"),
        (lambda t: t.replace("Atoms # atomic", "Atoms # wavepacket"), "wavepacket"),
        (lambda t: t.replace("\n3 2 0 0\n", "\n300 2 0 0\n"), "Velocities"),
    ],
)
def test_damaged_data_files(damage, message, tmp_path, frames):
    path = write_data(tmp_path / "t.data", frames[0])
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=f"frame 0 can't be read: .*({message})"):
        list(open_trajectory(path))


# Corners of boxes


def test_the_corner_of_a_slab_survives_in_every_output(tmp_path, frames, labelled):
    atoms = to_atoms(frames[0])
    atoms.set_cell([*np.diag(frames[0].cell)[:2], 20.0])
    atoms.positions[:, 2] -= 10 - 6
    atoms.info["Origin"] = np.array([0.0, 0.0, -10.0])
    ase.io.write(tmp_path / "t.extxyz", atoms)
    labelled.species_map = {"Ni": "A", "P": "B"}
    with pytest.warns(UserWarning):
        for output in ("o.dump", "o.extxyz", "o.h5"):
            annotate(tmp_path / "t.extxyz", tmp_path / output, labelled)
    for output in ("o.dump", "o.extxyz"):
        (frame,) = open_trajectory(tmp_path / output)
        assert frame.origin.tolist() == [0, 0, -10]
        assert (frame.positions[:, 2] >= -10).all() and (frame.positions[:, 2] < 10).all()
    import h5py

    with h5py.File(tmp_path / "o.h5") as file:
        assert file["particles/all/box/origin/value"][0].tolist() == [0, 0, -10]
