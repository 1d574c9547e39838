"""The convolution on CPUs: code generated for each layout and compiled by numba."""
