"""What the pages show: blocks of Python and of the shell, and the words of each command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))


def text_of(page: str) -> str:
    """Text of a page."""
    return (DOCS / page).read_text("utf-8")


def blocks(page: str, *languages: str) -> list[str]:
    """Blocks of these languages, in order."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def commands(page: str) -> list[list[str]]:
    """Every command ``propensity ...`` of the shell blocks and of indented lines, as words."""
    shell = "\n".join(blocks(page, "bash", "sh", "console"))
    shell = re.sub(r"\\\n\s*", " ", shell)
    indented = re.findall(r"^    (propensity .*)$", text_of(page), re.MULTILINE)
    found = []
    for line in [*shell.splitlines(), *indented]:
        line = re.sub(r"^\s*(\$ |srun )*", "", line)
        if line.startswith("propensity "):
            found.append(shlex.split(line, comments=True))
    return found
