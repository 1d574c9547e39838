"""Compiled code that is kept on disk."""

import os
import subprocess
import sys

import pytest

NUMBERS = "import numpy as np\nNUMBER, MANY = {0}, np.array([{0}])\n"
INNER = "from propensity.compiling import njit\n@njit\ndef inner(x):\n    return x + {}\n"
NAMED = "from numbers_alone import {}\n" + INNER
OUTER = """
from propensity.compiling import njit
from inner import inner
@njit(nogil=True)
def outer(x):
    return 10 * inner(x)
print(outer(1), len(outer.stats.cache_hits))
"""


@pytest.mark.parametrize("name", [None, "NUMBER", "MANY"])
def test_it_is_renewed_with_what_is_compiled_into_it(tmp_path, name):
    """A function or a number in another file alone is edited, and back: source files of one length."""
    (tmp_path / "outer.py").write_text(OUTER)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}

    def answer(number: int) -> str:
        (tmp_path / "numbers_alone.py").write_text(NUMBERS.format(number))
        value = {"NUMBER": "NUMBER", "MANY": "MANY[0]"}.get(name, number)
        (tmp_path / "inner.py").write_text((NAMED if name else INNER).format(*[name] * bool(name), value))
        run = [sys.executable, "-B", str(tmp_path / "outer.py")]
        return subprocess.run(run, env=env, check=True, capture_output=True, text=True).stdout

    assert [answer(number) for number in (1, 1, 2, 2)] == ["20 0\n", "20 1\n", "30 0\n", "30 1\n"]
