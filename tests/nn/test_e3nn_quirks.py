"""e3nn is imported without torch's compiler, and nothing of torch stays replaced."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from propensity.nn import e3nn_quirks
from propensity.nn.e3nn_quirks import LEANS_ON, import_e3nn


@pytest.fixture
def importing(monkeypatch):
    """``import_e3nn`` as in a fresh interpreter, with something else to do while e3nn is imported."""
    for name in ("e3nn", "e3nn.o3", "torch._dynamo"):
        monkeypatch.setitem(sys.modules, name, None)  # so that it is afterwards as it was
        del sys.modules[name]

    class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        during = staticmethod(lambda: None)

        def find_spec(self, name, path, target=None):
            if name in ("e3nn", "e3nn.o3"):
                return importlib.machinery.ModuleSpec(name, self, is_package=True)
            return None

        def exec_module(self, module):
            if module.__name__ == "e3nn.o3":
                self.during()

    finder = Finder()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    original = torch.compiler.disable
    monkeypatch.setattr(torch.compiler, "disable", original)

    def run(during):
        finder.during = during
        import_e3nn()

    return run


@pytest.mark.parametrize("where", LEANS_ON)
def test_names_exist(where):
    found = importlib.import_module(where)
    assert not [name for name in LEANS_ON[where] if not hasattr(found, name)]


def test_it_is_replaced_during_the_import_only(importing):
    original, seen = torch.compiler.disable, []
    importing(lambda: seen.append(torch.compiler.disable))
    assert len(seen) == 1 and seen[0] is not original and torch.compiler.disable is original
    importing(lambda: seen.append("again"))  # it is there
    assert len(seen) == 1


def test_the_original_is_back_after_an_import_that_failed(importing):
    original = torch.compiler.disable
    with pytest.raises(ZeroDivisionError):
        importing(lambda: 1 / 0)
    assert torch.compiler.disable is original


def test_a_replacement_by_others_is_left_to_them(importing):
    importing(lambda: setattr(torch.compiler, "disable", print))
    assert torch.compiler.disable is print


def test_threads_take_turns(importing):
    original, seen = torch.compiler.disable, []

    def slow():
        time.sleep(0.05)
        seen.append(torch.compiler.disable.args[0])

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(importing, slow) for _ in range(4)]:
            done.result()
    assert seen == [original] and torch.compiler.disable is original


def test_others_call_the_original_meanwhile():
    """Another thread may mark functions of its own while e3nn is imported."""
    seen = []
    ours = partial(e3nn_quirks._disable, lambda *args, **options: seen.append((args, options)))

    def mine():
        pass

    ours(mine)
    ours(recursive=False)
    mine.__module__ = "e3nn.o3._wigner"
    ours(mine, recursive=False)
    assert seen == [((mine,), {}), ((None,), {"recursive": False}), ((mine,), {"recursive": False})]
    ours(mine)
    assert len(seen) == 3  # waits


def test_a_function_of_e3nn_is_marked_once_the_compiler_is_there(monkeypatch):
    marked = []

    def original(function):
        marked.append(function)
        return lambda x: -function(x)

    def double(x):
        return 2 * x

    double.__module__ = "e3nn.o3._wigner"
    call = e3nn_quirks._disable(original, double)
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    assert call(3) == 6 and not marked and call.__name__ == "double"
    monkeypatch.setitem(sys.modules, "torch._dynamo", torch)
    assert [call(3), call(4)] == [-6, -8] and marked == [double]


def test_sympy_and_scipy_wait_and_come_when_they_are_needed():
    code = """if True:
        import sys, numba, numpy as np, torch
        from propensity.compiling import njit
        from propensity.nn import e3nn_quirks
        from e3nn import o3

        total = njit()(lambda x: x.sum())
        assert total(np.ones(3)) == 3 and not {"sympy", "scipy.linalg"} & set(sys.modules)
        product = numba.njit(lambda a, b: np.dot(a, b))
        assert product(np.eye(3), np.ones(3)).sum() == 3 and "scipy.linalg" in sys.modules
        xyz = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=1)
        angles = o3.xyz_to_angles(xyz)
        a = o3.spherical_harmonics_alpha_beta([0, 1, 2, 3], *angles, normalization="component")
        b = o3.spherical_harmonics([0, 1, 2, 3], xyz, True, normalization="component")
        assert "sympy" in sys.modules and (a - b).abs().max() < 1e-9
    """
    subprocess.run([sys.executable, "-c", code], check=True)
