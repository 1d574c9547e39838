"""Rules that a formatter does not know: one purpose a file, and no line that it may not touch."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for part in ("propensity", "lammps_bridge") for path in (ROOT / part).rglob("*.py"))
#: Lines of a file of one purpose; one that outgrows them has two.
MAX_LINES = 380


def test_files_are_small():
    lines = {path.relative_to(ROOT): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    assert not {str(path): n for path, n in lines.items() if n > MAX_LINES}


def test_no_line_escapes_the_formatter():
    escape = "fmt: " + "skip"
    everywhere = [*SOURCES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert not [str(path.relative_to(ROOT)) for path in everywhere if escape in path.read_text("utf-8")]
