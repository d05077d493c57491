"""No test sees what another one has loaded."""

import pytest

from dynvit import plugins


@pytest.fixture(autouse=True)
def no_own_code():
    yield
    plugins.load([])


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
