"""Structural descriptors of each particle, as the field's baselines use them."""
