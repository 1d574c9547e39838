"""The generated source of the Triton kernels, which can be printed and read."""

from __future__ import annotations

import ast
import linecache
import re
from pathlib import Path

import pytest

from propensity.nn.kernels.triton import launch
from propensity.nn.kernels.triton.__main__ import main
from propensity.nn.kernels.triton.launch import module_text
from propensity.nn.layout import ConvolutionLayout

#: Made by ``python -m propensity.nn.kernels.triton 1 4``; look at the difference before it is made anew.
GOLDEN = Path(__file__).parent / "golden" / "triton_l1_c4.py.txt"


def rounded(text):
    """Coefficients to twelve digits, which differ in the last between versions of e3nn and torch."""
    return re.sub(r"\d+\.\d{6,}(?:e-?\d+)?", lambda number: f"{float(number[0]):.12g}", text)


def test_the_source_for_vectors_is_the_one_that_was_read(capsys):
    assert main(["1", "4"]) == 0
    assert rounded(capsys.readouterr().out) == rounded(GOLDEN.read_text("utf-8"))


@pytest.mark.parametrize("ptx", [False, True])
@pytest.mark.parametrize("channels_in", [0, 4])
def test_every_kernel_says_what_it_reads_and_writes(channels_in, ptx):
    tree = ast.parse(module_text(ConvolutionLayout(channels_in, 2, 4, 2), ptx))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    kernels = {node.name: ast.get_docstring(node) for node in functions if not node.name.startswith("_")}
    assert {"forward", "backward", "mix", "statistics", "radial_output", "radial_gradient"} <= set(kernels)
    for name, text in kernels.items():
        assert re.search(r"Reads   \S.*Writes  \S.*One (thread|program) is ", text, re.S), name


@pytest.fixture
def triton(monkeypatch):
    """As where it compiles."""
    found = pytest.importorskip("triton")
    if not hasattr(found.JITFunction, "_unsafe_update_src"):
        pytest.skip("this Triton takes no source")
    monkeypatch.setattr(found.knobs.runtime, "interpret", False)
    return found


def test_kernels_made_without_reading_them_are_those_of_the_text(triton):
    text = module_text(ConvolutionLayout(4, 2, 4, 1), True)
    space, read = {"__name__": "made"}, {"__name__": "read"}
    launch._put_sources(text, "<made>", space)
    linecache.cache["<read>"] = len(text), None, text.splitlines(keepends=True), "<read>"
    exec(compile(text, "<read>", "exec"), read)
    kernels = [name for name, kernel in read.items() if isinstance(kernel, triton.JITFunction)]
    assert {"forward", "backward", "_quad"} <= set(kernels)
    for name in kernels:
        ours, theirs = space[name], read[name]
        assert ours.src.rstrip() == theirs.src.rstrip()
        assert ours.arg_names == theirs.arg_names
        assert [p.is_constexpr for p in ours.params] == [p.is_constexpr for p in theirs.params]
        # Triton counts the decorator's line.
        assert ours.starting_line_number == theirs.starting_line_number + 1
    assert linecache.getlines("<made>") == text.splitlines(keepends=True)


def test_a_key_follows_what_a_kernel_calls():
    sources = {"a": "def a(): b()\n", "b": "def b(): c()\n", "c": "def c(): 1\n", "d": "def d(): 1\n"}
    before, after = launch._keys(sources), launch._keys({**sources, "c": "def c(): 2\n"})
    assert {name for name in sources if before[name] != after[name]} == {"a", "b", "c"}


@pytest.mark.parametrize("arguments", [[], ["2"], ["two", "4"], ["2", "0"], ["-1", "4"]])
def test_usage(arguments, capsys):
    assert main(arguments) == 2
    assert "L_MAX CHANNELS" in capsys.readouterr().err
