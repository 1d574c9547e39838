"""Isoconfigurational ensembles."""
