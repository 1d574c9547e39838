"""Readers of the layouts in which the field publishes labelled structures, one file each."""
