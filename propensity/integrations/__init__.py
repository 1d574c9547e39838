"""Thin adapters to the tools where people work."""
