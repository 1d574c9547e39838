"""The command line in this process: a fresh interpreter that imports torch costs seconds a call."""

from __future__ import annotations

import io
import signal
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest import mock

from propensity.cli.main import run


class Done(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


def run_here(*words: object) -> Done:
    """Run ``propensity WORDS`` as its entry point does; handlers, streams and warnings are as before then."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    argv, handler = ["propensity", *map(str, words)], signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
        with mock.patch.object(sys, "argv", argv):
            try:
                run()
            except SystemExit as end:
                code = int(end.code or 0)
            finally:
                signal.signal(signal.SIGTERM, handler)
    return Done(code, out.getvalue(), err.getvalue())
