"""Labelled structures, as estimators are tested on."""

from tests.estimators.conftest import samples

__all__ = ["samples"]
