"""What the generators of Triton source share: templates, docstrings and lines."""

from __future__ import annotations

from pathlib import Path


def template(name: str) -> str:
    """Kernels of a file in ``templates``, without its head."""
    text = (Path(__file__).parent / "templates" / f"{name}.py").read_text("utf-8")
    return text.partition("import triton.language as tl\n")[2].strip("\n") + "\n"


def described(what: str, reads: str, writes: str, thread: str) -> list[str]:
    """Lines of the docstring that every kernel has."""
    return [f'"""{what}', "", f"Reads   {reads}", f"Writes  {writes}", f"One thread is one {thread}", '"""']


def described_inside(what: str, reads: str, writes: str, thread: str) -> list[str]:
    """The same, indented as within the function."""
    return ["    " + line if line else "" for line in described(what, reads, writes, thread)]


class Writer:
    """Lines of a generated kernel."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def add(self, line: str) -> None:
        """Append a line at the depth of now."""
        self.lines.append("    " * self.depth + line)

    def describe(self, what: str, reads: str, writes: str, thread: str) -> None:
        """The kernel's docstring."""
        for line in described(what, reads, writes, thread):
            self.lines.append("    " * self.depth + line if line else "")

    def load_quads(self, name: str, wanted: set[int], pointer: str, quad_stride: str, live: str) -> None:
        """Load the quads that hold the ``wanted`` numbers into name0, name1, …"""
        for q in sorted({k // 4 for k in wanted}):
            names = ", ".join(f"{name}{4 * q + i}" for i in range(4))
            self.add(f"{names} = _quad({pointer} + {q} * {quad_stride}, {live})")

    def ask_ahead(self, pointer: str, length: int, cp: int, live: str) -> None:
        """Ask for the lines where so many numbers lie, each channel for its own (ci is four times the channel)."""
        for start in range(0, length, cp * 32):
            self.add(f"_ahead({pointer} + ci * 8 + {start}, {live} & (ci * 8 + {start} < {length}))")

    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines) + "\n"
