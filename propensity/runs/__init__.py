"""A training run on disk: options from files and flags, what it leaves behind, its learning curve."""
