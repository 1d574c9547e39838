"""The systems that the field compares with, behind the same surface as the network: ``fit`` and ``predict``."""
