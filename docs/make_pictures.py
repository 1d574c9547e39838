"""Run the commands of the tutorial from nothing, time them, and keep its pictures and tables.

``python docs/make_pictures.py [FOLDER]`` prints processor and wall-clock seconds of each block.  The build of
the pages calls this where the commands have changed since the pictures were made.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "tutorial.md"
MADE = DOCS / "images" / "tutorial"
STAMP = MADE / "made.json"
#: Verbs whose output is shown on the page.
SHOWN = ("info", "evaluate")


def blocks() -> Iterator[tuple[str, str]]:
    """(language, text) of each block of the page that runs."""
    yield from re.findall(r"^```(bash|python)\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def digest() -> str:
    """Of all that runs."""
    return hashlib.sha256("\0".join(text for _, text in blocks()).encode()).hexdigest()


def is_current() -> bool:
    """Whether pictures and tables are those of the commands on the page."""
    return STAMP.exists() and json.loads(STAMP.read_text())["commands"] == digest()


def processor_seconds() -> float:
    """Of all that has been run so far, user and system."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def run(folder: Path) -> dict[str, str]:
    """Run every block in a folder, and return what the commands that are shown have printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "80", "MPLBACKEND": "Agg"}
    printed = {}
    for language, text in blocks():
        command = (
            ["bash", "-euo", "pipefail", "-c", text] if language == "bash" else [sys.executable, "-c", text]
        )
        used, began = processor_seconds(), time.monotonic()
        done = subprocess.run(
            command, cwd=folder, env=environment, check=False, stdout=subprocess.PIPE, text=True
        )
        name = next(line for line in text.splitlines() if "import " not in line and line).partition(" -")[0]
        print(
            f"{processor_seconds() - used:7.1f} s CPU {time.monotonic() - began:7.1f} s  {name[:50]}",
            flush=True,
        )
        if done.returncode:
            raise SystemExit(f"{PAGE.name}: this ended with {done.returncode}:\n{text}\n{done.stdout}")
        for verb in SHOWN:
            if language == "bash" and f"propensity {verb} " in text:
                printed[verb] = done.stdout
    return printed


def make(folder: Path | None = None) -> None:
    """Make pictures and tables, in a folder of its own or in one where an earlier attempt stopped."""
    with tempfile.TemporaryDirectory() as own:
        where = folder or Path(own)
        printed = run(where)
        print(f"{processor_seconds():7.1f} s CPU in all")
        MADE.mkdir(parents=True, exist_ok=True)
        for name in re.findall(r"\(images/tutorial/(\S+\.png)\)", PAGE.read_text("utf-8")):
            (found,) = where.rglob(name)
            shutil.copy(found, MADE / name)
    for verb, text in printed.items():
        (MADE / f"{verb}.txt").write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()))
    STAMP.write_text(json.dumps({"commands": digest()}) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
