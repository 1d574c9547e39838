"""Annotate a running LAMMPS simulation with propensities."""
