"""Kernels that are the same for every layout; read as text and compiled with what is generated."""
