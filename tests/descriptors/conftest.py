from __future__ import annotations

import pytest

from propensity.sample import Sample
from propensity.structure import Structure
from tests.conftest import make_liquid
from tests.estimators.conftest import make_sample


@pytest.fixture(scope="session")
def structure() -> Structure:
    return make_liquid(125)


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return [make_sample(k) for k in range(4)]
