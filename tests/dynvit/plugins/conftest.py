"""No test sees what another one has loaded."""

import pytest

from dynvit import plugins


@pytest.fixture(autouse=True)
def no_own_code():
    yield
    plugins.load([])
