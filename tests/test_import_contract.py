"""The floor plan: a file imports only from lower floors or its own, adapters never import each other, and
nothing goes in circles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.sources import SOURCES

ROOT = Path(__file__).parents[1]

#: Rooms (a package or module under ``propensity``, or a top-level package) by floor, from the ground up.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "defaults", "simd", "threads", "version"),
    ("extras", "interrupts", "numeric", "workers"),
    (
        "registry",
        "compiling",
        "files",
        "hdf5",
        "locks",
        "species",
        "statistics",
        "dimension",
        "diameters",
        "caging",
        "devices",
        "lattice",
    ),
    ("structure", "model_options", "archive", "documents", "tensors"),
    ("neighbours", "sample", "plotting"),
    ("graph", "physics"),
    ("analysis", "data", "nn"),
    ("descriptors",),
    ("estimators",),
    ("batching",),
    ("training", "evaluation", "committee"),
    ("predictor",),
    ("bias", "provenance", "travelling"),
    ("integrations",),
    ("simulate",),
    ("trajectory", "runs", "lammps_bridge"),
    ("demo", "experiments", "viewing"),
    ("doctor",),
    ("cli",),
    ("__main__",),
)

FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

#: Imports that run upwards, each with its reason.
UPWARDS = {
    (
        "estimators",
        "training",
    ): "SE3Estimator.fit is the door to a training, and Lightning takes seconds to import",
}

#: Rooms that put a prediction into another program; only the command line may know several of them.
ADAPTERS = {"integrations", "lammps_bridge", "trajectory"}

#: Third-party packages and the rooms that may know them.
ONLY = {
    "lightning": {"training", "runs"},
    "rich": {"cli", "runs"},
    "click": {"cli", "runs"},
}

#: Files of other rooms that show something on screen.
ON_SCREEN = {"report.py", "tables.py", "progress.py"}


def sources() -> Iterator[Path]:
    """Every source file of both packages."""
    for package in ("propensity", "lammps_bridge"):
        yield from sorted((SOURCES / package).rglob("*.py"))


def test_contributing_shows_these_floors():
    plan = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("## The floor plan")[1].split("```")[1]
    # Rooms are two spaces apart, remarks four or more.
    shown = [set(re.split(r" {4,}", line[4:])[0].split()) for line in plan.strip("\n").splitlines()]
    assert shown[::-1] == [set(rooms) for rooms in FLOORS], "write the same table into CONTRIBUTING.md"


def test_contributing_names_files_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"(?<![\w/])((?:propensity|tests|docs|\.ci)/[\w./-]+)", text))
    named = {name for name in named if "NAME" not in name}
    assert len(named) > 15 and not [
        name for name in named if not any((at / name).exists() for at in (ROOT, SOURCES))
    ]


def module_of(path: Path) -> str:
    """Dotted name of a source file."""
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """Room that a dotted name lies in; the package itself is the public face, above all floors."""
    parts = module.split(".")
    if parts[0] != "propensity":
        return parts[0]
    return parts[1] if len(parts) > 1 else "propensity"


@cache
def imports(path: Path) -> tuple[tuple[str, bool, int], ...]:
    """(module, lazy, line) of each import of a file, those for type checkers left out."""
    found: list[tuple[str, bool, int]] = []

    def visit(node: ast.AST, lazy: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.extend((name.name, lazy, child.lineno) for name in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                names = [f"{child.module}.{name.name}" for name in child.names]
                found.extend((resolve(name), lazy, child.lineno) for name in names)
            visit(child, lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(ast.parse(path.read_text("utf-8")), False)
    return tuple(found)


def resolve(name: str) -> str:
    """Module that ``from a.b import c`` reads: a.b.c where that is a file or folder, else a.b."""
    path = SOURCES.joinpath(*name.split("."))
    return name if path.is_dir() or path.with_suffix(".py").exists() else name.rpartition(".")[0]


def own(module: str) -> bool:
    """Whether a module is ours."""
    return module.split(".")[0] in ("propensity", "lammps_bridge")


def arrows() -> Iterator[tuple[str, str, str, bool]]:
    """(importing room, imported room, place, lazy) of every import between rooms."""
    for path in sources():
        room = room_of(module_of(path))
        for module, lazy, line in imports(path):
            if own(module) and room_of(module) != room and room != "propensity":
                yield room, room_of(module), f"{path.relative_to(SOURCES)}:{line}", lazy


def test_every_room_has_a_floor():
    assert {room_of(module_of(path)) for path in sources()} <= {*FLOOR, "propensity"}


def test_imports_run_downwards():
    wrong = [
        f"{place}: {room} (floor {FLOOR[room]}) imports {other} (floor {FLOOR.get(other, 98)})"
        for room, other, place, _ in arrows()
        if FLOOR.get(other, 98) >= FLOOR[room] and (room, other) not in UPWARDS
    ]
    assert not wrong, "\n".join(wrong)


def test_exceptions_are_few_and_in_use():
    used = {(room, other) for room, other, _, _ in arrows()}
    assert len(UPWARDS) <= 2
    assert set(UPWARDS) <= used


def test_adapters_do_not_import_each_other():
    wrong = [place for room, other, place, _ in arrows() if room in ADAPTERS and other in ADAPTERS]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", ONLY)
def test_libraries_stay_in_their_rooms(library):
    wrong = []
    for path in sources():
        for module, _, line in imports(path):
            if module.split(".")[0] != library or (library == "rich" and path.name in ON_SCREEN):
                continue
            if room_of(module_of(path)) not in ONLY[library]:
                wrong.append(f"{path.relative_to(SOURCES)}:{line}")
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_files():
    graph = {
        module_of(path): {
            m
            for m, _, _ in imports(path)
            if own(m) and m != module_of(path) and (room_of(module_of(path)), room_of(m)) not in UPWARDS
        }
        for path in sources()
    }
    state: dict[str, int] = {}

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert state.get(module) != 1, " → ".join([*trail[trail.index(module) :], module])
        if module in state:
            return
        state[module] = 1
        for other in sorted(graph.get(module, ())):
            walk(other, (*trail, module))
        state[module] = 2

    # The public face imports everything lazily by name, and everybody may ask it for the version.
    graph.pop("propensity", None)
    for module in sorted(graph):
        walk(module, ())
