"""Molecular dynamics of many small systems at once on CUDA devices."""
