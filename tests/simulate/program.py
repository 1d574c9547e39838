"""A small data set, made by a process of its own that tests kill: python -m tests.simulate.program OUT [LOG]
[ADDRESS]."""

from __future__ import annotations

import shutil
import sys

from propensity.simulate import make_engine, simulate_propensities
from propensity.simulate.pieces import PieceStore
from tests.simulate.helpers import small_settings

if __name__ == "__main__":
    output, log, scheduler = (*sys.argv[1:], None, None)[:3]
    remove = PieceStore.remove

    def keep_log(self: PieceStore) -> None:
        """Finished pieces go with their folder; the test wants to know what was stored."""
        shutil.copy(self.folder / "stored.log", log)
        remove(self)

    if log:
        PieceStore.remove = keep_log
    simulate_propensities(
        small_settings(),
        output,
        make_engine("lammps"),
        workers=None if scheduler else 2,
        scheduler=scheduler,
        quiet=True,
    )
