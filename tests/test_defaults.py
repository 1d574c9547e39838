"""Torch's global state changes no prediction, and no prediction changes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from propensity.defaults import own_defaults
from propensity.neighbours.many import neighbour_lists
from propensity.predictor import Predictor

from .conftest import make_liquid


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
        assert torch.get_default_device().type == device
    finally:
        torch.set_default_device(None)
        context = torch._GLOBAL_DEVICE_CONTEXT
        if getattr(context, "device_context", "") is None:  # torch 2.8 then fails when asked for its default
            del context.device_context


SURROUNDINGS = {
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float16": lambda: default_dtype(torch.float16),
    "float64": lambda: default_dtype(torch.float64),
    "meta": lambda: default_device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference": torch.inference_mode,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", [None, "ka-default", "bapst-t044-s09", "ka-thermal"])
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_loading_and_predicting_depend_on_their_arguments_alone(surroundings, model, dtype, tiny_model):
    structure = make_liquid()
    expected = Predictor(model or tiny_model, dtype=dtype, device="cpu").predict(structure)
    with SURROUNDINGS[surroundings]():
        inside = Predictor(model or tiny_model, dtype=dtype, device="cpu")
        assert np.array_equal(inside.predict(structure), expected, equal_nan=True)
    assert np.array_equal(inside.predict(structure), expected, equal_nan=True)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_gradients_and_features_depend_on_their_arguments_alone(surroundings, tiny_model):
    """Whatever predictions within have left behind."""
    structure, weights = make_liquid(), np.ones(120)
    alone = Predictor(tiny_model, device="cpu")
    expected = alone.gradient(structure, weights), alone.features(structure).values
    with SURROUNDINGS[surroundings]():
        inside = Predictor(tiny_model, device="cpu")
        inside.predict(structure)
        assert np.array_equal(inside.gradient(structure, weights), expected[0])
        assert np.array_equal(inside.features(structure).values, expected[1])
        slope = inside.feature_gradient(structure, lambda f: f.sum())
    assert np.array_equal(inside.gradient(structure, weights), expected[0])
    assert np.array_equal(alone.feature_gradient(structure, lambda f: f.sum()), slope)


def test_lists_of_many_structures_are_counted_on_the_host():
    structures = [make_liquid(seed=k) for k in range(3)]
    expected = neighbour_lists(structures, 1.3)[2]
    with default_device("meta"):
        counts = neighbour_lists(structures, 1.3)[2]
    assert counts.device.type == "cpu" and torch.equal(counts, expected)


def test_blocks_in_several_threads_restore_what_was_before():
    def work(_):
        for _ in range(200):
            with own_defaults():
                assert torch.ones(1).dtype == torch.float32

    with default_dtype(torch.float64), ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
        assert torch.ones(1).dtype == torch.float64
