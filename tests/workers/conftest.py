from __future__ import annotations

import pytest

from tests.workers.cluster import Cluster


@pytest.fixture
def cluster(tmp_path):
    """A scheduler without the package, and no worker yet."""
    found = Cluster(tmp_path)
    yield found
    found.close()
