"""Hostile input, faults on purpose, kills and long runs: nothing lost, nothing wrong in silence."""
