"""The generated source of the Triton kernels, which can be printed and read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("arguments", [[], ["2"], ["two", "4"], ["2", "0"], ["-1", "4"]])
def test_usage(arguments, capsys):
    assert main(arguments) == 2
    assert "L_MAX CHANNELS" in capsys.readouterr().err
