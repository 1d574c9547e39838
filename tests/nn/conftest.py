"""Labelled structures, as estimators are tested on; Triton's interpreter at twice its speed."""

from tests.estimators.conftest import samples
from tests.interpreter import patch_once

__all__ = ["samples"]

patch_once()
