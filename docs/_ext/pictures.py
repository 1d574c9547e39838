"""Pictures of the tutorial are made by the build where its commands have changed."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

import make_pictures


def refresh(app: Sphinx) -> None:
    """Run the tutorial, minutes of work, unless its pictures are those of its commands."""
    if not make_pictures.is_current():
        print("the tutorial has changed: its commands run (minutes)")
        make_pictures.make()


def setup(app: Sphinx) -> dict[str, bool]:
    """Before anything is read."""
    app.connect("builder-inited", refresh)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
