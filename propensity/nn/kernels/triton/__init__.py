"""The convolution on GPUs: code generated for each layout and compiled by Triton."""
