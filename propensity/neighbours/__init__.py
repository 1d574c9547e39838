"""Neighbour lists: one file a backend, chosen by name or by device."""

from propensity.neighbours.backends import available, neighbour_list, register

__all__ = ["available", "neighbour_list", "register"]
