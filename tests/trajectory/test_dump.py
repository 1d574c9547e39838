"""LAMMPS dumps: real ones by LAMMPS, and every column kept."""

from __future__ import annotations

import gzip
import io
import re

import ase.io
import numpy as np
import pytest

from propensity.errors import DataError
from propensity.trajectory.dump import format_dump, read_dump
from propensity.trajectory.frame import Frame
from propensity.trajectory.readers import open_trajectory
from tests.trajectory.conftest import LAMMPS, write_dump

NOTHING = re.compile("(?!)")


def read(name):
    with (LAMMPS / name).open() as stream:
        return list(read_dump(stream))


def test_a_dump_with_everything_is_read_as_lammps_wrote_it():
    frames = read("triclinic.dump")
    assert [frame.step for frame in frames] == [0, 50, 100]
    assert [frame.time for frame in frames] == [0.0, 0.1, 0.2]
    first = frames[0]
    assert np.allclose(first.cell, [[5.2, 0, 0], [1, 4.2, 0], [-0.8, 0.6, 4.2]])
    assert np.allclose(first.origin, [-2.6, -2.1, -2.1])
    assert first.pbc.all()
    assert set(first.arrays) == {
        "id",
        "type",
        "element",
        "xu",
        "yu",
        "zu",
        "velocities",
        "forces",
        "image",
        "c_pe",
    }
    assert first.arrays["image"].dtype.kind == "i"
    unwrapped = np.stack([first.arrays[k] for k in ("xu", "yu", "zu")], axis=1)
    images = first.arrays["image"]
    assert np.abs(images).max() > 0
    assert np.allclose(first.positions + images @ first.cell, unwrapped, atol=2e-5)


def test_ase_reads_the_same_cell_and_positions():
    for ours, theirs in zip(
        read("triclinic.dump"),
        ase.io.read(LAMMPS / "triclinic.dump", ":", format="lammps-dump-text"),
        strict=True,
    ):
        order = np.argsort(ours.arrays["id"])
        assert np.allclose(ours.cell, theirs.cell.array)
        delta = (ours.positions[order] - theirs.positions) @ np.linalg.inv(ours.cell)
        assert np.allclose(delta - delta[0], np.round(delta - delta[0]), atol=1e-5)


def test_scaled_coordinates_are_those_of_the_other_dump():
    for custom, scaled in zip(read("triclinic.dump"), read("scaled.lammpstrj"), strict=True):
        assert np.array_equal(custom.arrays["id"], scaled.arrays["id"])
        assert np.allclose(custom.positions, scaled.positions, atol=2e-5)


def test_unwrapped_coordinates_serve_where_there_are_no_others():
    with (LAMMPS / "triclinic.dump").open() as stream:
        text = re.sub(r" x y z ", " c_1 c_2 c_3 ", stream.read())
    frame = next(read_dump(io.StringIO(text)))
    assert np.allclose(
        frame.positions,
        read("triclinic.dump")[0].positions + frame.arrays["image"] @ frame.cell,
        atol=2e-5,
    )


@pytest.mark.parametrize(
    ("flags", "pbc"),
    [
        ("pp pp pp", [1, 1, 1]),
        ("pp ff pp", [1, 0, 1]),
        ("ss fs pp", [0, 0, 1]),
        ("mm sm fm", [0, 0, 0]),
        ("", [1, 1, 1]),
    ],
)
def test_boundaries(flags, pbc):
    text = (
        f"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS {flags}\n0 1\n0 1\n0 1\nITEM: ATOMS"
        " id type x y z\n1 1 0 0 0\n"
    )
    assert next(read_dump(io.StringIO(text))).pbc.tolist() == [bool(p) for p in pbc]


def test_a_general_triclinic_box():
    text = (
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS abc origin pp pp ff\n"
        "0 3 0 -1\n2 0 0 5\n1 0 4 0\nITEM: ATOMS id type x y z\n1 1 0 0 0\n"
    )
    frame = next(read_dump(io.StringIO(text)))
    assert frame.cell.tolist() == [[0, 3, 0], [2, 0, 0], [1, 0, 4]]
    assert frame.origin.tolist() == [-1, 5, 0]
    assert frame.pbc.tolist() == [True, True, False]


def test_written_lines_begin_with_those_that_were_read():
    with (LAMMPS / "triclinic.dump").open() as stream:
        before = stream.read().splitlines()
    frames = read("triclinic.dump")
    after = "".join(
        format_dump(f, {"propensity": np.arange(len(f)) / 8}, np.zeros(len(f), int), NOTHING) for f in frames
    ).splitlines()
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert new.startswith(old.rstrip())
    assert next(line for line in after if "ATOMS id" in line).endswith("c_pe propensity")
    again = next(read_dump(io.StringIO("\n".join(after))))
    assert np.array_equal(again.arrays["propensity"], np.arange(len(again)) / 8)


def test_columns_to_be_replaced_leave_no_trace():
    frame = read("triclinic.dump")[0]
    once = format_dump(frame, {"propensity": np.ones(110)}, np.zeros(110, int), NOTHING)
    frame = next(read_dump(io.StringIO(once)))
    twice = format_dump(frame, {"propensity": np.ones(110)}, np.zeros(110, int), re.compile("propensity"))
    assert twice == once


CELLS = {
    "cubic": np.eye(3) * 3,
    "restricted triclinic": np.array([[3.0, 0, 0], [0.7, 2.5, 0], [-0.9, 0.3, 2.0]]),
    "any orientation": np.array([[0.1, 3.0, 0.2], [2.6, 0.3, 0], [0.4, 0.2, 2.9]]),
}


@pytest.mark.parametrize("origin", [None, np.array([-1.0, 2.0, 0.5])], ids=["at zero", "elsewhere"])
@pytest.mark.parametrize("name", CELLS)
def test_frames_of_other_formats_survive_a_round_trip(name, origin):
    rng = np.random.default_rng(0)
    arrays = {"velocities": rng.normal(size=(5, 3)), "charge": rng.normal(size=5), "tag": np.arange(5)}
    frame = Frame(
        3, rng.random((5, 3)), CELLS[name], np.array([True, False, True]), {}, arrays, step=70, origin=origin
    )
    back = next(read_dump(io.StringIO(format_dump(frame, {}, np.array([0, 1, 0, 1, 0]), NOTHING))))
    assert np.allclose(back.cell, frame.cell, atol=1e-12)
    assert np.allclose(back.origin, 0 if origin is None else origin, atol=1e-12)
    assert np.allclose(back.positions, frame.positions, atol=1e-8)
    assert back.pbc.tolist() == [True, False, True]
    assert back.step == 70
    assert back.arrays["type"].tolist() == [1, 2, 1, 2, 1]
    assert back.arrays["id"].tolist() == [1, 2, 3, 4, 5]
    assert np.allclose(back.arrays["velocities"], arrays["velocities"], atol=1e-8)
    assert back.arrays["tag"].tolist() == [0, 1, 2, 3, 4]


def test_open_boundaries_without_a_cell_get_a_box_around_the_particles():
    rng = np.random.default_rng(0)
    frame = Frame(0, rng.normal(size=(9, 3)), np.zeros((3, 3)), np.zeros(3, bool), {})
    back = next(read_dump(io.StringIO(format_dump(frame, {}, np.zeros(9, int), NOTHING))))
    assert not back.pbc.any()
    fractions = (back.positions - back.origin) @ np.linalg.inv(back.cell)
    assert fractions.min() > -1e-6
    assert fractions.max() < 1 + 1e-6


def test_frames_that_are_not_asked_for_are_not_parsed(tmp_path, frames):
    path = write_dump(tmp_path / "t.dump", frames)
    # Particles of frames 0 and 2 turn to rubbish: nobody should notice when they are skipped.
    lines = path.read_text().splitlines()
    block = len(lines) // 4
    for k in (0, 2):
        lines[block * k + 9 : block * (k + 1)] = ["rubbish"] * (block - 9)
    stream = io.StringIO("\n".join(lines) + "\n")
    assert [frame.number for frame in read_dump(stream, 1, None, 2)] == [1, 3]
    with pytest.raises(DataError, match="frame 0"):
        list(read_dump(io.StringIO("\n".join(lines))))


def test_nothing_after_the_last_frame_is_read(tmp_path, frames):
    stream = write_dump(tmp_path / "t.dump", frames).open()
    with stream:
        assert [frame.number for frame in read_dump(stream, 0, 2)] == [0, 1]
        assert stream.readline() == "ITEM: TIMESTEP\n"
        assert stream.readline() == "200\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda lines: lines[:-3], "frame 1.*file ends after 107 of 110"),
        (lambda lines: lines[: 11 + 110 + 13], "frame 1.*ends|frame 1.*header"),
        (lambda lines: [x.replace("ITEM: BOX", "ITEM: BIX") for x in lines], "frame 0"),
        (lambda lines: lines[:5] + ["x"] + lines[6:], "frame 0.*number of atoms|frame 0"),
        (lambda lines: [*lines[:30], lines[30] + " 7", *lines[31:]], "frame 0"),
        (lambda lines: [*lines[:30], " ".join(lines[30].split()[:-1]), *lines[31:]], "frame 0"),
        (lambda lines: [*lines[:30], "", *lines[31:]], "frame 0"),
        (lambda lines: [*lines[:30], lines[30].replace(".", "x"), *lines[31:]], "frame 0"),
        (
            lambda lines: [x.replace(" xu yu zu x y z", " a b c d e f") for x in lines],
            "frame 0.*no coordinates",
        ),
        (lambda lines: [*lines, "some rubbish"], "frame 2.*rubbish"),
    ],
)
def test_damage_is_reported_with_the_number_of_the_frame(damage, message):
    lines = (LAMMPS / "triclinic.dump").read_text().splitlines()
    two = lines[: next(k for k, x in enumerate(lines) if x == "100") - 3]
    with pytest.raises(DataError, match=message):
        list(read_dump(io.StringIO("\n".join(damage(two)) + "\n")))


def test_gzip_and_species_from_a_topology():
    named = list(open_trajectory(LAMMPS / "untyped.dump.gz", LAMMPS / "topology.data"))
    typed = read("triclinic.dump")[::2]
    assert [frame.step for frame in named] == [0, 100]
    for ours, theirs in zip(named, typed, strict=True):
        assert np.array_equal(ours.arrays["id"], theirs.arrays["id"])
        assert ours.labels["type"].tolist() == theirs.arrays["type"].astype(str).tolist()


def test_particles_that_the_topology_lacks_are_an_error(tmp_path):
    text = gzip.decompress((LAMMPS / "untyped.dump.gz").read_bytes()).decode()
    path = tmp_path / "t.dump"
    path.write_text(text.replace("\n16 ", "\n1600 "))
    with pytest.raises(DataError, match=r"frame 0.*lacks"):
        list(open_trajectory(path, LAMMPS / "topology.data"))
