"""Implementations of the convolution: the e3nn reference and faster ones, chosen at run time."""

from propensity.nn.kernels.choice import available_kernels, get_kernel

__all__ = ["available_kernels", "get_kernel"]
