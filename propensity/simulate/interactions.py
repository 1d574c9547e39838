"""What an input's interaction is called: by its style and coefficients, never by a comment left over."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

#: Commands that make an interaction; masses, neighbour lists and communication don't.
_MAKING = (
    "pair_style",
    "pair_coeff",
    "pair_modify",
    "special_bonds",
    "dielectric",
    "kspace_style",
    "kspace_modify",
    "variable",
    "set",
    "group",
)


def interaction_digest(commands: str, folder: str, dimension: int, units: str) -> str:
    """Eight hexadecimal digits that equal interactions share, however their input is laid out.

    Numbers are compared by value, lines without their order (but ``variable``, whose order counts), and
    files beside the input by their contents.
    """
    lines = [_canonical(line, folder) for line in commands.splitlines() if line.split()[0] in _MAKING]
    text = "\n".join(sorted(lines)) + f"\n{dimension} {units}"
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def pair_style(commands: str) -> str:
    """Name of the pair style."""
    return next((line.split()[1] for line in commands.splitlines() if line.startswith("pair_style")), "none")


def _canonical(line: str, folder: str) -> str:
    return " ".join(_word(word, folder) for word in line.split())


def _word(word: str, folder: str) -> str:
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", word):
        return f"{float(word):.10g}"
    if "${here}" in word:
        path = Path(word.strip('"').replace("${here}", folder))
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return word
