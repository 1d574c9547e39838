"""Runs before any test imports torch."""

import os

# Triton decides when it is imported whether its kernels run on a GPU or in its interpreter.
if not os.path.exists("/dev/nvidia0"):
    os.environ.setdefault("TRITON_INTERPRET", "1")
