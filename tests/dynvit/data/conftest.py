"""What tests of data share: a folder for a set, no worker processes, a cache of their own."""

import pytest


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    monkeypatch.setenv("DYNVIT_WORKERS", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path, quiet):
    (tmp_path / "set").mkdir()
    return tmp_path / "set"
