import pytest
import torch

from propensity.errors import InputError
from propensity.nn import SE3GNN
from propensity.nn.kernels import available_kernels, get_kernel


def test_cpu_is_chosen_on_a_cpu():
    for dtype in (torch.float32, torch.float64):
        assert get_kernel("auto", "cpu", dtype).name == "cpu"
    assert available_kernels("cpu", torch.float16) == ["reference"]


def test_a_name_that_cannot_run_is_an_error_and_auto_takes_the_best():
    with pytest.raises(InputError, match=r"'triton' cannot run on cpu in torch.float64: choose from .*'cpu'"):
        get_kernel("triton", "cpu", torch.float64)
    assert get_kernel("auto", "cpu", torch.float64).name == "cpu"


def test_unknown_name():
    with pytest.raises(InputError, match=r"'tritn' is unknown: choose from .*'triton'"):
        get_kernel("tritn", "cpu", torch.float32)


def test_same_state_dict():
    states = [
        SE3GNN(2, 1, l_max=1, kernel=kernel).state_dict() for kernel in ("auto", "reference", "cpu", "triton")
    ]
    assert all(list(state) == list(states[0]) for state in states)
